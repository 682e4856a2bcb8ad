"""Crashes: what a server said before it ended, where the kubelet's end of its log tells nothing."""

from collections.abc import Iterable

from triton_operator.errors import OperatorError
from triton_operator.observed import Pod
from triton_operator.plan.failure_log import (
    find_argument_error,
    find_culprit,
    gave_up,
    is_usage,
)
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
        """Return the pods, with what Triton said of its end before words that do not tell why.

        Those are its list of arguments, after the one that it refused, and that not all models
        could be loaded. Only then its log is read, once for each end; an argument that was refused
        is so as long as the pod lives.
        """
        before, told = self._told.get(server, {}), _Told()
        explained = []
        for pod in pods:
            usage = pod.is_crashing and is_usage(pod.crash)
            words = find_argument_error(pod.crash) if usage else ""
            if not words and (usage or (pod.is_crashing and gave_up(pod.crash))):
                restarts, words = before.get(pod.uid, (-1, ""))
                if restarts != pod.restarts and not (usage and words):
                    logs = await read_ended(self._cluster, server[0], pod)
                    find = find_argument_error if usage else find_culprit
                    words = next(filter(None, map(find, logs)), "")
                told[pod.uid] = (pod.restarts, words)
            explained.append(pod.with_reason(words, refuses_arguments=usage) if words else pod)
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
