"""What keeps pods from running, in the words of the scheduler, the kubelet or the controller."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from triton_operator.observed import Pod, Workload

SCHEDULING_PATIENCE_SECONDS = 5.0
"""A pod made together with its claim is unschedulable until the claim is bound."""
_ENDING_PATIENCE_SECONDS = 60.0
"""How much longer than it was given a pod may take to end."""

_PASSING = ("ContainerCreating", "PodInitializing")
"""What every pod waits for once."""
_PASSING_SECONDS = 60.0
"""How long that goes unmentioned."""
_REJECTED_SECONDS = 60.0
"""A pod that was made so recently and is over already was let go by its node."""
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


def is_hanging(pod: Pod, *, now: datetime) -> bool:
    """Return whether a pod that is to go does not end, as on a node that is dead."""
    over = (now - pod.ends_at).total_seconds() if pod.ends_at is not None else 0.0
    return over >= _ENDING_PATIENCE_SECONDS


def explain_hanging(pod: Pod | None, *, now: datetime) -> str:
    """Return that a pod does not end, and what to do; empty unless that is so."""
    if pod is None or not is_hanging(pod, now=now):
        return ""
    return (
        f"pod {pod.name} does not end; perhaps its node {pod.node} does not answer. If that is off"
        f" for good, delete its Node, or kubectl delete pod {pod.name} --force"
    )


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


def note_rejection(
    workload: Workload, pods: Iterable[Pod], ended: Iterable[Pod], revision: str, *, now: datetime
) -> Workload:
    """Return a workload that says why nodes let none of its pods stay, if that is so.

    Kubernetes makes the next pod at once, which says nothing before its node lets it go, too.
    """
    admitted = [
        pod.created_at
        for pod in pods
        if pod.revision == revision
        and pod.created_at is not None
        and (pod.ready or pod.running or bool(pod.waiting))
    ]
    rejected = [
        (pod.created_at, pod.exit_reason)
        for pod in ended
        if pod.revision == revision
        and pod.exit_reason
        and pod.created_at is not None
        and (now - pod.created_at).total_seconds() < _REJECTED_SECONDS
        # Since then nodes have let another one stay.
        and not any(pod.created_at <= at for at in admitted)
    ]
    if workload.refused or not rejected or len(admitted) >= workload.desired:
        return workload
    # Without the pod's name: with one such pod a second that would be news in every pass.
    return replace(workload, refused=max(rejected)[1])


def explain_creating(pods: Iterable[Pod], *, now: datetime) -> str:
    """Return where to see what a pod waits for whose container is not made; empty while all is new.

    The reason is told by Events only, which this operator does not read.
    """
    waiting = (
        f"pod {pod.name} waits for its image or a volume: kubectl describe pod {pod.name} tells why"
        for pod in pods
        if pod.waiting.startswith(_PASSING)
        and pod.created_at is not None
        and (now - pod.created_at).total_seconds() >= _PASSING_SECONDS
    )
    return next(waiting, "")


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
