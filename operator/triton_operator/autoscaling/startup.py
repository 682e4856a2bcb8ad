"""How long pods take from being asked for to being ready."""

from collections.abc import Iterable, Mapping
from statistics import median_low

from triton_operator.observed import Pod, parse_time

DEFAULT_SECONDS = 60.0
_MOST_SECONDS = 1800.0
_PODS = 9
"""How many of the latest pods are looked at."""
_LONG_AGO = ""
"""The uid of no pod."""


def recall_startups(told: float | None) -> dict[str, float]:
    """Return what is known after a restart: what was told last, as if of one pod of long ago."""
    return {} if told is None else {_LONG_AGO: told}


def measure_startups(
    pods: Iterable[Pod], known: Mapping[str, float], *, timeout_seconds: float
) -> dict[str, float]:
    """Return the seconds that pods took to become ready, by uid, the latest last.

    ``timeout_seconds`` is how long a container may take before the kubelet starts it again.
    """
    found = dict(known)
    for pod in pods:
        if pod.uid not in known:
            seconds = _measure(pod, timeout_seconds)
            if seconds is not None:
                found[pod.uid] = seconds
    present = {pod.uid for pod in pods}
    gone = [uid for uid in found if uid not in present]
    for uid in gone[: max(0, len(found) - _PODS)]:
        del found[uid]
    return found


def _measure(pod: Pod, timeout_seconds: float) -> float | None:
    """Return the seconds from its creation until it was ready; None if nothing tells them.

    A container that was started again says nothing about new pods. Nor does a pod that has become
    ready later than it could for the first time, as after its node was not heard of for a while.
    """
    started = parse_time(pod.started_at)
    if pod.created_at is None or pod.ready_since is None or started is None or pod.restarts:
        return None
    if (pod.ready_since - started).total_seconds() > timeout_seconds:
        return None
    return (pod.ready_since - pod.created_at).total_seconds()


def estimate_startup(known: Mapping[str, float]) -> float:
    """Return the seconds that the next pod will take: the median, as one odd pod is no news.

    A default where no pod was seen to start.
    """
    latest = list(known.values())[-_PODS:]
    if not latest:
        return DEFAULT_SECONDS
    return min(_MOST_SECONDS, max(1.0, median_low(latest)))
