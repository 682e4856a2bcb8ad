"""How far the pods of a server are: how many serve, what goes on, what keeps the others."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from triton_operator.errors import InvalidSpecError
from triton_operator.observed import Pod, Workload
from triton_operator.plan.pods import (
    explain_creating,
    explain_failed_rollout,
    explain_stuck,
    explain_waiting,
    is_unschedulable,
)
from triton_operator.plan.sync import SyncPlan, SyncState


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the pods of a server are from what they should be."""

    counts: str
    """How many are ready, in words."""
    ready: int
    wanted: int
    unplaced: int
    """Pods that find no node."""
    complete: bool
    """All are there, ready and up to date, and no other."""
    reason: str
    """Why it is not complete, in one word."""
    doing: str
    """What goes on, in words."""
    stuck: str
    """What keeps pods from running; empty when nothing does."""
    overdue: bool
    """Kubernetes' deadline for the Deployment is over."""

    def stopped_by(self, problem: InvalidSpecError) -> "Progress":
        """Return the same for pods that cannot become what the spec wants, whatever they do."""
        return replace(self, complete=False, reason=problem.reason, stuck=str(problem))

    def waiting_for(self, sync: SyncPlan) -> "Progress":
        """Return the same, with the files that pods wait for before the first of them is ready."""
        if self.complete or self.ready or sync.state is SyncState.DONE:
            return self
        return replace(self, doing=f"{self.doing}; pods wait for the files of models")


def leave_time(
    workload: Workload, pods: Iterable[Pod], sync: SyncPlan, *, seconds: float, now: datetime
) -> Workload:
    """Return a workload that is not late before pods have had so many seconds with their files.

    Kubernetes counts from the change of the Deployment on, also while the first files are copied.
    """
    pods = tuple(pods)
    # Else they wait for something that is not the files.
    others = explain_waiting(pods, now=now) or explain_creating(pods, now=now)
    if not pods or any(pod.ready for pod in pods) or others:
        return workload
    written = sync.ended.at if sync.ended is not None and sync.state is SyncState.DONE else now
    late = (now - written).total_seconds() >= seconds
    return workload if late else replace(workload, stalled="")


def assess_progress(
    pods: Iterable[Pod],
    workload: Workload,
    revision: str,
    *,
    in_place: bool,
    loss: str = "",
    now: datetime,
) -> Progress:
    """Return how far the pods of a server are.

    ``revision`` is that of up-to-date pods; ``in_place`` says that there was no room for a spare
    one, which ``rollout: Auto`` tried first; ``loss`` why the rollout is paused, if it is.
    """
    living = [pod for pod in pods if not pod.terminating]
    ready = sum(pod.ready for pod in living)
    outdated = sum(pod.revision != revision for pod in living)
    unplaced = sum(is_unschedulable(pod, now=now) for pod in living)
    wanted = workload.desired
    complete = workload.observed and ready == wanted == len(living) and not outdated
    older = sum(pod.ready and pod.revision != revision for pod in living)
    counts = f"{ready} of {wanted} pods ready"
    if older:
        counts = (
            f"{ready - older} of {wanted} pods of the new revision ready, {older} of an older one"
        )
    doing = f"{outdated} of {len(living)} pods are of an older revision" if outdated else counts
    if hint := explain_creating(living, now=now):
        doing += f"; {hint}"
    if in_place and not complete:
        doing += "; pods are replaced in place, since there is no room for a spare one"
    failed = loss or explain_failed_rollout(living, workload, revision, now=now)
    stuck = failed or explain_stuck(living, workload, now=now)
    reason = "ReplacingInPlace" if in_place else "PodsStarting"
    if stuck:
        reason = "Unschedulable" if unplaced else "RolloutFailed" if failed else "PodsFailing"
    return Progress(
        counts=counts,
        ready=ready,
        wanted=wanted,
        unplaced=unplaced,
        complete=complete,
        reason=reason,
        doing=doing,
        stuck=stuck,
        overdue=bool(loss or workload.stalled),
    )
