"""Whether the claim holds what the manifest says, and which Job to start or stop to make it so.

The Jobs themselves are the memory: the one with the highest sequence number says what the claim
was last told to be. An older Job with the right manifest proves nothing, since a later one has
changed the claim after it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from triton_operator import names
from triton_operator.observed import Pod, ServerRecord, SyncJob, parse_time
from triton_operator.plan.pods import explain_hanging, explain_waiting
from triton_operator.plan.sync_end import Ended
from triton_operator.plan.sync_log import Copied
from triton_operator.repository.artifacts import Artifact
from triton_operator.repository.outcome import EVERYTHING, Failure, SyncOutcome, decode_outcome

_RETRY_SECONDS = (15.0, 600.0)
"""First and longest pause before a sync is tried again that may succeed by itself."""
_MENDED_SECONDS = (300.0, 3600.0)
"""The same for failures that somebody has to mend: nothing there, not allowed, not the file."""

_GATHERING_SECONDS = 0.3
"""How long the first Job of a server waits for models that are applied together with it."""
_LOG_SECONDS = 3.0
"""How long a Job runs before its log is worth a look: most are over sooner."""
_POD_SECONDS = 10.0
"""How long it may take until a Job has a pod."""
_START_SECONDS = 60.0
"""How long it may take until that pod runs."""
_KILLED = 137


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
class Repair:
    """A check of the whole claim that was made."""

    request: str
    job: str
    mended: tuple[str, ...] = ()
    """Objects whose files had to be mended; ``*`` for more than could be reported."""

    def concerns(self, name: str) -> bool:
        """Return whether an object's files were mended."""
        return name in self.mended or EVERYTHING in self.mended


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What is known of the claim, and what to do about it."""

    state: SyncState
    message: str = ""
    """Why nothing is written, while a Job runs; what went wrong with it, if it failed."""
    reason: str = "SyncFailed"
    """The same in one word, of a Job that failed."""
    waiting: frozenset[str] | None = None
    """Models, by the names they are served under, whose links are not as they are to be, while a
    Job runs that has told it."""
    failures: Mapping[str, Failure] = field(default_factory=dict)
    """Why a model could not be made, by name of the ``TritonModel``."""
    copied: Mapping[str, Copied] = field(default_factory=dict)
    """How far the files of a model are, by its name, while they are copied."""
    artifacts: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)
    """What each model that is linked was made of, by its name, as far as that is known."""
    log: Pod | None = None
    """The pod of the Job, where its log tells more than this."""
    revision: str = ""
    """The revision of the repository that the Job published, if it was asked for one."""
    start: SyncJob | None = None
    """The Job to make, as it will be seen."""
    stop: tuple[SyncJob, ...] = ()
    """Jobs that have nothing to say any more."""
    retry_in: float | None = None
    """Seconds until there is something to do though nothing happened."""
    retrying: bool = False
    """The Job that runs, or is to start, repeats one that failed."""
    repaired: Repair | None = None
    """What the Job that is done has checked and mended, if that was asked of it."""
    ended: Ended | None = None
    """Of the newest Job, if it is over."""

    @property
    def result(self) -> str:
        """What became of a Job that is over, in one word."""
        if self.state is SyncState.DONE:
            return "Incomplete" if self.failures else "Done"
        return self.reason

    @property
    def unsettled(self) -> frozenset[str] | None:
        """Models whose links are not as they are to be, or failed; None if nobody knows of any."""
        return frozenset() if self.state is SyncState.DONE else self.waiting


def pending_repair(record: ServerRecord) -> str:
    """Return the request to check the claim that is still to be answered; empty for none."""
    asked = record.meta.request(names.ANNOTATION_REPAIR)
    answered = record.status.repair.request if record.status.repair is not None else ""
    return asked if asked != answered else ""


def plan_sync(
    digest: str,
    jobs: Iterable[SyncJob],
    pods: Iterable[Pod],
    *,
    now: datetime,
    claim_made_at: datetime | None = None,
    gathering: bool = False,
    repair: str = "",
) -> SyncPlan:
    """Return how far the claim is from the manifest of this digest, and what to do.

    While the models of a new server are ``gathering``, its first Job waits for them a moment.
    ``repair`` is a request to check all that is on the claim, which no Job has answered yet.
    """
    by_job = {pod.job: pod for pod in pods if pod.job}
    ordered = sorted(jobs, key=lambda job: job.sequence)
    superseded = tuple(job for job in ordered[:-1] if not job.terminating)
    if not ordered:
        if gathering:
            return SyncPlan(SyncState.WAITING, retry_in=_GATHERING_SECONDS)
        return _start(digest, repair, sequence=1, attempt=0, stop=())
    latest = ordered[-1]
    pod = by_job.get(latest.name)
    running = not (latest.complete or latest.failed or (pod is not None and pod.finished))
    outdated = (
        latest.manifest != digest
        or (repair and latest.repair != repair)
        or _wrote_elsewhere(latest, claim_made_at)
    )
    if latest.terminating or outdated:
        stop = superseded if latest.terminating else (*superseded, latest)
        if running:
            # Two writers at once could leave the older one's links: wait until it is gone.
            said = ("an older sync is being stopped", explain_hanging(pod, now=now))
            return SyncPlan(SyncState.WAITING, ": ".join(filter(None, said)), stop=stop)
        return _start(digest, repair, sequence=latest.sequence + 1, attempt=0, stop=stop)
    if running:
        plan = _judge_running(latest, pod, now)
        return replace(plan, stop=superseded, retrying=latest.attempt > 0)
    outcome = decode_outcome(pod.termination_message) if pod is not None else None
    # Its pod is over before the Job is said to be.
    ended = latest.finished_at or (pod.finished_at if pod is not None else None) or now
    since = (now - ended).total_seconds()
    plan = _judge_finished(digest, latest, pod, outcome, superseded, since=since, repair=repair)
    return replace(plan, ended=Ended.of(latest, outcome, ended))


def _wrote_elsewhere(job: SyncJob, claim_made_at: datetime | None) -> bool:
    """Return whether a Job was over before the claim was made, after the loss of an older one."""
    return bool(job.finished_at and claim_made_at and job.finished_at < claim_made_at)


def is_claim_missing(claim: str, pods: Iterable[Pod]) -> bool:
    """Return whether a sync waits for this claim, which does not exist."""
    missing = f'persistentvolumeclaim "{claim}" not found'
    return any(pod.job and missing in pod.unschedulable for pod in pods)


def _judge_running(job: SyncJob, pod: Pod | None, now: datetime) -> SyncPlan:
    said = explain_hanging(pod, now=now)
    if pod is not None and pod.running:
        left = _left(_LOG_SECONDS, parse_time(pod.started_at), now)
        if left > 0:
            return SyncPlan(SyncState.RUNNING, retry_in=left)
        return SyncPlan(SyncState.RUNNING, said, log=pod)
    if pod is not None and (said := said or explain_waiting((pod,), now=now)):
        return SyncPlan(SyncState.RUNNING, said)
    # The reason is told by Events only, which this operator does not read.
    left = _left(_POD_SECONDS if pod is None else _START_SECONDS, job.created_at, now)
    if left > 0:
        return SyncPlan(SyncState.RUNNING, retry_in=left)
    message = (
        f"no pod was made for it; kubectl describe job {job.name} tells why"
        if pod is None
        else f"its pod waits, for a volume perhaps; kubectl describe pod {pod.name} tells why"
    )
    return SyncPlan(SyncState.RUNNING, message)


def _left(patience: float, since: datetime | None, now: datetime) -> float:
    """Return the seconds that are left of a patience."""
    return patience - (now - since).total_seconds() if since is not None else patience


def _judge_finished(
    digest: str,
    job: SyncJob,
    pod: Pod | None,
    outcome: SyncOutcome | None,
    superseded: tuple[SyncJob, ...],
    *,
    since: float,
    repair: str,
) -> SyncPlan:
    """Return what a Job has done that ended so many seconds ago."""
    if outcome is None or outcome.manifest != digest:
        # Somebody removed the pod of a finished Job, or its node went: run it once more to know.
        gone = "the sync finished, but its report is gone"
        plan = SyncPlan(SyncState.FAILED, gone if job.complete else _explain_death(job, pod))
    elif outcome.problem is not None:
        # What it could not reach it says nothing about, so nothing may be taken for written.
        plan = SyncPlan(SyncState.FAILED, outcome.problem.message, outcome.problem.reason)
    elif outcome.truncated:
        # Which ones is not known, so nothing may be taken for written.
        count = len(outcome.failed) + outcome.truncated
        message = f"{count} models failed; see the log of {job.name}"
        plan = SyncPlan(SyncState.FAILED, message, failures=outcome.failed)
    else:
        plan = SyncPlan(
            SyncState.DONE,
            failures=outcome.failed,
            revision=outcome.revision,
            artifacts=outcome.artifacts or {},
            log=pod if outcome.artifacts is None else None,
        )
        if not outcome.failed:
            return replace(plan, stop=superseded, repaired=_repair_of(job, outcome))
    if outcome is not None and outcome.manifest == digest and outcome.problem is None:
        plan = replace(plan, repaired=_repair_of(job, outcome))
    failures = plan.failures
    lasting = bool(failures) and not any(failure.transient for failure in failures.values())
    first, longest = _MENDED_SECONDS if lasting else _RETRY_SECONDS
    wait = min(first * 2.0 ** min(job.attempt, 10), longest)
    left = wait - since
    if left > 0:
        return replace(plan, stop=superseded, retry_in=left)
    # What has reported has checked all that it could: only what died has to do it again.
    retry = _start(
        digest,
        "" if plan.repaired else repair,
        sequence=job.sequence + 1,
        attempt=job.attempt + 1,
        stop=(*superseded, job),
    )
    return replace(plan, start=retry.start, stop=retry.stop, retrying=True)


def _repair_of(job: SyncJob, outcome: SyncOutcome) -> Repair | None:
    return Repair(job.repair, job.name, outcome.mended) if job.repair else None


def _start(
    digest: str, repair: str, *, sequence: int, attempt: int, stop: tuple[SyncJob, ...]
) -> SyncPlan:
    job = SyncJob(name="", sequence=sequence, manifest=digest, attempt=attempt, repair=repair)
    return SyncPlan(SyncState.RUNNING, start=job, stop=stop)


def _explain_death(job: SyncJob, pod: Pod | None) -> str:
    """Return why a Job ended without a report."""
    name = f"the sync Job {job.name}"
    if pod is None:
        return f"{name} died before it could report{_after_colon(job.message)}"
    exit_code = f" (exit code {pod.exit_code})" if pod.exit_code is not None else ""
    if pod.exit_reason == "OOMKilled":
        limit = f": its memory limit is {pod.memory_limit}" if pod.memory_limit else ""
        return f"{name} ran out of memory and was killed{exit_code}{limit}"
    ended = pod.exit_reason if pod.exit_reason not in ("Error", "Completed") else ""
    if pod.exit_code == _KILLED and not ended:
        ended = "something killed it, as happens when its node runs out of memory or goes away"
    said = pod.termination_message or ended or job.message
    return f"{name} died before it could report{exit_code}{_after_colon(said)}"


def _after_colon(text: str) -> str:
    return f": {text}" if text else ""
