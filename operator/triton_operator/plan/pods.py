"""What keeps pods from running, in the words of the scheduler, the kubelet or the controller."""

from collections.abc import Iterable
from datetime import datetime

from triton_operator.observed import Pod, Workload

SCHEDULING_PATIENCE_SECONDS = 5.0
"""A pod made together with its claim is unschedulable until the claim is bound."""

_PASSING = ("ContainerCreating", "PodInitializing")
"""What every pod waits for once."""
_HICCUPS = (
    "failed to sync secret cache: timed out",
    "failed to sync configmap cache: timed out",
)
"""A kubelet that is busy says this of what is new to it, and tries again at once."""


def is_unschedulable(pod: Pod, *, now: datetime) -> bool:
    """Return whether a pod finds no node; a new claim's binding is given a moment first."""
    since = pod.unschedulable_since
    patience = (now - since).total_seconds() < SCHEDULING_PATIENCE_SECONDS if since else False
    return bool(pod.unschedulable) and not patience


def explain_waiting(pods: Iterable[Pod], *, now: datetime) -> str:
    """Return why pods cannot start; empty when nothing keeps them for longer than usual."""
    pods = tuple(pods)
    said = (
        *(pod.unschedulable for pod in pods if is_unschedulable(pod, now=now)),
        *(f"pod {pod.name} crashes: {pod.crash}" for pod in pods if pod.is_crashing),
        *(pod.waiting for pod in pods if not _will_pass(pod.waiting)),
    )
    return next(filter(None, said), "")


def explain_stuck(pods: Iterable[Pod], workload: Workload, *, now: datetime) -> str:
    """Return why a server's pods cannot start, or cannot even be made; empty when they can."""
    return explain_waiting(pods, now=now) or workload.refused or workload.stalled


def explain_failed_rollout(
    pods: Iterable[Pod], workload: Workload, revision: str, *, now: datetime
) -> str:
    """Return why new pods do not come up while older ones serve on; empty unless that is so.

    Kubernetes replaces no more pods then, and tries the new ones again and again. Pods that find no
    node are no failure: they wait for room.
    """
    pods = tuple(pods)
    serving = sum(pod.ready for pod in pods if pod.revision != revision)
    newer = [pod for pod in pods if pod.revision == revision]
    why = explain_stuck(newer, workload, now=now)
    if not serving or not why or any(pod.unschedulable for pod in newer):
        return ""
    return (
        f"{why}; the rollout goes no further and {serving} of {workload.desired} pods serve on as"
        " before: put back what was changed, or change it again"
    )


def _will_pass(waiting: str) -> bool:
    return waiting.startswith(_PASSING) or any(hiccup in waiting for hiccup in _HICCUPS)
