"""What a model's status tells of its files in each situation of the sync."""

from dataclasses import dataclass, replace

import pytest

from tests.unit.plan.values import NOW, hash_of, later, model, plan, pod, served
from triton_operator.api.model import Artifact, SyncProgress, TritonModelStatus
from triton_operator.observed import ModelRecord, Pod, SyncJob
from triton_operator.plan.assessment import Assessment
from triton_operator.plan.events import find_events
from triton_operator.plan.model_status import assess_model
from triton_operator.plan.sync import SyncPlan, SyncState, plan_sync
from triton_operator.plan.sync_log import Copied, read_sync_log
from triton_operator.plan.sync_status import format_progress
from triton_operator.repository import artifacts
from triton_operator.repository.outcome import Event, Failure, Outcome, encode_outcome

GIB = 1 << 30
URI = "https://models.example/model.onnx"
SOURCED = {"versions": [{"version": 1, "source": {"uri": URI}}]}
OLD = "0123456789abcdef"
JOB = SyncJob("sync-1", 1, "aa", created_at=NOW)
OVER = replace(JOB, failed=True, finished_at=NOW, message="BackoffLimitExceeded: it failed")


def job_pod(**fields: object) -> Pod:
    return Pod("sync-1-x", component="sync", job="sync-1", **fields)  # type: ignore[arg-type]


def reported(outcome: Outcome) -> tuple[SyncJob, Pod]:
    text = encode_outcome("aa", outcome)
    done = replace(JOB, complete=True, finished_at=NOW)
    return done, job_pod(finished=True, exit_code=0, termination_message=text)


def failed(reason: str, message: str) -> tuple[SyncJob, Pod]:
    return reported(Outcome({"resnet": Failure(reason, message)}))


def ended(**fields: object) -> tuple[SyncJob, Pod]:
    return OVER, job_pod(finished=True, **fields)


def assess(
    sync: SyncPlan, record: ModelRecord | None = None, *, keeps: bool = False, at: float = 0
) -> TritonModelStatus:
    """Return the status of a model whose pods serve nothing, or the last good generation."""
    serving = {"resnet": served(OLD)} if keeps else {}
    seen = Assessment("vision", "team", "rev", {pod(): serving}, sync, {})
    return assess_model(plan(record or model(**SOURCED)), seen, now=later(at))


def with_status(status: TritonModelStatus) -> ModelRecord:
    return model(status=status, **SOURCED)


@dataclass(frozen=True)
class Told:
    """What a user sees."""

    reason: str
    words: str
    """In the message."""
    failure: bool = True
    """It is the last failure, too."""


CASES: dict[str, tuple[SyncJob, Pod | None, float, Told]] = {
    "it runs": (JOB, job_pod(running=True), 0, Told("Syncing", "being written", failure=False)),
    "disk full": (
        *failed("InsufficientSpace", "no space for x (9 bytes are needed, 5 are free): enlarge"),
        0,
        Told("InsufficientSpace", "9 bytes are needed, 5 are free"),
    ),
    "wrong checksum": (*failed("ChecksumMismatch", "x has sha256 ab, not cd"), 0,
                       Told("ChecksumMismatch", "x has sha256 ab, not cd")),
    "403": (*failed("SourceRefused", "x answers HTTP 403"), 0, Told("SourceRefused", "HTTP 403")),
    "404": (*failed("SourceNotFound", "x answers HTTP 404"), 0, Told("SourceNotFound", "HTTP 404")),
    "no such host": (*failed("SourceUnreachable", "x fails: no such host"), 0,
                     Told("SourceUnreachable", "no such host")),
    "broken off": (*failed("SourceUnreachable", "x fails: 5 of 9 bytes"), 0,
                   Told("SourceUnreachable", "5 of 9 bytes")),
    "leaves its claim": (*failed("InvalidSource", "leaves the claim"), 0,
                         Told("InvalidSource", "leaves the claim")),
    "the claim itself": (
        *reported(Outcome(problem=Failure("WriteFailed", "mounted read-only"))),
        0,
        Told("WriteFailed", "mounted read-only"),
    ),
    "no node": (
        JOB, job_pod(unschedulable="0/3 nodes are available"), 0,
        Told("SyncBlocked", "the sync Job cannot start: 0/3 nodes", failure=False),
    ),
    "no claim": (
        JOB, job_pod(unschedulable='persistentvolumeclaim "models" not found'), 0,
        Told("SyncBlocked", '"models" not found', failure=False),
    ),
    "no image": (
        JOB, job_pod(waiting="ErrImagePull: not found"), 0,
        Told("SyncBlocked", "ErrImagePull: not found", failure=False),
    ),
    "no pod yet": (JOB, None, 9, Told("Syncing", "being written", failure=False)),
    "no pod": (JOB, None, 11, Told("SyncBlocked", "kubectl describe job sync-1", failure=False)),
    "a volume that takes its time": (
        JOB, job_pod(waiting="ContainerCreating"), 59, Told("Syncing", "being", failure=False),
    ),
    "a volume that never comes": (
        JOB, job_pod(waiting="ContainerCreating"), 61,
        Told("SyncBlocked", "kubectl describe pod sync-1-x", failure=False),
    ),
    "a node that is dead": (
        JOB, job_pod(running=True, started_at=NOW.isoformat(), ends_at=NOW, node="n1"), 61,
        Told("SyncBlocked", "the sync Job cannot end: pod sync-1-x does not end", failure=False),
    ),
    "out of memory": (
        *ended(exit_code=137, exit_reason="OOMKilled", memory_limit="1Gi"), 0,
        Told("SyncFailed", "out of memory and was killed (exit code 137): its memory limit is 1Gi"),
    ),
    "killed": (
        *ended(exit_code=137, exit_reason="Error"), 0,
        Told("SyncFailed", "(exit code 137): something killed it"),
    ),
    "evicted": (
        *ended(exit_reason="Evicted: The node was low on resource: ephemeral-storage"), 0,
        Told("SyncFailed", "before it could report: Evicted: The node was low on"),
    ),
    "its pod is gone": (OVER, None, 0, Told("SyncFailed", "BackoffLimitExceeded")),
    "crashed": (
        *ended(exit_code=1, exit_reason="Error"), 0,
        Told("SyncFailed", "(exit code 1): BackoffLimitExceeded"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_end_of_a_sync_is_told(case: str) -> None:
    job, its_pod, at, told = CASES[case]
    sync = plan_sync("aa", [job], [its_pod] if its_pod else [], now=later(at))

    status = assess(sync, at=at)

    found = {c.type: c for c in status.conditions}
    for name in ("Synced", "Ready"):
        assert (found[name].status, found[name].reason) == ("False", told.reason)
        assert told.words in found[name].message
    assert status.transition == "InProgress"
    if told.failure:
        assert status.last_failure is not None
        assert status.last_failure.reason == told.reason
        assert told.words in status.last_failure.message
        assert status.last_failure.config_hash == hash_of(model(**SOURCED))
    else:
        assert status.last_failure is None
    warned = [event.reason for event in find_events(TritonModelStatus(), status)]
    assert warned == ([] if told.reason == "Syncing" else [told.reason])


@pytest.mark.parametrize("case", CASES)
def test_what_stays_is_no_news(case: str) -> None:
    job, its_pod, at, _ = CASES[case]
    sync = plan_sync("aa", [job], [its_pod] if its_pod else [], now=later(at))
    status = assess(sync, at=at)

    assert assess(sync, with_status(status), at=at + 1) == status


def test_a_failed_update_says_that_the_old_generation_goes_on() -> None:
    good = TritonModelStatus(server="vision", model_name="resnet", config_hash=OLD)
    sync = plan_sync("aa", *([each] for each in failed("SourceNotFound", "x is gone")), now=NOW)

    status = assess(sync, with_status(good), keeps=True)

    messages = {c.message for c in status.conditions if c.type in ("Synced", "Ready")}
    assert messages == {"x is gone; what was served before keeps serving"}


# ---- progress ---------------------------------------------------------------------------------


def copying(done: int, total: int | None, **fields: object) -> SyncPlan:
    copied = {"resnet": Copied(done, total)}
    return SyncPlan(SyncState.RUNNING, copied=copied, **fields)  # type: ignore[arg-type]


def test_how_far_the_files_are_is_told_while_they_are_copied() -> None:
    status = assess(copying(5 * GIB // 4, 2 * GIB))

    assert status.sync == SyncProgress(
        bytes_done=5 * GIB // 4, bytes_total=2 * GIB, progress="62% of 2.0 GiB"
    )
    assert assess(SyncPlan(SyncState.DONE), with_status(status)).sync is None


@pytest.mark.parametrize(
    ("before", "now", "news"),
    [
        ((GIB, 2 * GIB), (GIB + GIB // 60, 2 * GIB), False),
        ((GIB, 2 * GIB), (GIB + GIB // 40, 2 * GIB), True),
        ((GIB, 2 * GIB), (GIB - GIB // 40, 2 * GIB), True),
        ((2 * GIB - 1, 2 * GIB), (2 * GIB, 2 * GIB), True),
        ((GIB, None), (GIB + (63 << 20), None), False),
        ((GIB, None), (GIB + (64 << 20), None), True),
        ((GIB, None), (GIB, 2 * GIB), True),
    ],
)
def test_only_a_noticeable_step_is_news(
    before: tuple[int, int | None], now: tuple[int, int | None], news: bool
) -> None:
    first = assess(copying(*before))

    second = assess(copying(*now), with_status(first))

    assert (second != first) is news


def test_a_failing_model_hides_no_others_progress() -> None:
    gone = {"other": Failure("SourceNotFound", "gone")}
    assert assess(copying(1, 2, failures=gone)).sync is not None
    mine = assess(copying(1, 2, failures={"resnet": gone["other"]}))
    assert mine.sync is None
    assert {c.reason for c in mine.conditions if c.type == "Synced"} == {"SourceNotFound"}


def test_a_repeated_copy_is_told_beside_the_failure_that_it_repeats() -> None:
    job, its_pod = failed("SourceUnreachable", "no answer")
    first = assess(plan_sync("aa", [job], [its_pod], now=NOW))

    again = assess(copying(1, 2, retrying=True), with_status(first))

    assert again.conditions == first.conditions
    assert again.sync is not None


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (0, 0, "0 B"),
        (512, None, "512 B"),
        (1536, None, "1.5 KiB"),
        (0, 10 << 20, "0% of 10 MiB"),
        (999 * GIB, 1000 * GIB, "99% of 1000 GiB"),
        (3, 2, "100% of 2 B"),
        (3 << 50, None, "3072 TiB"),
    ],
)
def test_progress_is_short(done: int, total: int | None, text: str) -> None:
    assert format_progress(Copied(done, total)) == text


# ---- artifacts --------------------------------------------------------------------------------

FOUND = artifacts.Artifact(1, URI, "ab" * 32, 7)
KNOWN = (Artifact(version=1, uri=URI, sha256="ab" * 32, bytes=7),)


def test_what_the_files_are_is_told_and_remembered() -> None:
    done = plan_sync(
        "aa", *([each] for each in reported(Outcome(artifacts={"resnet": (FOUND,)}))), now=NOW
    )
    status = assess(done)
    assert status.artifacts == KNOWN

    for later_sync in (SyncPlan(SyncState.RUNNING), SyncPlan(SyncState.FAILED, "it died")):
        assert assess(later_sync, with_status(status)).artifacts == KNOWN


def test_a_model_without_sources_has_no_artifacts() -> None:
    before = TritonModelStatus(artifacts=KNOWN)
    seen = Assessment("vision", "team", "rev", {}, SyncPlan(SyncState.DONE), {})
    assert assess_model(plan(model(status=before)), seen, now=NOW).artifacts == ()


def test_more_than_a_status_may_hold_is_cut() -> None:
    sync = SyncPlan(SyncState.DONE, artifacts={"resnet": (FOUND,) * 65})
    assert len(assess(sync).artifacts) == 64


def test_a_log_tells_which_models_wait_however_it_is_cut() -> None:
    lines = [
        Event("waiting", models=("a", "b", "c")).to_json(),
        Event("settled", models=("a",)).to_json(),
        Event("settled", models=("b", "c")).to_json(),
    ]
    whole = read_sync_log("\n".join(lines))
    assert whole.waiting == set()
    for cut in range(len(lines)):
        for overlap in range(cut + 1):
            first = read_sync_log("\n".join(lines[:cut]))
            later = read_sync_log("\n".join(lines[cut - overlap :]))
            assert first.followed_by(later) == whole
    # Without its beginning nobody can say which ones wait.
    assert read_sync_log("\n".join(lines[1:])).waiting is None
    assert read_sync_log('{"event": "waiting", "models": ["a", 1]}').waiting is None


def test_a_model_whose_link_is_in_place_is_synced_while_others_wait() -> None:
    running = SyncPlan(SyncState.RUNNING, waiting=frozenset({"other"}))
    assert told(assess(running)) == ("True", "Synced")
    assert told(assess(replace(running, waiting=frozenset({"resnet"})))) == ("False", "Syncing")
    assert told(assess(replace(running, waiting=None))) == ("False", "Syncing")
    failure = {"resnet": Failure("SourceNotFound", "gone")}
    assert told(assess(replace(running, failures=failure))) == ("False", "SourceNotFound")


def told(status: TritonModelStatus) -> tuple[str, str]:
    (synced,) = (each for each in status.conditions if each.type == "Synced")
    return synced.status, synced.reason


def test_a_log_tells_of_each_model() -> None:
    lines = [
        Event("copied", "resnet", bytes=0, total=10),
        Event("copied", "bert", bytes=1),
        Event("failed", "bert", reason="SourceNotFound", message="gone"),
        Event("failed", reason="WriteFailed", message="of no model"),
        Event("copied", "resnet", bytes=5, total=10),
        Event("artifact", "resnet", URI, 7, sha256="ab" * 32, version=1),
        Event("artifact", "resnet", URI, 7, sha256="ab" * 32, version=2),
    ]
    found = read_sync_log("\n".join(each.to_json() for each in lines))
    assert found.copied == {"resnet": Copied(5, 10), "bert": Copied(1, None)}
    assert found.failures == {"bert": Failure("SourceNotFound", "gone")}
    assert found.artifacts == {"resnet": (FOUND, replace(FOUND, version=2))}
