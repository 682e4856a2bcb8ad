"""What to tell about a server: its pods, what keeps them from running, what it serves."""

from collections.abc import Iterable
from datetime import datetime

from triton_operator import names
from triton_operator.api.autoscaling import AutoscalingStatus
from triton_operator.api.conditions import Condition, ConditionType, merge_conditions
from triton_operator.api.server import ControlKeyStatus, RepairStatus, TritonServerStatus
from triton_operator.errors import InvalidSpecError, OperatorError
from triton_operator.observed import Pod, ServerRecord, Workload
from triton_operator.plan.claim import ClaimReport
from triton_operator.plan.models import ModelPlan
from triton_operator.plan.pods import (
    explain_failed_rollout,
    explain_stuck,
    is_unschedulable,
)
from triton_operator.plan.stalled import is_lasting
from triton_operator.plan.sync import Repair


def assess_server(
    record: ServerRecord,
    workload: Workload,
    pods: Iterable[Pod],
    plans: Iterable[ModelPlan],
    *,
    revision: str,
    in_place: bool,
    problem: InvalidSpecError | None,
    limit: str,
    rivals: str,
    autoscaling: AutoscalingStatus | None,
    claim: ClaimReport,
    repaired: Repair | None,
    rotated: str,
    now: datetime,
) -> TritonServerStatus:
    """Return the status of a server whose children were applied.

    ``in_place`` says that there was no room for a spare pod, which ``rollout: Auto`` tried first;
    ``problem`` is why a child cannot be as the spec wants it; ``limit`` says what
    keeps the replicas below the need, and is empty if nothing does; ``rivals`` who else sets them,
    against the spec. ``repaired`` is the check of
    the claim that the last sync made, if it was asked to; ``rotated`` the request for a new control
    key that is carried out.
    """
    living = [pod for pod in pods if not pod.terminating and not pod.finished]
    ready = sum(pod.ready for pod in living)
    outdated = sum(pod.revision != revision for pod in living)
    wanted = workload.desired
    counts = f"{ready} of {wanted} pods ready"
    failed = explain_failed_rollout(living, workload, revision, now=now)
    stuck = failed or explain_stuck(living, workload, now=now)
    complete = workload.observed and ready == wanted == len(living) and not outdated
    rolling = f"{outdated} of {len(living)} pods are of an older revision" if outdated else counts
    if in_place and not complete:
        rolling += "; pods are replaced in place, since no node has room for a spare one"
    unplaced = sum(is_unschedulable(pod, now=now) for pod in living)
    limited = "LimitReached" if limit else "NotLimited"
    if rivals:
        limited, limit = "ForeignAutoscaler", rivals
    elif unplaced:
        limited = "Unschedulable"
        limit = f"{unplaced} of {wanted} pods cannot be scheduled: {stuck}"
    elif claim.limit and not limit:
        limited, limit = "ClaimNotShared", claim.limit

    def judge(kind: ConditionType, holds: bool, reason: str, message: str) -> Condition:
        return _condition(record, kind, holds=holds, reason=reason, message=message, now=now)

    waiting = "ReplacingInPlace" if in_place else "PodsStarting"
    if stuck:
        waiting = "Unschedulable" if unplaced else "RolloutFailed" if failed else "PodsFailing"
    accepted = judge(ConditionType.ACCEPTED, True, "Valid", "")
    if problem is not None:
        complete, stuck, waiting = False, str(problem), problem.reason
        accepted = judge(ConditionType.ACCEPTED, False, problem.reason, stuck)
    conditions: tuple[Condition, ...] = (
        accepted,
        judge(ConditionType.AVAILABLE, ready > 0, "PodsReady" if ready else waiting, counts),
        judge(
            ConditionType.PROGRESSING,
            not complete and not stuck,
            "Complete" if complete else waiting,
            stuck or rolling,
        ),
        judge(
            ConditionType.READY,
            complete,
            "AllPodsReady" if complete else waiting,
            f"{counts}: {stuck}" if stuck else rolling,
        ),
        judge(
            ConditionType.SCALING_LIMITED,
            bool(limit),
            limited,
            limit,
        ),
        judge(
            ConditionType.CLAIM_READY,
            claim.problem is None,
            "AsSpecified" if claim.problem is None else claim.problem.reason,
            str(claim.problem or ""),
        ),
    )
    if not complete and ((stuck and workload.stalled) or is_lasting(waiting)):
        # As for a Deployment: what takes longer than its deadline has failed.
        conditions = (*conditions, judge(ConditionType.STALLED, True, waiting, stuck))
    return TritonServerStatus(
        observed_generation=record.meta.generation,
        conditions=merge_conditions(record.status.conditions, conditions, now=now),
        replicas=workload.replicas,
        ready_replicas=ready,
        ready=f"{ready}/{wanted}",
        selector=f"{names.LABEL_SERVER}={record.meta.name},{names.LABEL_COMPONENT}=server",
        models=tuple(sorted(plan.folder for plan in plans)),
        autoscaling=autoscaling,
        repair=(
            RepairStatus(request=repaired.request, mended=repaired.mended)
            if repaired is not None
            else record.status.repair
        ),
        control_key=(ControlKeyStatus(request=rotated) if rotated else record.status.control_key),
    )


def assess_server_failure(
    record: ServerRecord, error: OperatorError, *, accepted: bool, now: datetime
) -> TritonServerStatus:
    """Return the status of a server whose pass failed; what is not touched is kept."""
    failed = (ConditionType.READY,) if accepted else (ConditionType.READY, ConditionType.ACCEPTED)
    changed = [
        _condition(record, each, holds=False, reason=error.reason, message=str(error), now=now)
        for each in failed
    ]
    if is_lasting(error.reason):
        kind = ConditionType.STALLED
        changed.append(
            _condition(record, kind, holds=True, reason=error.reason, message=str(error), now=now)
        )
    touched = {ConditionType.STALLED, *(condition.type for condition in changed)}
    kept = (c for c in record.status.conditions if c.type not in touched)
    return record.status.model_copy(
        update={
            "observed_generation": record.meta.generation,
            "conditions": merge_conditions(record.status.conditions, (*kept, *changed), now=now),
        }
    )


def _condition(
    record: ServerRecord,
    kind: ConditionType,
    *,
    holds: bool,
    reason: str,
    message: str,
    now: datetime,
) -> Condition:
    return Condition(
        type=kind,
        status="True" if holds else "False",
        reason=reason,
        message=message,
        observed_generation=record.meta.generation,
        last_transition_time=now,
    )
