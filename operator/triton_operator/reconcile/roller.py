"""Rolling: finding out why a pod that was to serve a revision does not come up."""

from dataclasses import replace

from triton_operator.errors import OperatorError
from triton_operator.observed import Pod
from triton_operator.plan.model_status import Refusal
from triton_operator.plan.rollouts import blame, find_fallen
from triton_operator.plan.sync import SyncState
from triton_operator.ports import Cluster
from triton_operator.reconcile.state import Pass


class Roller:
    """Watches over pods that load all models at their start and none later."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def watch(self, this: Pass) -> Pass:
        """Return the pass with the models that keep up-to-date pods from serving."""
        if this.sync.state is not SyncState.DONE or this.repository != this.sync.revision:
            return this
        for pod in sorted(find_fallen(this.served, this.repository), key=lambda pod: pod.name):
            if refusals := await self._explain(this, pod):
                return replace(this, refusals=refusals)
        return this

    async def _explain(self, this: Pass, pod: Pod) -> dict[str, Refusal]:
        # The container that ended may have been started again since the pod was observed.
        for previous in (False, True):
            try:
                log = await self._cluster.read_log(
                    this.record.meta.namespace, pod, previous=previous
                )
            except OperatorError:
                continue  # No such container: it has not ended yet, or is cleaned up.
            if refusals := blame(this.plans, this.sync.failures, pod, log):
                return refusals
        return {}
