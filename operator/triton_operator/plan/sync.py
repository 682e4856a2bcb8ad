"""Whether the claim holds what the manifest says, and which Job to start or stop to make it so.

The Jobs themselves are the memory: the one with the highest sequence number says what the claim
was last told to be. An older Job with the right manifest proves nothing, since a later one has
changed the claim after it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from triton_operator.observed import Pod, SyncJob
from triton_operator.plan.pods import explain_waiting
from triton_operator.repository.outcome import Failure, decode_outcome

_RETRY_SECONDS = (15.0, 600.0)
"""First and longest pause before a sync is tried again that may succeed by itself."""
_MENDED_SECONDS = (300.0, 3600.0)
"""The same for failures that somebody has to mend: nothing there, not allowed, not the file."""


class SyncState(StrEnum):
    """How far the claim is from the manifest."""

    WAITING = "Waiting"
    """No Job can start yet: an older one is still being stopped."""
    RUNNING = "Running"
    DONE = "Done"
    """The Job has done what could be done; single models may have failed."""
    FAILED = "Failed"
    """The Job could not even say how far it came."""


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What is known of the claim, and what to do about it."""

    state: SyncState
    message: str = ""
    failures: Mapping[str, Failure] = field(default_factory=dict)
    """Why a model could not be made, by name of the ``TritonModel``."""
    start: SyncJob | None = None
    """The Job to make, as it will be seen."""
    stop: tuple[SyncJob, ...] = ()
    """Jobs that have nothing to say any more."""
    retry_in: float | None = None
    """Seconds until what failed is to be tried again."""
    retrying: bool = False
    """The Job that runs, or is to start, repeats one that failed."""


def plan_sync(
    digest: str, jobs: Iterable[SyncJob], pods: Iterable[Pod], *, now: datetime
) -> SyncPlan:
    """Return how far the claim is from the manifest of this digest, and what to do."""
    by_job = {pod.job: pod for pod in pods if pod.job}
    ordered = sorted(jobs, key=lambda job: job.sequence)
    superseded = tuple(job for job in ordered[:-1] if not job.terminating)
    if not ordered:
        return _start(digest, sequence=1, attempt=0, stop=())
    latest = ordered[-1]
    pod = by_job.get(latest.name)
    running = not (latest.complete or latest.failed or (pod is not None and pod.finished))
    if latest.terminating or latest.manifest != digest:
        stop = superseded if latest.terminating else (*superseded, latest)
        if running:
            # Two writers at once could leave the older one's links: wait until it is gone.
            return SyncPlan(SyncState.WAITING, "an older sync is being stopped", stop=stop)
        return _start(digest, sequence=latest.sequence + 1, attempt=0, stop=stop)
    if running:
        message = explain_waiting((pod,), now=now) if pod else ""
        retrying = latest.attempt > 0
        return SyncPlan(SyncState.RUNNING, message, stop=superseded, retrying=retrying)
    return _judge_finished(digest, latest, pod, superseded, now)


def is_claim_missing(claim: str, pods: Iterable[Pod]) -> bool:
    """Return whether a sync waits for this claim, which does not exist."""
    missing = f'persistentvolumeclaim "{claim}" not found'
    return any(pod.job and missing in pod.unschedulable for pod in pods)


def _judge_finished(
    digest: str, job: SyncJob, pod: Pod | None, superseded: tuple[SyncJob, ...], now: datetime
) -> SyncPlan:
    outcome = decode_outcome(pod.termination_message) if pod is not None else None
    if outcome is None or outcome.manifest != digest:
        state, failures = SyncState.FAILED, {}
        # Somebody removed the pod of a finished Job, or its node went: run it once more to know.
        message = "the sync finished, but its report is gone" if job.complete else _died(job, pod)
    elif outcome.truncated:
        # Which ones is not known, so nothing may be taken for written.
        state, failures = SyncState.FAILED, dict(outcome.failed)
        message = f"{len(failures) + outcome.truncated} models failed; see the log of {job.name}"
    elif not outcome.failed:
        return SyncPlan(SyncState.DONE, stop=superseded)
    else:
        state, failures, message = SyncState.DONE, dict(outcome.failed), ""
    ended = job.finished_at or now
    lasting = bool(failures) and not any(failure.transient for failure in failures.values())
    first, longest = _MENDED_SECONDS if lasting else _RETRY_SECONDS
    wait = min(first * 2.0 ** min(job.attempt, 10), longest)
    left = wait - (now - ended).total_seconds()
    if left > 0:
        return SyncPlan(state, message, failures, stop=superseded, retry_in=left)
    retry = _start(
        digest, sequence=job.sequence + 1, attempt=job.attempt + 1, stop=(*superseded, job)
    )
    return SyncPlan(state, message, failures, retry.start, retry.stop, retrying=True)


def _start(digest: str, *, sequence: int, attempt: int, stop: tuple[SyncJob, ...]) -> SyncPlan:
    job = SyncJob(name="", sequence=sequence, manifest=digest, attempt=attempt)
    return SyncPlan(SyncState.RUNNING, start=job, stop=stop)


def _died(job: SyncJob, pod: Pod | None) -> str:
    exit_code = f" (exit code {pod.exit_code})" if pod and pod.exit_code is not None else ""
    said = (pod.termination_message if pod else "") or job.message
    reason = f": {said}" if said else ""
    return f"the sync Job {job.name} died before it could report{exit_code}{reason}"
