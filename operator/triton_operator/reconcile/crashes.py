"""Crashes: what a server said before it ended, where the kubelet's end of its log tells nothing."""

from collections.abc import Iterable

from triton_operator.errors import OperatorError
from triton_operator.observed import Pod
from triton_operator.plan.failure_log import find_argument_error, is_usage
from triton_operator.ports import Cluster, Key

_Told = dict[str, tuple[int, str]]
"""How often a pod had been started again when its log was read, and what it told; by pod uid."""


class Crashes:
    """Finds the words that tell why servers do not come up."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._told: dict[Key, _Told] = {}

    def forget(self, server: Key) -> None:
        """Forget what a server's pods have said."""
        self._told.pop(server, None)

    async def explain(self, server: Key, pods: Iterable[Pod]) -> tuple[Pod, ...]:
        """Return the pods, with the argument that Triton refused in place of its list of them.

        Only where a container ended with that list its log is read, and once: a pod has the same
        arguments as long as it lives.
        """
        before, told = self._told.get(server, {}), _Told()
        explained = []
        for pod in pods:
            refuses = pod.is_crashing and is_usage(pod.crash)
            words = find_argument_error(pod.crash) if refuses else ""
            if refuses and not words:
                restarts, words = before.get(pod.uid, (-1, ""))
                if not words and restarts != pod.restarts:
                    logs = await read_ended(self._cluster, server[0], pod)
                    words = next(filter(None, map(find_argument_error, logs)), "")
                told[pod.uid] = (pod.restarts, words)
            explained.append(pod.with_refused_argument(words) if words else pod)
        self._told[server] = told
        return tuple(explained)


async def read_ended(cluster: Cluster, namespace: str, pod: Pod) -> tuple[str, ...]:
    """Return the logs that may be those of the container of a pod that ended last."""
    logs = []
    # The container that ended may have been started again since the pod was observed.
    for previous in (False, True):
        try:
            logs.append(await cluster.read_log(namespace, pod, previous=previous))
        except OperatorError:
            continue  # No such container: it has not ended yet, or is cleaned up.
    return tuple(logs)
