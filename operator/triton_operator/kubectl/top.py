"""``kubectl triton top``: the load of every model, from its pods' own counters.

The pods are asked through the API server's proxy, in the way that the autoscaler asks them; so
servers without ``autoscaling`` are measured as well.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

from rich.live import Live
from rich.table import Table

from triton_operator.adapters.pod_http import AnswerError
from triton_operator.adapters.scrape import TritonScraper
from triton_operator.autoscaling.samples import PodSample
from triton_operator.autoscaling.shapes import Shapes, shapes_by_model
from triton_operator.autoscaling.signals import measure
from triton_operator.errors import ClusterError
from triton_operator.kubectl.connection import Connection, proxy_path
from triton_operator.kubectl.console import open_console
from triton_operator.kubectl.fleet import Fleet, read_fleet
from triton_operator.kubectl.table import Load, build_rows, build_table, rows_from_status
from triton_operator.observed import READY, Pod, ServedModel, ServedVersion
from triton_operator.ports import FailureReason, Key, ScrapeFailure

_DEADLINE_SECONDS = 10.0
"""For one pod: the API server may be far away."""
_PARALLEL = 16
_NOT_LET_IN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


async def show_top(
    connection: Connection, *, every_namespace: bool, interval: float, once: bool, from_status: bool
) -> None:
    """Show a table, anew in every interval (in seconds) until the user has seen enough.

    Where the output is no terminal, it is shown once.

    Raises
    ------
    ClusterError
        The API server refused or did not answer.

    """
    namespace = "" if every_namespace else connection.namespace
    meter = Meter(connection)

    async def look() -> Table:
        fleet = await read_fleet(connection, namespace)
        if from_status:
            return build_table(rows_from_status(fleet), namespaces=every_namespace)
        loads = await meter.measure(fleet)
        silent = next((each.failure for each in loads.values() if each.failure), "")
        rows = build_rows(fleet, loads)
        caption = f"a pod did not answer: {silent}" if silent else ""
        return build_table(rows, namespaces=every_namespace, caption=caption)

    console, table = open_console(), await look()
    if once or not console.is_terminal:
        if not from_status:
            await asyncio.sleep(interval)  # rates are between two looks
            table = await look()
        console.print(table)
        return
    with Live(table, console=console, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(interval)
            live.update(await look(), refresh=True)


class Meter:
    """Measures servers from one look to the next."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._samples: Mapping[str, PodSample] = {}
        self._shapes: dict[Key, Shapes] = {}

    async def measure(self, fleet: Fleet) -> Mapping[Key, Load]:
        """Return what happened on each server since the last look; no rates in the first one."""
        keys = [key for key in fleet.server_keys() if fleet.pods.get(key)]
        found = await asyncio.gather(*(self._measure(fleet, key) for key in keys))
        self._samples = {uid: sample for samples, _ in found for uid, sample in samples.items()}
        return {key: load for key, (_, load) in zip(keys, found, strict=True)}

    async def _measure(self, fleet: Fleet, key: Key) -> tuple[dict[str, PodSample], Load]:
        pods = [pod for pod in fleet.pods[key] if pod.takes_requests]
        scraper = TritonScraper(
            ProxiedPods(self._connection, key[0]),
            deadline_seconds=_DEADLINE_SECONDS,
            parallel=_PARALLEL,
        )
        # What a pod really serves decides the number of its instances; a name is enough to ask.
        named = {
            model.folder: ServedModel((ServedVersion("1", READY),), model.status.config_hash)
            for model in fleet.models_of(key)
        }
        known = self._shapes.get(key, {})
        answers, shapes = await asyncio.gather(
            scraper.scrape(pods), scraper.shapes(dict.fromkeys(pods, named), known)
        )
        self._shapes[key] = shapes
        samples = {each.uid: each for each in answers.values() if isinstance(each, PodSample)}
        failed = [each for each in answers.values() if isinstance(each, ScrapeFailure)]
        by_model = shapes_by_model(shapes)
        load = Load(
            models=measure(self._samples, samples.values(), by_model),
            answering=len(samples),
            asked=len(pods),
            failure=failed[0].message if failed else "",
            shapes=by_model,
        )
        return samples, load


class ProxiedPods:
    """GET requests to the pods of a namespace, through the API server."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def get(self, pod: Pod, port: int, path: str) -> bytes:
        """Return the body of a pod's answer with status 200.

        Raises
        ------
        AnswerError
            The pod answered something else.
        ClusterError
            The API server lets nobody like us through.

        """
        url = proxy_path("Pod", self._namespace, pod.name, port, path)
        try:
            answer = await self._connection.send("GET", url, seconds=_DEADLINE_SECONDS)
        except ClusterError as error:
            if error.status in _NOT_LET_IN:
                raise
            # One pod may be on its way out.
            raise AnswerError(FailureReason.UNREACHABLE, f"{pod.name}: {error.message}") from error
        if not answer.ok:
            told = f"{pod.name}:{port}{path}: HTTP {answer.status}: {answer.error}"
            raise AnswerError(FailureReason.STATUS, told, answer.status)
        return answer.body
