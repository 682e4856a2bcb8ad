"""What is told about a model in each situation."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.plan.values import NOW, hash_of, later, model, plan, pod, served
from triton_operator.api.model import LastFailure, TritonModelStatus
from triton_operator.errors import NameTakenError
from triton_operator.observed import ModelRecord, Pod, Served
from triton_operator.plan.acceptance import Rejected
from triton_operator.plan.assessment import Assessment, Ongoing, Refusal
from triton_operator.plan.events import find_events
from triton_operator.plan.model_status import assess_model, report_unserved
from triton_operator.plan.models import LOAD_FAILED, Hold
from triton_operator.plan.sync import SyncPlan, SyncState
from triton_operator.repository.outcome import Failure

NEW = hash_of(model())
OLD = "0123456789abcdef"
A, B = pod("a"), pod("b")
DONE, RUNNING = SyncPlan(SyncState.DONE), SyncPlan(SyncState.RUNNING)
BOOM = Refusal(LOAD_FAILED, "pod a: RuntimeError: boom")
GOOD = TritonModelStatus(server="vision", model_name="resnet", config_hash=OLD)


def seen(
    pods: Mapping[Pod, Served | None] | None = None,
    *,
    sync: SyncPlan = DONE,
    refusal: Refusal | None = None,
    **fields: Any,
) -> Assessment:
    return Assessment(
        server="vision",
        namespace="team",
        revision="rev",
        pods={A: {}} if pods is None else pods,
        sync=sync,
        refusals={"resnet": refusal} if refusal else {},
        **fields,
    )


def assess(record: ModelRecord, what: Assessment, *, at: float = 0) -> TritonModelStatus:
    return assess_model(plan(record), what, now=later(at))


def said(status: TritonModelStatus) -> dict[str, str]:
    return {c.type: f"{c.status} {c.reason}" for c in status.conditions}


def ready(status: TritonModelStatus) -> tuple[str, str]:
    return next(
        (f"{c.status} {c.reason}", c.message) for c in status.conditions if c.type == "Ready"
    )


SERVED: Served = {"resnet": served(NEW)}
BEHIND: Served = {"resnet": served(OLD)}
SITUATIONS: dict[str, tuple[ModelRecord, Assessment, str, str, str]] = {
    "syncing": (model(), seen(sync=RUNNING), "False Syncing", "being written", "InProgress"),
    "sync cannot start": (
        model(),
        seen(sync=SyncPlan(SyncState.RUNNING, "no node")),
        "False SyncBlocked",
        "no node",
        "InProgress",
    ),
    "sync died": (
        model(),
        seen(sync=SyncPlan(SyncState.FAILED, "it died")),
        "False SyncFailed",
        "it died",
        "InProgress",
    ),
    "a download failed": (
        model(),
        seen(sync=SyncPlan(SyncState.DONE, failures={"resnet": Failure("SourceNotFound", "gone")})),
        "False SourceNotFound",
        "gone",
        "InProgress",
    ),
    "no pod": (model(), seen({}), "False NoReadyPods", "no pod of the server", "InProgress"),
    "no pod, and why": (
        model(),
        seen({}, blocked="0/3 nodes"),
        "False NoReadyPods",
        "0/3 nodes",
        "InProgress",
    ),
    "no new pod, and why": (
        model(),
        seen({pod("a", revision="older"): SERVED}, blocked="pod b crashes"),
        "False NoReadyPods",
        "pod b crashes; 1 of an older revision serve on",
        "InProgress",
    ),
    "pods of an old revision do not count": (
        model(),
        seen({pod("a", revision="older"): SERVED}),
        "False NoReadyPods",
        "",
        "InProgress",
    ),
    "loading": (
        model(),
        seen({A: SERVED, B: BEHIND}),
        "False Loading",
        "1 of 2 ready pods serve it",
        "InProgress",
    ),
    "a pod does not answer": (
        model(),
        seen({A: SERVED, B: None}),
        "False Loading",
        "1 of 2",
        "InProgress",
    ),
    "serving": (
        model(),
        seen({A: SERVED, B: SERVED}),
        "True Serving",
        "2 of 2 ready pods serve it",
        "UpToDate",
    ),
    "serving, and something is written for others": (
        model(),
        seen({A: SERVED}, sync=RUNNING),
        "True Serving",
        "",
        "UpToDate",
    ),
    "its server has no Service": (
        model(),
        seen({A: SERVED}, unreachable=NameTakenError("Service team/vision is somebody else's")),
        "False NameTaken",
        "Service team/vision is somebody else's",
        "InProgress",
    ),
    "refused": (
        model(),
        seen(refusal=BOOM),
        "False LoadFailed",
        "0 of 1 ready pods serve it: pod a: RuntimeError: boom",
        "BlockedByFailedLoad",
    ),
    "refused while the good one serves": (
        model(status=GOOD),
        seen({A: BEHIND}, refusal=BOOM),
        "False BlockedByFailedLoad",
        f"pod a: RuntimeError: boom; generation {OLD} keeps serving",
        "BlockedByFailedLoad",
    ),
    "rejected": (
        model(config={"name": "x"}),
        seen(),
        "False InvalidSpec",
        "name is 'x'",
        "InvalidSpec",
    ),
    "rejected while the good one serves": (
        model(config={"name": "x"}, status=GOOD),
        seen({A: BEHIND}),
        "False InvalidSpec",
        "; what was served before keeps serving",
        "InvalidSpec",
    ),
}


STALLED = {
    "a download failed",
    "refused",
    "refused while the good one serves",
    "rejected",
    "rejected while the good one serves",
}
"""Nothing but another spec, or other files, ends these."""


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_is_told_with_its_reason(name: str) -> None:
    record, what, condition, words, transition = SITUATIONS[name]

    status = assess(record, what)

    assert ready(status)[0] == condition
    assert words in ready(status)[1]
    assert status.transition == transition
    stalled = ["Stalled"] if name in STALLED else []
    assert list(said(status)) == ["Accepted", "Loaded", "Ready", *stalled, "Synced"]
    assert not stalled or said(status)["Stalled"] == condition.replace("False", "True")
    assert status.observed_generation == 1


@pytest.mark.parametrize("name", ["syncing", "a download failed", "rejected"])
def test_what_no_pod_was_told_to_load_is_not_said_to_be_loading(name: str) -> None:
    record, what, condition, *_ = SITUATIONS[name]

    assert said(assess(record, what))["Loaded"] == condition


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_same_situation_later_is_an_equal_status_and_no_news(name: str) -> None:
    record, what, *_ = SITUATIONS[name]
    # Once more where it moves the link, and with it what counts as served.
    first = assess(record, what)
    second = assess(replace(record, status=first), what, at=1)
    third = assess(replace(record, status=second), what, at=3600)

    assert third == second
    assert second.conditions == first.conditions
    assert second.last_failure == first.last_failure
    assert find_events(first, second) == ()


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_status_can_be_stored(name: str) -> None:
    record, what, *_ = SITUATIONS[name]
    status = assess(record, what)

    assert TritonModelStatus.model_validate_json(status.model_dump_json(by_alias=True)) == status


def test_what_is_served_everywhere_becomes_the_good_generation() -> None:
    status = assess(model(status=GOOD), seen({A: SERVED, B: SERVED}))

    assert status.config_hash == NEW
    assert (status.loaded, status.loaded_replicas, status.replicas) == ("2/2", 2, 2)
    assert status.versions == (1,)
    assert status.server == "vision"
    assert status.urls is not None
    assert status.urls.http == "http://vision.team.svc:8000/v2/models/resnet"
    assert status.urls.grpc == "vision.team.svc:8001"


def test_a_model_without_a_service_names_no_address_and_stays_with_the_server_that_it_has() -> None:
    taken = NameTakenError("Service team/vision is somebody else's")
    moving = GOOD.model_copy(update={"server": "before"})

    status = assess(model(), seen({A: SERVED}, unreachable=taken))
    moved = assess(model(status=moving), seen({A: SERVED}, unreachable=taken))

    assert status.urls is None
    assert said(status)["Loaded"] == "True Loaded"
    assert moved.server == "before"


def test_the_good_generation_stays_good_until_another_is_served_everywhere() -> None:
    assert assess(model(status=GOOD), seen({A: SERVED, B: BEHIND})).config_hash == OLD
    assert assess(model(status=GOOD), seen({})).config_hash == OLD
    assert assess(model(), seen({A: SERVED, B: BEHIND})).config_hash == ""


def test_a_failure_is_dated_when_it_was_first_seen() -> None:
    first = assess(model(), seen(refusal=BOOM))
    assert first.last_failure == LastFailure(
        reason=LOAD_FAILED, message=BOOM.message, time=NOW, config_hash=NEW
    )

    second = assess(model(status=first), seen(refusal=BOOM), at=60)
    assert second.last_failure == first.last_failure

    other = assess(model(status=second), seen(refusal=Refusal(LOAD_FAILED, "other")), at=90)
    assert other.last_failure is not None
    assert other.last_failure.time == later(90)


def test_a_refusal_is_remembered_when_the_process_that_saw_it_is_gone() -> None:
    first = assess(model(status=GOOD), seen({A: BEHIND}, refusal=BOOM))

    second = assess(model(status=first), seen({A: BEHIND}), at=60)

    assert second.conditions == first.conditions
    assert (second.transition, second.last_failure) == (first.transition, first.last_failure)
    assert plan(model(status=second)).link == OLD
    assert second.loaded == "1/1"


def test_a_new_spec_leaves_the_block_but_keeps_the_last_failure() -> None:
    blocked = assess(model(status=GOOD), seen({A: BEHIND}, refusal=BOOM))

    mended = assess(model(config={"maxBatchSize": 1}, status=blocked), seen({A: BEHIND}))

    assert mended.transition == "InProgress"
    assert mended.last_failure == blocked.last_failure


def test_a_sync_that_is_repeated_keeps_the_reason_of_its_failure() -> None:
    failed = assess(model(), seen(sync=SyncPlan(SyncState.FAILED, "it died")))

    again = assess(
        model(status=failed), seen(sync=SyncPlan(SyncState.RUNNING, retrying=True)), at=60
    )

    assert again == failed


def test_a_refusal_is_one_warning_from_first_sight_to_the_end() -> None:
    record = model(status=GOOD)
    steps = [
        seen({A: BEHIND}, sync=RUNNING),
        seen({A: BEHIND}),
        seen({A: BEHIND}, refusal=BOOM),
        seen({A: BEHIND}, sync=RUNNING),
        seen({A: BEHIND}),
        seen({pod("a", ready=False): None}),
        seen({A: BEHIND}),
    ]
    news = []
    for at, what in enumerate(steps):
        status = assess(record, what, at=at)
        news += find_events(record.status, status)
        record = model(status=status)

    assert [event.reason for event in news if event.type == "Warning"] == ["BlockedByFailedLoad"]


def test_a_model_that_no_server_takes_keeps_what_it_remembers() -> None:
    record = model(status=assess(model(), seen({A: SERVED})))

    def report(record: ModelRecord, at: float, *, served: bool) -> TritonModelStatus:
        why = ("ServerNotFound", "there is none")
        return report_unserved(record, *why, served=served, now=later(at))

    status = report(record, 60, served=True)

    assert ready(status) == ("False ServerNotFound", "there is none")
    assert said(status)["Accepted"] == "False ServerNotFound"
    assert (status.config_hash, status.server) == (NEW, "vision")
    assert (status.loaded, status.transition) == ("0/0", "InvalidSpec")
    assert report(model(status=status), 120, served=True) == status
    assert (status.versions, status.urls) == ((1,), record.status.urls)
    gone = report(model(status=status), 120, served=False)
    assert (gone.versions, gone.urls) == ((), None)


def test_versions_are_those_that_every_pod_serves_whatever_its_revision() -> None:
    old = pod("a", revision="older")
    both = served(NEW, 1, 2)

    assert assess(model(), seen({old: SERVED})).versions == (1,)
    assert assess(model(), seen({old: SERVED, B: {"resnet": both}})).versions == (1,)
    assert assess(model(), seen({old: SERVED, B: {}})).versions == ()


def test_what_another_model_serves_under_the_name_is_not_told_of_this_one() -> None:
    record = model()
    taken = replace(plan(record), verdict=Rejected(record, "ModelNameTaken", "it is another's"))

    status = assess_model(taken, seen({A: SERVED}), now=NOW)
    assert (status.versions, status.urls) == ((), None)

    status = assess_model(replace(taken, good=NEW), seen({A: SERVED}), now=NOW)
    assert status.versions == (1,)
    assert status.urls is not None


def test_what_refuses_the_generation_linked_meanwhile_says_nothing_of_the_wanted_one() -> None:
    record = replace(model(), status=GOOD)
    held = replace(plan(record), hold=Hold("WaitingForMember", "it waits"))
    assert held.link == OLD

    status = assess_model(held, seen({A: {}}, refusal=BOOM), now=NOW)

    assert status.last_failure is None
    assert status.transition == "InProgress"
    assert ready(status) == ("False WaitingForMember", "it waits")


# ---- pods that do not answer -------------------------------------------------------------------


def ready_pod(name: str, since: float) -> Pod:
    return pod(name, ready_since=later(since))


def test_ready_pods_that_do_not_answer_are_told() -> None:
    unanswered = seen({ready_pod("a", 0): None, ready_pod("b", 0): SERVED})
    first = assess(model(), unanswered)
    assert ready(first)[0] == "False Loading"
    assert ready(assess(model(status=first), unanswered, at=9))[0] == "False Loading"

    told = assess(model(status=first), unanswered, at=10)
    assert ready(told)[0] == "False PodsUnreachable"
    assert "1 of 2 ready pods serve it, 1 gave the operator no answer" in ready(told)[1]
    assert [each.reason for each in find_events(first, told)] == ["PodsUnreachable"]


def test_a_pod_that_has_just_become_ready_may_leave_the_operator_without_an_answer() -> None:
    first = assess(model(), seen({}))
    assert ready(first)[0] == "False NoReadyPods"

    just = assess(model(status=first), seen({ready_pod("a", 95): None}), at=100)
    assert ready(just)[0] == "False Loading"


def test_a_pod_that_served_may_once_leave_the_operator_without_an_answer() -> None:
    serving = assess(model(), seen({ready_pod("a", 0): SERVED}))
    assert ready(serving)[0] == "True Serving"

    silent = seen({ready_pod("a", 0): None})
    once = assess(model(status=serving), silent, at=100)
    assert ready(once)[0] == "False Loading"
    assert ready(assess(model(status=once), silent, at=110))[0] == "False PodsUnreachable"


def test_a_pod_that_answers_and_loads_is_loading_however_long_that_takes() -> None:
    first = assess(model(), seen({ready_pod("a", 0): {}}))

    assert ready(assess(model(status=first), seen({ready_pod("a", 0): {}}), at=999))[0] == (
        "False Loading"
    )


def test_a_load_that_goes_on_for_long_says_where_since_when_and_until_when() -> None:
    load = Ongoing("a", NEW, since=later(-75), timeout_seconds=600)
    long = seen({A: BEHIND}, long_loads={"resnet": load})

    told = assess(model(), long)
    assert ready(told)[1] == (
        f"0 of 1 ready pods serve it; pod a has been loading generation {NEW} since 23:58:45 UTC;"
        " a load is given up after 600 s (spec.startupTimeoutSeconds of the server)"
    )
    assert assess(model(status=told), long, at=60) == told
    assert "loading" not in ready(assess(model(), seen({A: BEHIND})))[1]
