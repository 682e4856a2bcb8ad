"""The running operator: its connections, its queues, and what wakes which of them."""

import asyncio
import logging
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from triton_operator import names
from triton_operator.adapters.api_client import KINDS, KubeApi
from triton_operator.adapters.kube import KubeCluster
from triton_operator.adapters.mirror import Mirror, ref_of, servers_of
from triton_operator.adapters.pod_http import PodHttp
from triton_operator.adapters.scrape import TritonScraper
from triton_operator.adapters.triton import TritonPods
from triton_operator.errors import OperatorError
from triton_operator.handlers.queue import WorkQueue
from triton_operator.observed import AUTOSCALER, Body
from triton_operator.ports import Key
from triton_operator.reconcile.models import ModelAssigner
from triton_operator.reconcile.scaler import Scaler
from triton_operator.reconcile.servers import ServerReconciler
from triton_operator.settings import Settings

OWN_KINDS = (names.KIND_MODEL, names.KIND_SERVER)
CHILD_KINDS = ("Deployment", "Service", "NetworkPolicy", "PersistentVolumeClaim", "Job", "Pod")
CHILD_SELECTOR = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
FOREIGN_KINDS = (AUTOSCALER,)
"""Of others, who label them as they like."""

_REFRESH_SECONDS = 600.0
"""How often everything is listed again. A watch that was cut off for long misses deletions."""

_logger = logging.getLogger(__name__)


class Operator:
    """Everything that lives as long as the process."""

    def __init__(self, api: KubeApi, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        self._mirror = Mirror()
        self._cluster = KubeCluster(api, self._mirror)
        self._servers = WorkQueue("servers", self._reconcile)
        self._open = AsyncExitStack()
        self._http = PodHttp()
        scraper = TritonScraper(self._http, deadline_seconds=settings.scrape_deadline_seconds)
        self._scaler = Scaler(self._cluster, scraper, settings, _now, self._servers.wake)
        self._reconciler = ServerReconciler(
            self._cluster, TritonPods(), settings, _now, self._servers.wake, scaler=self._scaler
        )
        self._assigner = ModelAssigner(self._cluster, _now)
        self._models = WorkQueue("models", self._assign)
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def start(cls, settings: Settings) -> "Operator":
        """Connect and list everything there is: no pass may take "not seen yet" for "gone"."""
        operator = cls(await KubeApi.connect(), settings)
        await operator._refresh()
        await operator._open.enter_async_context(operator._http)
        operator._tasks = [
            asyncio.create_task(operator._keep_fresh(), name="refresh"),
            asyncio.create_task(operator._scaler.run(), name="autoscaling"),
        ]
        return operator

    async def stop(self) -> None:
        """End all work and close all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._models.stop()
        await self._servers.stop()
        await self._reconciler.stop()
        await self._open.aclose()
        await self._api.close()

    def loops(self) -> dict[str, int]:
        """Return how many servers and models have a loop."""
        return {"servers": len(self._servers), "models": len(self._models)}

    def changed(self, body: Body, *, deleted: bool = False) -> None:
        """Take in the news of one object, and wake whom they concern."""
        kind, namespace, name = ref_of(body)
        before = self._mirror.get(kind, namespace, name)
        news = self._mirror.drop(body) if deleted else self._mirror.put(body)
        if not news:
            return
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

    async def _assign(self, key: Key) -> float | None:
        server = await self._assigner.assign(key)
        if server is not None:
            # What we wrote ourselves is in the mirror already, so its event will be no news.
            self._servers.wake(server)
        return None

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            try:
                await self._refresh()
            except OperatorError as error:
                _logger.warning("listing everything failed: %s", error)

    async def _refresh(self) -> None:
        for kind in (*FOREIGN_KINDS, *CHILD_KINDS, *OWN_KINDS):
            for namespace in self._settings.namespaces or ("",):
                query = {"labelSelector": CHILD_SELECTOR} if kind in CHILD_KINDS else {}
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


def _now() -> datetime:
    return datetime.now(UTC)
