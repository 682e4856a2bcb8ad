"""The end of a server that writes on somebody else's claim: its files there go before it does."""

from triton_operator import names
from triton_operator.api.server import TritonServer
from triton_operator.desired.claim import claim_name
from triton_operator.desired.metadata import ChildNames
from triton_operator.errors import ClusterError, OperatorError
from triton_operator.observed import ServerRecord, ServerWorld
from triton_operator.plan.events import Event
from triton_operator.plan.sync import SyncState, is_claim_missing, plan_sync
from triton_operator.ports import Clock, Cluster
from triton_operator.reconcile.syncer import Syncer
from triton_operator.repository.manifest import Manifest

_RELEASE_SECONDS = 300.0
"""How long a server that goes away may wait for its files to be removed."""


class Releaser:
    """Holds servers by a finalizer, and lets go of them."""

    def __init__(self, cluster: Cluster, syncer: Syncer, clock: Clock) -> None:
        self._cluster = cluster
        self._syncer = syncer
        self._now = clock

    async def hold(self, record: ServerRecord, server: TritonServer) -> None:
        """Hold a server that writes on somebody else's claim until its files there are removed."""
        if server.spec.repository.claim_name is None or names.FINALIZER in record.meta.finalizers:
            return
        finalizers = (*record.meta.finalizers, names.FINALIZER)
        await self._cluster.set_finalizers(names.KIND_SERVER, record.meta, finalizers)

    async def release(self, world: ServerWorld, record: ServerRecord) -> float | None:
        """Remove a server's files; return when to look again, None once it may go."""
        if names.FINALIZER not in record.meta.finalizers:
            return None
        now = self._now()
        waited = (now - (record.meta.deletion_timestamp or now)).total_seconds()
        left = "files of this server stay on its claim: "
        problem = "the spec cannot be read"
        sync = None
        if record.spec is not None:
            namespace, child = record.meta.namespace, ChildNames(record.meta.name)
            if world.child("Deployment", child.deployment) is not None:
                await self._cluster.delete("Deployment", namespace, child.deployment)
            manifest = _removal(record)
            sync = plan_sync(manifest.digest(), world.jobs, world.pods, now=now)
            problem = sync.message or "the Job that removes them does not end"
            if is_claim_missing(claim_name(record.spec), world.pods):
                await self._let_go(world, record)
                return None
            try:
                await self._syncer.run(record.spec, manifest, sync, world.jobs)
            except OperatorError as error:
                unanswered = isinstance(error, ClusterError) and not error.is_refusal
                if unanswered and waited < _RELEASE_SECONDS:
                    raise
                # Nothing can be made in a namespace that goes away, and its claims go with it.
                sync, problem = None, str(error)
        done = sync is not None and sync.state is SyncState.DONE and not sync.failures
        if sync is not None and not done and waited < _RELEASE_SECONDS:
            return min(sync.retry_in or _RELEASE_SECONDS, _RELEASE_SECONDS - waited)
        if not done:
            event = Event("Warning", "FilesLeft", left + problem)
            await self._cluster.record_event(names.KIND_SERVER, record.meta, event)
        await self._let_go(world, record)
        return None

    async def _let_go(self, world: ServerWorld, record: ServerRecord) -> None:
        """Take the finalizer off, and what removed the files away: nothing owns that."""
        namespace, removal = record.meta.namespace, _removal(record)
        for job in world.jobs:
            if job.manifest == removal.digest():
                await self._cluster.delete("Job", namespace, job.name)
        name = ChildNames(record.meta.name).manifest(removal.content_digest())
        await self._cluster.delete("ConfigMap", namespace, name)
        rest = tuple(each for each in record.meta.finalizers if each != names.FINALIZER)
        await self._cluster.set_finalizers(names.KIND_SERVER, record.meta, rest)


def _removal(record: ServerRecord) -> Manifest:
    return Manifest(server=record.meta.name, remove=True)
