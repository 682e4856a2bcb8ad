"""What a model's status tells of its files: why they are not there, how far they are, and what."""

from triton_operator.api.conditions import ConditionType, find_condition
from triton_operator.api.model import Artifact, SyncProgress
from triton_operator.api.version import MAX_VERSIONS
from triton_operator.plan.acceptance import Accepted
from triton_operator.plan.findings import Finding
from triton_operator.plan.models import ModelPlan
from triton_operator.plan.sync import SyncPlan, SyncState
from triton_operator.plan.sync_log import Copied
from triton_operator.repository.outcome import Failure

SYNC_BLOCKED = "SyncBlocked"
"""The Job that writes the files cannot start, or cannot end; that may pass by itself."""

_STEPS = 100
"""A copy of which the total is known is told in so many steps at most."""
_STEP_BYTES = 64 << 20
"""The step of one of which it is not."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_UNIT = 1024


def find_problem(plan: ModelPlan, sync: SyncPlan) -> Failure | None:
    """Return why the model's files are not, or cannot be, written; None if they may be."""
    if (known := sync.failures.get(plan.object)) is not None:
        return known
    if sync.state is SyncState.FAILED:
        return Failure(sync.reason, sync.message)
    if sync.state is SyncState.RUNNING and sync.message:
        # What has a log has started.
        what = "start" if sync.log is None else "end"
        return Failure(SYNC_BLOCKED, f"the sync Job cannot {what}: {sync.message}")
    return None


def assess_sync(plan: ModelPlan, sync: SyncPlan, kept: int, *, everywhere: bool) -> Finding:
    """Return whether the model's files are on the claim.

    ``kept`` is the number of pods that serve its good generation; ``everywhere`` says that all pods
    serve what is linked.
    """
    if everywhere or plan.refusal is not None:
        # What a pod serves, or has tried, must have been on the claim.
        return Finding(ConditionType.SYNCED, True, "Synced")
    if problem := find_problem(plan, sync):
        rest = "; what was served before keeps serving" if kept else ""
        return Finding(ConditionType.SYNCED, False, problem.reason, problem.message + rest)
    if sync.unsettled is not None and plan.folder not in sync.unsettled:
        return Finding(ConditionType.SYNCED, True, "Synced")
    before = find_condition(plan.record.status.conditions, ConditionType.SYNCED)
    if sync.retrying and before is not None and before.status == "False":
        # The same failure is being tried again: not news until it ends.
        return Finding(ConditionType.SYNCED, False, before.reason, before.message)
    message = "its files are being written to the repository"
    detail = f"{message}: {sync.message}" if sync.message else message
    return Finding(ConditionType.SYNCED, False, "Syncing", detail)


def find_progress(plan: ModelPlan, sync: SyncPlan) -> SyncProgress | None:
    """Return how far the copying of a model's files is; what is no news is told as before."""
    copied = sync.copied.get(plan.object)
    if copied is None or plan.object in sync.failures:
        return None
    before = plan.record.status.sync
    if before is not None and before.bytes_total == copied.total:
        step = copied.total / _STEPS if copied.total is not None else _STEP_BYTES
        ended = copied.bytes == copied.total
        if abs(copied.bytes - before.bytes_done) < step and not ended:
            return before
    return SyncProgress(
        bytes_done=copied.bytes, bytes_total=copied.total, progress=format_progress(copied)
    )


def find_artifacts(plan: ModelPlan, sync: SyncPlan) -> tuple[Artifact, ...]:
    """Return what the model's files are: as its sync reported it, or as it was known before."""
    found = sync.artifacts.get(plan.object)
    if found is not None:
        return tuple(
            Artifact(version=each.version, uri=each.uri, sha256=each.sha256, bytes=each.bytes)
            for each in found[:MAX_VERSIONS]
        )
    if isinstance(plan.verdict, Accepted) and not any(
        version.source for version in plan.verdict.generation.versions
    ):
        return ()
    return plan.record.status.artifacts


def format_progress(copied: Copied) -> str:
    """Return how far a copy is for people."""
    if not copied.total:
        return format_bytes(copied.bytes)
    percent = min(100, copied.bytes * 100 // copied.total)
    return f"{percent}% of {format_bytes(copied.total)}"


def format_bytes(number: int) -> str:
    """Return a number of bytes with two or three digits and a unit."""
    value, unit = float(number), _UNITS[0]
    for unit in _UNITS:
        if value < _UNIT or unit == _UNITS[-1]:
            break
        value /= _UNIT
    return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"  # noqa: PLR2004 - digits
