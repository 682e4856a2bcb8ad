"""Whether the claim holds what the manifest says; which Job to start or stop."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.unit.plan.values import NOW, later
from triton_operator.observed import Pod, SyncJob
from triton_operator.plan.sync import (
    Repair,
    SyncPlan,
    SyncState,
    is_claim_missing,
    plan_sync,
)
from triton_operator.plan.sync_end import Ended
from triton_operator.repository.artifacts import Artifact
from triton_operator.repository.outcome import Failure, Outcome, encode_outcome

GONE = Failure("SourceNotFound", "no such file")
AWAY = Failure("SourceUnreachable", "no answer")


def job(sequence: int = 1, manifest: str = "aa", **fields: Any) -> SyncJob:
    return SyncJob(name=f"sync-{sequence}", sequence=sequence, manifest=manifest, **fields)


def finished(sequence: int = 1, manifest: str = "aa", **fields: Any) -> SyncJob:
    return job(sequence, manifest, **({"complete": True, "finished_at": NOW} | fields))


def report(
    sequence: int = 1, manifest: str = "aa", mended: tuple[str, ...] = (), **failed: Failure
) -> Pod:
    text = encode_outcome(manifest, Outcome(failed, mended=frozenset(mended)))
    return pod(sequence, finished=True, exit_code=0, termination_message=text)


def pod(sequence: int = 1, **fields: Any) -> Pod:
    return Pod(name=f"pod-{sequence}", component="sync", job=f"sync-{sequence}", **fields)


def plan(
    *jobs: SyncJob,
    pods: tuple[Pod, ...] = (),
    now: datetime = NOW,
    repair: str = "",
    claim_made_at: datetime | None = None,
) -> SyncPlan:
    return plan_sync("aa", jobs, pods, now=now, repair=repair, claim_made_at=claim_made_at)


def test_the_first_job_is_started_when_there_is_none() -> None:
    found = plan()

    assert found.state is SyncState.RUNNING
    assert found.start == SyncJob("", 1, "aa")
    assert found.stop == ()


def test_a_job_that_runs_is_left_alone() -> None:
    for pods in ((), (pod(),), (pod(running=True),)):
        found = plan(job(), pods=pods)
        assert (found.state, found.start, found.stop) == (SyncState.RUNNING, None, ())
        assert not found.retrying


def test_the_first_job_of_a_new_server_waits_for_models_that_come_with_it() -> None:
    found = plan_sync("aa", (), (), now=NOW, gathering=True)
    assert (found.state, found.start) == (SyncState.WAITING, None)
    assert found.retry_in is not None
    assert found.retry_in < 1

    assert plan_sync("bb", (finished(),), (report(),), now=NOW, gathering=True).start is not None


def test_only_the_log_of_a_job_that_takes_long_is_worth_a_look() -> None:
    running = pod(running=True, started_at=NOW.isoformat())

    early = plan(job(), pods=(running,), now=later(1))
    assert (early.log, early.retry_in) == (None, 2.0)
    assert plan(job(), pods=(running,), now=later(3)).log == running
    assert plan(finished(), pods=(report(),)).log is None


def test_the_log_is_read_for_artifacts_that_are_not_in_the_report() -> None:
    found = {f"model-{n}": (Artifact(1, "pvc://a", "ab" * 32, 1),) for n in range(64)}
    text = encode_outcome("aa", Outcome(artifacts=found))
    over = pod(finished=True, exit_code=0, termination_message=text)

    assert plan(finished(), pods=(over,)) == SyncPlan(
        SyncState.DONE, log=over, ended=Ended(0.0, 0, NOW)
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"unschedulable": "0/3 nodes"}, "0/3 nodes"),
        ({"waiting": "ErrImagePull: no"}, "ErrImagePull: no"),
        ({}, ""),
    ],
)
def test_what_keeps_a_job_from_running_is_told(fields: dict[str, Any], message: str) -> None:
    assert plan(job(), pods=(pod(**fields),)).message == message


def test_a_job_that_is_superseded_while_it_runs_is_stopped_first() -> None:
    running = job(1, "old")

    found = plan(running)
    assert (found.state, found.start, found.stop) == (SyncState.WAITING, None, (running,))

    stopping = job(1, "old", terminating=True)
    found = plan(stopping)
    assert (found.state, found.start, found.stop) == (SyncState.WAITING, None, ())


def test_a_pod_that_does_not_end_is_told_with_its_node_and_still_waited_for() -> None:
    lost = pod(running=True, terminating=True, node="n1", ends_at=NOW, started_at=NOW.isoformat())

    for manifest, state in (("aa", SyncState.RUNNING), ("old", SyncState.WAITING)):
        early, late = (plan(job(1, manifest), pods=(lost,), now=later(at)) for at in (59, 60))
        assert "pod-1" not in early.message
        assert early == replace(late, message=early.message)
        assert (late.state, late.start) == (state, None)
        assert "pod pod-1 does not end" in late.message
        assert "its node n1 does not answer" in late.message
    unstarted = replace(lost, running=False, waiting="ContainerCreating")
    assert "pod pod-1 does not end" in plan(job(), pods=(unstarted,), now=later(60)).message
    assert "pod-1" not in plan(finished(), pods=(replace(lost, finished=True),)).message


def test_a_job_whose_pod_is_over_does_not_write_any_more() -> None:
    found = plan(job(1, "old"), pods=(pod(1, finished=True),))

    assert found.start == SyncJob("", 2, "aa")


def test_a_superseded_job_that_is_done_makes_room_at_once() -> None:
    old = finished(3, "old")

    found = plan(old, pods=(report(3, "old"),))

    assert (found.state, found.start, found.stop) == (
        SyncState.RUNNING,
        SyncJob("", 4, "aa"),
        (old,),
    )


def test_what_a_job_reports_is_believed() -> None:
    assert plan(finished(), pods=(report(),)) == SyncPlan(SyncState.DONE, ended=Ended(0.0, 0, NOW))


def test_only_the_last_job_counts() -> None:
    """A→B→A: the first Job with the right manifest proves nothing after the second."""
    first, second = finished(1, "aa"), finished(2, "bb")

    found = plan(first, second, pods=(report(1, "aa"), report(2, "bb")))

    assert found.start == SyncJob("", 3, "aa")
    assert found.stop == (first, second)


def test_a_job_that_was_over_before_the_claim_was_made_proves_nothing() -> None:
    done, pods = finished(), (report(),)

    assert plan(done, pods=pods, claim_made_at=NOW).state is SyncState.DONE
    found = plan(done, pods=pods, claim_made_at=later(1))
    assert (found.start, found.stop) == (SyncJob("", 2, "aa"), (done,))


def test_older_jobs_are_cleaned_away() -> None:
    old, new = finished(1, "old"), finished(2)

    found = plan(new, old, pods=(report(1, "old"), report(2)))

    assert (found.state, found.stop) == (SyncState.DONE, (old,))


def test_a_job_that_somebody_deletes_is_run_again_once_it_is_gone() -> None:
    ending = finished(terminating=True)

    assert plan(ending, pods=(report(),)).start == SyncJob("", 2, "aa")
    assert plan(job(terminating=True)).state is SyncState.WAITING


def test_single_failures_leave_the_rest_done_and_are_tried_again_later() -> None:
    done, pods = finished(attempt=1), (report(bad=AWAY),)

    early = plan(done, pods=pods, now=later(10))
    assert early.state is SyncState.DONE
    assert early.failures == {"bad": AWAY}
    assert (early.start, early.retry_in) == (None, 20.0)

    due = plan(done, pods=pods, now=later(30))
    assert due.failures == {"bad": AWAY}
    assert due.start == SyncJob("", 2, "aa", attempt=2)
    assert due.stop == (done,)
    assert due.retrying


def test_the_pause_grows_to_ten_minutes() -> None:
    pauses = [
        plan(finished(attempt=n), pods=(report(bad=AWAY),)).retry_in for n in (0, 1, 2, 6, 500)
    ]

    assert pauses == [15.0, 30.0, 60.0, 600.0, 600.0]


def test_what_somebody_has_to_mend_is_tried_less_often() -> None:
    pauses = [
        plan(finished(attempt=n), pods=(report(bad=GONE),)).retry_in for n in (0, 1, 2, 6, 500)
    ]

    assert pauses == [300.0, 600.0, 1200.0, 3600.0, 3600.0]
    both = plan(finished(), pods=(report(bad=GONE, other=AWAY),))
    assert both.retry_in == 15.0


def test_a_repeated_job_that_runs_says_so() -> None:
    assert plan(job(2, attempt=1)).retrying


def test_a_report_that_does_not_name_all_failures_proves_nothing() -> None:
    many = {f"model-{n}": Failure("SourceNotFound", "x" * 200) for n in range(500)}

    found = plan(finished(), pods=(report(**many),))

    assert found.state is SyncState.FAILED
    assert found.message == "500 models failed; see the log of sync-1"


@pytest.mark.parametrize(
    ("last", "pods", "words"),
    [
        (
            job(failed=True, finished_at=NOW, message="BackoffLimitExceeded: x"),
            (),
            "died before it could report: BackoffLimitExceeded: x",
        ),
        (
            job(failed=True, finished_at=NOW),
            (pod(finished=True, exit_code=137),),
            "(exit code 137)",
        ),
        (
            job(failed=True, finished_at=NOW),
            (pod(finished=True, exit_code=1, termination_message="no space"),),
            "(exit code 1): no space",
        ),
        (finished(), (), "its report is gone"),
        (finished(), (report(manifest="other"),), "its report is gone"),
    ],
    ids=["no pod", "killed", "said something", "pod removed", "a report of something else"],
)
def test_a_job_that_cannot_say_how_far_it_came_failed(
    last: SyncJob, pods: tuple[Pod, ...], words: str
) -> None:
    found = plan(last, pods=pods, now=later(5))

    assert found.state is SyncState.FAILED
    assert words in found.message
    assert found.retry_in == 10.0
    assert plan(last, pods=pods, now=later(15)).start == SyncJob("", 2, "aa", attempt=1)


def test_a_claim_that_does_not_exist_is_told_from_other_waits() -> None:
    missing = 'persistentvolumeclaim "models" not found'
    assert is_claim_missing("models", [pod(unschedulable=f"0/1 nodes: {missing}")])
    assert not is_claim_missing(
        "models", [pod(unschedulable="0/1 nodes: unbound persistentvolumeclaim")]
    )
    assert not is_claim_missing("models", [Pod(name="server", unschedulable=missing)])
    assert not is_claim_missing("other", [pod(unschedulable=f"0/1 nodes: {missing}")])


def test_a_repair_is_a_job_of_its_own_for_the_same_manifest() -> None:
    found = plan(finished(), pods=(report(),), repair="monday")

    assert found.start == SyncJob("", 2, "aa", repair="monday")
    assert found.stop == (finished(),)


def test_a_repair_waits_for_the_sync_that_runs() -> None:
    assert plan(job(), pods=(pod(running=True),), repair="monday").state is SyncState.WAITING


def test_a_repair_that_is_done_says_what_it_mended_and_is_not_repeated() -> None:
    done = finished(repair="monday")
    for asked in ("monday", ""):
        found = plan(done, pods=(report(mended=("resnet",)),), repair=asked)
        assert (found.state, found.start) == (SyncState.DONE, None)
        assert found.repaired == Repair("monday", "sync-1", ("resnet",))
    assert found.repaired.concerns("resnet")
    assert not found.repaired.concerns("bert")
    assert Repair("monday", "sync-1", ("*",)).concerns("bert")


def test_a_repair_that_died_is_repeated_and_one_that_reported_a_failure_is_not() -> None:
    died = job(failed=True, finished_at=NOW, repair="monday")
    assert plan(died, now=later(3600), repair="monday").start == SyncJob(
        "", 2, "aa", attempt=1, repair="monday"
    )

    done = finished(repair="monday")
    found = plan(done, pods=(report(resnet=AWAY),), now=later(3600), repair="monday")
    assert found.start == SyncJob("", 2, "aa", attempt=1)
    assert found.repaired == Repair("monday", "sync-1")


def test_what_a_job_took_is_told_once_it_is_over() -> None:
    outcome = encode_outcome("aa", Outcome({"a": GONE}, bytes_copied=5))
    done = pod(finished=True, exit_code=0, termination_message=outcome)
    began = NOW - timedelta(seconds=7)

    assert plan(job(created_at=began), pods=(pod(running=True),)).ended is None
    found = plan(finished(created_at=began), pods=(done,))
    assert (found.ended, found.result) == (Ended(7.0, 5, NOW), "Incomplete")
    assert plan(finished(), pods=(report(),)).result == "Done"
    # A report that is missing tells no bytes.
    died = plan(job(failed=True, finished_at=NOW, created_at=began))
    assert (died.ended, died.result) == (Ended(7.0, 0, NOW), "SyncFailed")
    # The kubelet knows before the Job does.
    assert plan(job(created_at=began), pods=(done,)).ended == Ended(7.0, 5, NOW)
    done = replace(done, finished_at=NOW)
    assert plan(job(created_at=began), pods=(done,), now=later(1)).ended == Ended(7.0, 5, NOW)


def test_a_sync_is_tried_again_though_a_sidecar_keeps_its_job_from_ending() -> None:
    over = replace(report(resnet=AWAY), finished_at=NOW)

    assert plan(job(), pods=(over,), now=later(14)).start is None
    assert plan(job(), pods=(over,), now=later(15)).start == SyncJob("", 2, "aa", attempt=1)
