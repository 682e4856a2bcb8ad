"""The running operator: its connections, its queues, and what wakes which of them."""

import asyncio
import logging
import platform
import secrets
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, NoReturn

from triton_operator import names
from triton_operator.adapters.api_client import KINDS, KubeApi
from triton_operator.adapters.kube import KubeCluster
from triton_operator.adapters.leases import KubeLeases
from triton_operator.adapters.mirror import Mirror, ref_of, servers_of
from triton_operator.adapters.pod_http import PodHttp
from triton_operator.adapters.scrape import TritonScraper
from triton_operator.adapters.state_metrics import StateMetrics
from triton_operator.adapters.telemetry import PrometheusTelemetry
from triton_operator.adapters.triton import TritonPods
from triton_operator.errors import LeaseLostError, OperatorError
from triton_operator.handlers.probes import serve_probes
from triton_operator.handlers.queue import WorkQueue
from triton_operator.observed import AUTOSCALER, Body
from triton_operator.ports import Backlog, Key
from triton_operator.reconcile.election import Election
from triton_operator.reconcile.models import ModelAssigner
from triton_operator.reconcile.scaler import Scaler
from triton_operator.reconcile.servers import ServerReconciler
from triton_operator.settings import Settings

OWN_KINDS = (names.KIND_MODEL, names.KIND_SERVER)
CHILD_KINDS = (
    "Deployment",
    "Service",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "PersistentVolumeClaim",
    "Job",
    "Pod",
)
CHILD_SELECTOR = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
FOREIGN_KINDS = (AUTOSCALER,)
"""Of others, who label them as they like."""

_REFRESH_SECONDS = 600.0
"""How often everything is listed again. A watch that was cut off for long misses deletions."""
_RETRY_SECONDS = 2.0
"""Between two attempts to list everything for the first time."""

_STUCK_PASS_SECONDS = 900.0
"""A pass waits for nothing but answers, each of them for seconds only."""
_STUCK_LOOP_SECONDS = 60.0
"""More than any request of the election, or what a tick decides, may take, many times over: on top
come the time between two of them, and the deadlines of the pods that a tick asks."""
_UNKNOWN_LEASES = 3
"""Durations of the Lease without a word of who holds it after which a process is not ready."""

_logger = logging.getLogger(__name__)


class Operator:
    """Everything that lives as long as the process.

    It watches from its start, and acts once it holds the Lease: first it lists everything, then it
    looks at every server and model. ``end`` is called when it may not act any more, and must not
    return: nothing of this process is to be written from then on.
    """

    def __init__(
        self,
        api: KubeApi,
        election: Election,
        settings: Settings,
        end: Callable[[str], NoReturn],
        *,
        telemetry: PrometheusTelemetry,
    ) -> None:
        self._api = api
        self._election = election
        self._end = end
        self._acts = False
        self._settings = settings
        self._mirror = Mirror()
        self._cluster = KubeCluster(api, self._mirror, telemetry)
        self._servers = WorkQueue("servers", self._reconcile, telemetry)
        self._open = AsyncExitStack()
        self._http = PodHttp()
        self._scraper = TritonScraper(
            self._http,
            telemetry=telemetry,
            deadline_seconds=settings.scrape_deadline_seconds,
        )
        self._scaler = Scaler(
            self._cluster, self._scraper, settings, _now, self._servers.wake, telemetry=telemetry
        )
        self._reconciler = ServerReconciler(
            self._cluster,
            TritonPods(fence=election.require),
            settings,
            _now,
            self._servers.wake,
            scaler=self._scaler,
            telemetry=telemetry,
        )
        assigner = ModelAssigner(self._cluster, _now, self._servers.wake)
        self._models = WorkQueue("models", assigner.assign, telemetry)
        StateMetrics(self._mirror, self.acting, self._scaler.statuses, self._backlogs, telemetry)
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def start(cls, settings: Settings, end: Callable[[str], NoReturn]) -> "Operator":
        """Connect, and stand for the Lease."""
        telemetry = PrometheusTelemetry()
        # A connection of its own: a renewal must not wait behind the requests of passes.
        lease_api = await KubeApi.connect(telemetry)
        leases = KubeLeases(lease_api, settings.lease_namespace, settings.lease_name)
        identity = settings.identity or f"{platform.node()}-{secrets.token_hex(4)}"
        election = Election(leases, identity, settings.lease_seconds, _now)
        api = await KubeApi.connect(telemetry, fence=election.require)
        operator = cls(api, election, settings, end, telemetry=telemetry)
        operator._open.push_async_callback(lease_api.close)
        operator._open.push_async_callback(operator._api.close)
        try:
            await operator._open.enter_async_context(operator._http)
            probes = serve_probes(settings.probe_port, alive=operator.stuck, ready=operator.unready)
            await operator._open.enter_async_context(probes)
            await operator._open.enter_async_context(telemetry.serve(settings.metrics_port))
        except BaseException:
            await operator.stop()
            raise
        operator._begin("election", operator._campaign())
        return operator

    async def stop(self) -> None:
        """End all work, let another operator take over, and close all connections."""
        await _cancel(task for task in self._tasks if task.get_name() != "election")
        # The Lease is renewed until nothing is written any more.
        await asyncio.gather(self._models.stop(), self._servers.stop())
        await self._reconciler.stop()
        await _cancel(self._tasks)
        await self._election.release()
        await self._open.aclose()

    def acting(self) -> bool:
        """Return whether this process is the one that acts: it leads, and knows all there is."""
        return self._acts and self._election.leads()

    def stuck(self) -> list[str]:
        """Return what does not go on any more: only a new process can mend that."""
        wrong = [f"{task.get_name()} has ended" for task in self._tasks if task.done()]
        lease = self._settings.lease_seconds
        if self._election.untried_seconds() > lease + _STUCK_LOOP_SECONDS:
            wrong.append("nothing is tried to get or to keep the Lease")
        tick = self._settings.autoscaling_interval_seconds
        tick += self._scraper.longest_seconds(self._scaler.asked())
        if self._acts and self._scaler.silent_seconds() > tick + _STUCK_LOOP_SECONDS:
            wrong.append("autoscaling does not tick")
        if max(self._servers.longest_pass(), self._models.longest_pass()) > _STUCK_PASS_SECONDS:
            wrong.append("a pass does not end")
        return wrong

    def unready(self) -> list[str]:
        """Return why this process is of no use now; one that stands by is of use."""
        wrong = self.stuck()
        within = _UNKNOWN_LEASES * self._settings.lease_seconds
        if not self._election.knows_who_leads(within=within):
            wrong.append("who holds the Lease is not known")
        if self._election.leads() and not self._acts:
            wrong.append("not everything is listed yet")
        return wrong

    def _backlogs(self) -> dict[str, Backlog]:
        return {queue.name: queue.backlog() for queue in (self._servers, self._models)}

    def changed(self, body: Body, *, deleted: bool = False) -> None:
        """Take in the news of one object, and wake whom they concern."""
        before = self._mirror.get(*ref_of(body))
        news = self._mirror.drop(body) if deleted else self._mirror.put(body)
        if news and self._acts:
            self._wake_concerned(body, before)

    def _wake_concerned(self, body: Body, before: Body | None = None) -> None:
        kind, namespace, name = ref_of(body)
        servers = {*servers_of(body), *(servers_of(before) if before is not None else ())}
        for server in servers:
            self._servers.wake((namespace, server))
        if kind == names.KIND_MODEL:
            # Also the model that a server is called after: it lets go of it with the last user.
            for model in {name, *servers}:
                self._models.wake((namespace, model))
        elif kind == names.KIND_SERVER:
            for other in self._mirror.of_server(namespace, name):
                if other["kind"] == names.KIND_MODEL:
                    self._models.wake((namespace, other["metadata"]["name"]))

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _campaign(self) -> None:
        try:
            await self._election.win()
            self._begin("refresh", self._keep_fresh())
            self._begin("autoscaling", self._scaler.run())
            await self._election.keep()
        except LeaseLostError as error:
            self._end(str(error))
        except Exception:
            _logger.exception("election: unexpected failure")
            self._end("nothing renews the Lease")

    async def _keep_fresh(self) -> None:
        while True:
            try:
                await self._refresh()
            except OperatorError as error:
                _logger.warning("listing everything failed: %s", error)
            else:
                self._begin_to_act()
            await asyncio.sleep(_REFRESH_SECONDS if self._acts else _RETRY_SECONDS)

    def _begin_to_act(self) -> None:
        """Look at everything, once it is all known: "not seen yet" must not pass for "gone"."""
        if not self._acts:
            self._acts = True
            for body in self._mirror:
                self._wake_concerned(body)

    async def _reconcile(self, key: Key) -> float | None:
        pause = await self._reconciler.reconcile(key)
        self._wake_moved(key)
        return pause if self._cluster.server(key) is not None else None

    def _wake_moved(self, key: Key) -> None:
        """Wake the models of a server that still have one of their own: they may let go of it."""
        for body in self._mirror.of_server(*key):
            name = body["metadata"]["name"]
            left = name != key[1] and self._mirror.get(names.KIND_SERVER, key[0], name)
            if body["kind"] == names.KIND_MODEL and left:
                self._models.wake((key[0], name))

    async def _refresh(self) -> None:
        for kind in (*FOREIGN_KINDS, *CHILD_KINDS, *OWN_KINDS):
            for namespace in self._settings.namespaces or ("",):
                query: dict[str, Any] = (
                    {"labelSelector": CHILD_SELECTOR} if kind in CHILD_KINDS else {}
                )
                answer = await self._api.request("GET", KINDS[kind].path(namespace), **query)
                listed: list[Body] = [
                    {**item, "kind": kind, "apiVersion": KINDS[kind].api}
                    for item in answer["items"]
                ]
                for body in listed:
                    self.changed(body)
                version = int(answer["metadata"]["resourceVersion"])
                for body in self._mirror.missing(kind, namespace, listed, version):
                    self.changed(body, deleted=True)


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    found = list(tasks)
    for task in found:
        task.cancel()
    await asyncio.gather(*found, return_exceptions=True)


def _now() -> datetime:
    return datetime.now(UTC)
