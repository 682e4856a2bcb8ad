"""The sync Jobs of a server: the one that is wanted is started and followed, others are stopped."""

import asyncio
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from triton_operator.api.server import TritonServer
from triton_operator.desired.claim import claim_name
from triton_operator.desired.metadata import ChildNames
from triton_operator.desired.sync_job import build_manifest_map, build_sync_job
from triton_operator.desired.sync_mounts import source_claims
from triton_operator.errors import OperatorError
from triton_operator.observed import Pod, SyncJob
from triton_operator.plan.claim import needs_one_node
from triton_operator.plan.sync import SyncPlan
from triton_operator.plan.sync_log import SyncLog, read_sync_log
from triton_operator.ports import Clock, Cluster, Key, Telemetry
from triton_operator.reconcile.claims import Claims
from triton_operator.repository.manifest import Manifest
from triton_operator.settings import Settings

_FOLLOW_SECONDS = 5.0
"""Time between two looks into the log of a Job that runs."""
_LINES = 5_000
"""Of the log's end; a Job that runs has rarely written as many since the last look."""
_OVERLAP_SECONDS = 3.0
"""Of two looks: the clocks of nodes differ a little."""
_LOG_TIMEOUT_SECONDS = 3.0
"""A pass does not wait longer for a node that does not answer."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the log of one Job has told so far."""

    pod: str
    """Uid."""
    at: datetime | None = None
    """When its log was last asked for."""
    until: datetime | None = None
    """When it was last read."""
    finished: bool = False
    """The Job was over when its log was asked for."""
    log: SyncLog = field(default_factory=SyncLog)

    def due_in(self, pod: Pod, now: datetime) -> float:
        """Return the seconds until the log is worth another look."""
        if self.at is None or self.finished != pod.finished:
            return 0.0
        if self.finished and self.until == self.at:
            return math.inf  # it has been read to its end
        return _FOLLOW_SECONDS - (now - self.at).total_seconds()


class Syncer:
    """Has the claim made what a manifest says."""

    def __init__(
        self,
        cluster: Cluster,
        claims: Claims,
        settings: Settings,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._cluster = cluster
        self._claims = claims
        self._settings = settings
        self._now = clock
        self._telemetry = telemetry
        self._going_on: set[Key] = set()
        """Servers whose claim was last seen not to be what it is told to be."""
        self._heard: dict[Key, _Heard] = {}

    async def run(
        self, server: TritonServer, manifest: Manifest, sync: SyncPlan, jobs: Iterable[SyncJob]
    ) -> None:
        """Start and stop those of a server's Jobs that the plan says."""
        namespace = server.metadata.namespace
        staying = (job for job in jobs if job not in sync.stop and not job.terminating)
        used = {"", *(job.config_map for job in staying)}
        if sync.start is not None:
            used.add(ChildNames(server.metadata.name).manifest(manifest.content_digest()))
            await self._cluster.create(build_manifest_map(server, manifest))
            modes = await self._claims.modes(server)
            sources = source_claims(manifest) - {claim_name(server)}
            job = build_sync_job(
                server,
                manifest,
                sequence=sync.start.sequence,
                attempt=sync.start.attempt,
                image=self._settings.sync_image,
                image_pull_policy=self._settings.sync_image_pull_policy,
                memory_limit=self._settings.sync_memory_limit,
                repair=sync.start.repair,
                one_node=needs_one_node(modes),
                # Without its claim one model fails, and says so, rather than the whole Job.
                absent=await self._claims.absent(namespace, sources),
            )
            await self._cluster.create(job)
        for stopped in sync.stop:
            # Its manifest first: nobody remembers that once the Job has gone.
            if stopped.config_map not in used:
                used.add(stopped.config_map)
                await self._cluster.delete("ConfigMap", namespace, stopped.config_map)
            await self._cluster.delete("Job", namespace, stopped.name)

    async def follow(self, server: Key, sync: SyncPlan) -> SyncPlan:
        """Return the plan with what the Job's log adds to it; the log is read now and then."""
        self._measure(server, sync)
        pod = sync.log
        if pod is None:
            self._heard.pop(server, None)
            return sync
        heard = self._heard.get(server)
        if heard is None or heard.pod != pod.uid:
            heard = _Heard(pod.uid)
        if heard.due_in(pod, self._now()) <= 0:
            heard = self._heard[server] = await self._listen(server[0], pod, heard)
        if pod.finished:
            return replace(sync, artifacts=heard.log.artifacts)
        return replace(
            sync,
            waiting=heard.log.waiting,
            copied=heard.log.copied,
            failures=heard.log.failures,
            retry_in=heard.due_in(pod, self._now()),
        )

    def forget(self, server: Key) -> None:
        """Forget what the log of a server's Job told."""
        self._heard.pop(server, None)
        self._going_on.discard(server)

    def _measure(self, server: Key, sync: SyncPlan) -> None:
        """Count a Job once; one that was over when this process began was counted by the last."""
        if sync.ended is None:
            self._going_on.add(server)
        elif server in self._going_on:
            self._going_on.remove(server)
            self._telemetry.synced(sync.result, sync.ended.seconds, sync.ended.copied)

    async def _listen(self, namespace: str, pod: Pod, heard: _Heard) -> _Heard:
        """Read what a log has told since it was read last; nothing new if it cannot be read."""
        log, now, until = heard.log, self._now(), heard.until
        new = None
        if until is not None and not pod.finished:
            new = math.ceil((now - until).total_seconds() + _OVERLAP_SECONDS)
        try:
            async with asyncio.timeout(_LOG_TIMEOUT_SECONDS):
                text = await self._cluster.read_log(namespace, pod, lines=_LINES, seconds=new)
            log, until = log.followed_by(read_sync_log(text)), now
        except (OperatorError, TimeoutError) as error:
            _logger.info("the log of %s/%s cannot be read: %s", namespace, pod.name, error)
        return _Heard(pod.uid, now, until, pod.finished, log)
