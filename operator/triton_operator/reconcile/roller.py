"""Rolling: finding out why a pod that was to serve a revision does not come up."""

from dataclasses import replace

from triton_operator.plan.assessment import Refusal
from triton_operator.plan.rollouts import blame, find_fallen
from triton_operator.plan.sync import SyncState
from triton_operator.ports import Cluster, Key
from triton_operator.reconcile.crashes import read_ended
from triton_operator.reconcile.state import Pass

_Logs = dict[tuple[str, int], tuple[str, ...]]
"""What containers that ended have said, by pod uid and how often the pod was started again."""


class Roller:
    """Watches over pods that load all models at their start and none later."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._logs: dict[Key, _Logs] = {}

    def forget(self, server: Key) -> None:
        """Forget what a server's pods have said."""
        self._logs.pop(server, None)

    async def watch(self, this: Pass) -> Pass:
        """Return the pass with the models that keep up-to-date pods from serving.

        The log of a container that ended is read once.
        """
        if this.sync.state is not SyncState.DONE or this.repository != this.sync.revision:
            return this
        server = this.record.key
        before, known = self._logs.pop(server, {}), _Logs()
        refusals: dict[str, Refusal] = {}
        for pod in sorted(find_fallen(this.served, this.repository), key=lambda pod: pod.name):
            end = (pod.uid, pod.restarts)
            logs = before.get(end) or await read_ended(self._cluster, server[0], pod)
            if logs:
                known[end] = logs
                self._logs[server] = known
            found = (blame(this.plans, this.sync.failures, pod, log) for log in logs)
            refusals = refusals or next(filter(None, found), {})
        return replace(this, refusals=refusals) if refusals else this
