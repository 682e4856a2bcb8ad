"""What to tell about a server: its pods, what keeps them from running, what it serves."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from triton_operator import names
from triton_operator.api.autoscaling import AutoscalingStatus
from triton_operator.api.conditions import ConditionType
from triton_operator.api.server import ControlKeyStatus, RepairStatus, TritonServerStatus
from triton_operator.errors import InvalidSpecError, OperatorError
from triton_operator.observed import ServerRecord
from triton_operator.plan.claim import CLAIM_NOT_BOUND, ClaimReport
from triton_operator.plan.findings import Finding, date_findings
from triton_operator.plan.models import ModelPlan
from triton_operator.plan.progress import Progress
from triton_operator.plan.replicas import Scaling
from triton_operator.plan.stalled import is_lasting
from triton_operator.plan.sync import Repair

FOREIGN_AUTOSCALER = "ForeignAutoscaler"
BESIDES = "; besides: "
"""In the message of a condition: between what its reason names, and what there is else."""


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What there is to tell of a server whose children were applied."""

    replicas: int
    """All its pods, as the controller of its Deployment counts them."""
    progress: Progress
    plans: tuple[ModelPlan, ...]
    problem: InvalidSpecError | None
    """Why a child cannot be as the spec wants it."""
    scaling: Scaling
    rivals: str
    """Who else sets the number of pods, against the spec; empty if nobody does."""
    claim: ClaimReport
    repaired: Repair | None
    """The check of the claim that the last sync made, if it was asked to."""
    rotated: str
    """The request for a new control key that is carried out."""


def assess_server(
    record: ServerRecord, report: ServerReport, *, now: datetime
) -> TritonServerStatus:
    """Return the status of a server whose children were applied."""
    progress, repaired, rotated = report.progress, report.repaired, report.rotated
    before = record.status
    findings = (
        _accepted(report.problem),
        *_judge_pods(progress.stopped_by(report.problem) if report.problem else progress),
        _scaling_limited(report),
        _claim_ready(report.claim),
    )
    return TritonServerStatus(
        observed_generation=record.meta.generation,
        conditions=date_findings(record, findings, now=now),
        replicas=report.replicas,
        ready_replicas=progress.ready,
        ready=f"{progress.ready}/{progress.wanted}",
        selector=f"{names.LABEL_SERVER}={record.meta.name},{names.LABEL_COMPONENT}=server",
        models=tuple(sorted({plan.folder for plan in report.plans})),
        autoscaling=_autoscaling(record, report.scaling),
        repair=(
            RepairStatus(request=repaired.request, mended=repaired.mended)
            if repaired is not None
            else before.repair
        ),
        control_key=ControlKeyStatus(request=rotated) if rotated else before.control_key,
    )


def assess_server_failure(
    record: ServerRecord, error: OperatorError, *, accepted: bool, now: datetime
) -> TritonServerStatus:
    """Return the status of a server whose pass failed; what is not touched is kept."""
    reason, message = error.reason, str(error)
    findings = [Finding(ConditionType.READY, False, reason, message)]
    if not accepted:
        findings.append(Finding(ConditionType.ACCEPTED, False, reason, message))
    if is_lasting(reason):
        findings.append(Finding(ConditionType.STALLED, True, reason, message))
    touched = {ConditionType.STALLED, *(finding.type for finding in findings)}
    kept = (each for each in record.status.conditions if each.type not in touched)
    return record.status.model_copy(
        update={
            "observed_generation": record.meta.generation,
            "conditions": date_findings(record, findings, kept=kept, now=now),
        }
    )


def _accepted(problem: InvalidSpecError | None) -> Finding:
    if problem is not None:
        return Finding(ConditionType.ACCEPTED, False, problem.reason, str(problem))
    return Finding(ConditionType.ACCEPTED, True, "Valid")


def _judge_pods(pods: Progress) -> Iterator[Finding]:
    yield Finding(
        ConditionType.AVAILABLE,
        pods.ready > 0,
        "PodsReady" if pods.ready else pods.reason,
        pods.counts,
    )
    yield Finding(
        ConditionType.PROGRESSING,
        not pods.complete and not pods.stuck,
        "Complete" if pods.complete else pods.reason,
        pods.stuck or pods.doing,
    )
    yield Finding(
        ConditionType.READY,
        pods.complete,
        "AllPodsReady" if pods.complete else pods.reason,
        f"{pods.counts}: {pods.stuck}" if pods.stuck else pods.doing,
    )
    if not pods.complete and ((pods.stuck and pods.overdue) or is_lasting(pods.reason)):
        # As for a Deployment: what takes longer than its deadline has failed.
        yield Finding(ConditionType.STALLED, True, pods.reason, pods.stuck)


def _scaling_limited(report: ServerReport) -> Finding:
    """Return what keeps the number of pods from being the one that is needed."""
    found = _limit(report)
    if not report.rivals:
        return found
    # Somebody can mend this at once, and what else there is may be its doing.
    message = BESIDES.join(filter(None, (report.rivals, found.message)))
    return Finding(ConditionType.SCALING_LIMITED, True, FOREIGN_AUTOSCALER, message)


def _limit(report: ServerReport) -> Finding:
    pods = report.progress
    if pods.unplaced:
        message = f"{pods.unplaced} of {pods.wanted} pods cannot be scheduled: {pods.stuck}"
        return Finding(ConditionType.SCALING_LIMITED, True, "Unschedulable", message)
    if limit := report.scaling.limit:
        return Finding(ConditionType.SCALING_LIMITED, True, "LimitReached", limit)
    if limit := report.claim.limit:
        return Finding(ConditionType.SCALING_LIMITED, True, "ClaimNotShared", limit)
    return Finding(ConditionType.SCALING_LIMITED, False, "NotLimited")


def _claim_ready(claim: ClaimReport) -> Finding:
    if claim.unbound:
        return Finding(ConditionType.CLAIM_READY, False, CLAIM_NOT_BOUND, claim.unbound)
    if claim.problem is not None:
        reason, message = claim.problem.reason, str(claim.problem)
        return Finding(ConditionType.CLAIM_READY, False, reason, message)
    return Finding(ConditionType.CLAIM_READY, True, "AsSpecified")


def _autoscaling(record: ServerRecord, scaling: Scaling) -> AutoscalingStatus | None:
    """Return what to tell of the autoscaler: the same as before until there is something newer."""
    if record.spec is None or record.spec.spec.autoscaling is None:
        return None
    return scaling.status or record.status.autoscaling
