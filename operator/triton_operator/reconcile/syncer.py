"""The sync Jobs of a server: the one that is wanted is started, the others are stopped."""

from triton_operator.api.server import TritonServer
from triton_operator.desired.metadata import ChildNames
from triton_operator.desired.sync_job import build_manifest_map, build_sync_job
from triton_operator.plan.sync import SyncPlan
from triton_operator.ports import Cluster
from triton_operator.repository.manifest import Manifest
from triton_operator.settings import Settings


class Syncer:
    """Has the claim made what a manifest says."""

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self._cluster = cluster
        self._settings = settings

    async def run(self, server: TritonServer, manifest: Manifest, sync: SyncPlan) -> None:
        """Start and stop the Jobs that the plan says."""
        namespace, child = server.metadata.namespace, ChildNames(server.metadata.name)
        if sync.start is not None:
            await self._cluster.create(build_manifest_map(server, manifest))
            job = build_sync_job(
                server,
                manifest,
                sequence=sync.start.sequence,
                attempt=sync.start.attempt,
                image=self._settings.sync_image,
                image_pull_policy=self._settings.sync_image_pull_policy,
            )
            await self._cluster.create(job)
        for stopped in sync.stop:
            await self._cluster.delete("Job", namespace, stopped.name)
            if stopped.manifest != manifest.digest():
                name = child.manifest(stopped.manifest)
                await self._cluster.delete("ConfigMap", namespace, name)
