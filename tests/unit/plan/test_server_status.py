"""What is told about a server and its pods."""

from typing import Any

import pytest

from tests.unit.plan.values import NOW, later, model, plan, pod
from triton_operator import names
from triton_operator.api.server import TritonServerStatus
from triton_operator.errors import ClusterError, InvalidSpecError
from triton_operator.observed import Autoscaler, Pod, ServerRecord, Workload
from triton_operator.plan.claim import ClaimNotEnlargedError, ClaimReport
from triton_operator.plan.events import find_events
from triton_operator.plan.pods import note_rejection
from triton_operator.plan.progress import assess_progress, leave_time
from triton_operator.plan.replicas import Scaling, carries_out, explain_rivals, plan_replicas
from triton_operator.plan.server_status import ServerReport, assess_server, assess_server_failure
from triton_operator.plan.sync import Repair, SyncPlan, SyncState
from triton_operator.plan.sync_end import Ended


def record(status: TritonServerStatus | None = None, **spec: Any) -> ServerRecord:
    body: dict[str, Any] = {
        "metadata": {"name": "vision", "namespace": "team", "generation": 3},
        "spec": spec,
    }
    if status is not None:
        body["status"] = status.manifest()
    return ServerRecord.parse(body)


def workload(desired: int = 1, **fields: Any) -> Workload:
    given = {"exists": True, "observed": True, "replicas": desired} | fields
    return Workload(desired=desired, **given)


def assess(
    *pods: Pod,
    load: Workload | None = None,
    before: TritonServerStatus | None = None,
    at: float = 0,
    limit: str = "",
    rivals: str = "",
    problem: InvalidSpecError | None = None,
    claim: ClaimReport | None = None,
    repaired: Repair | None = None,
    rotated: str = "",
    in_place: bool = False,
) -> TritonServerStatus:
    load = load or workload(max(1, len(pods)))
    report = ServerReport(
        replicas=load.replicas,
        progress=assess_progress(pods, load, "rev", in_place=in_place, now=later(at)),
        plans=(plan(model("b")), plan(model("a")), plan(model("later", modelName="a"))),
        problem=problem,
        scaling=Scaling(limit=limit),
        rivals=rivals,
        claim=claim or ClaimReport(),
        repaired=repaired,
        rotated=rotated,
    )
    return assess_server(record(before), report, now=later(at))


def said(status: TritonServerStatus) -> dict[str, str]:
    return {c.type: f"{c.status} {c.reason}" for c in status.conditions}


def message(status: TritonServerStatus, kind: str = "Ready") -> str:
    return next(c.message for c in status.conditions if c.type == kind)


STARTING = pod(ready=False)
UNPLACED = pod("b", ready=False, running=False, unschedulable="no GPU", unschedulable_since=NOW)


def written(seconds_ago: float) -> SyncPlan:
    return SyncPlan(SyncState.DONE, ended=Ended(7.0, 5, later(-seconds_ago)))


COPYING = SyncPlan(SyncState.RUNNING)


@pytest.mark.parametrize(
    ("pods", "sync", "stalled"),
    [
        ((STARTING,), COPYING, False),
        ((STARTING,), SyncPlan(SyncState.WAITING), False),
        ((STARTING,), SyncPlan(SyncState.FAILED), False),
        # Its files are there, and it loads them.
        ((STARTING,), written(99), False),
        ((STARTING,), written(100), True),
        # One is ready, so the files were there before.
        ((pod("a"), STARTING), COPYING, True),
        # That would not end with the copy.
        ((pod(ready=False, waiting="ErrImagePull: no such image"),), COPYING, True),
        ((pod(ready=False, waiting="ContainerCreating", created_at=later(-60)),), COPYING, True),
        ((), COPYING, True),
    ],
)
def test_pods_have_their_time_from_when_their_files_are_there(
    pods: tuple[Pod, ...], sync: SyncPlan, *, stalled: bool
) -> None:
    found = leave_time(workload(1, stalled="late"), pods, sync, seconds=100, now=NOW)

    assert bool(found.stalled) is stalled
    assert ("Stalled" in said(assess(*pods, load=found))) is stalled


def rejected(name: str, made: float, **fields: Any) -> Pod:
    said = f"UnexpectedAdmissionError: {name} has no healthy devices"
    over = {"finished": True, "exit_reason": said, "created_at": later(made)} | fields
    return pod(name, ready=False, running=False, **over)


@pytest.mark.parametrize(
    ("pods", "over", "words"),
    [
        ((), (rejected("a", -50), rejected("b", -3)), "UnexpectedAdmissionError: b has no"),
        # The next one, of which its node has said nothing yet.
        ((pod("c", ready=False, running=False),), (rejected("b", -3),), "Unexpected"),
        # Its node took it, or it serves.
        (
            (pod("c", ready=False, waiting="ContainerCreating", created_at=NOW),),
            (rejected("b", -3),),
            "",
        ),
        ((pod("c", created_at=NOW),), (rejected("b", -3),), ""),
        ((), (rejected("a", -61),), ""),
        ((), (rejected("a", -3, revision="older"),), ""),
        ((), (rejected("a", -3, exit_reason=""),), ""),
        ((), (), ""),
    ],
)
def test_why_nodes_reject_pods_is_told(
    pods: tuple[Pod, ...], over: tuple[Pod, ...], words: str
) -> None:
    found = note_rejection(workload(), pods, over, "rev", now=NOW)

    assert words in found.refused
    assert bool(words) is bool(found.refused)
    if words:
        status = assess(*pods, load=found)
        assert said(status)["Ready"] == "False PodsFailing"
        assert words in message(status)


def test_what_keeps_pods_from_being_made_goes_before_what_became_of_the_last() -> None:
    refused = workload(refused="FailedCreate: quota")

    assert note_rejection(refused, (), [rejected("a", -3)], "rev", now=NOW) == refused


@pytest.mark.parametrize("waiting", ["ContainerCreating", "PodInitializing"])
def test_a_pod_that_waits_for_its_image_or_a_volume_is_named_after_a_minute(waiting: str) -> None:
    creating = pod("a", ready=False, running=False, waiting=waiting, created_at=NOW)

    assert message(assess(creating, at=59)) == "0 of 1 pods ready"
    late = assess(creating, at=60)
    assert said(late)["Ready"] == "False PodsStarting"
    assert "kubectl describe pod a tells why" in message(late)


def test_that_pods_wait_for_files_is_told() -> None:
    waiting = assess_progress([STARTING], workload(), "rev", in_place=False, now=NOW)
    assert waiting.waiting_for(COPYING).doing.endswith("pods wait for the files of models")
    assert waiting.waiting_for(written(1)) == waiting
    serving = assess_progress([pod()], workload(), "rev", in_place=False, now=NOW)
    assert serving.waiting_for(COPYING) == serving
    none = assess_progress([], workload(0), "rev", in_place=False, now=NOW)
    assert none.waiting_for(COPYING) == none


@pytest.mark.parametrize(
    ("pods", "load", "ready", "available", "progressing", "words"),
    [
        ((pod("a"), pod("b")), None, "True AllPodsReady", True, False, "2 of 2 pods ready"),
        ((STARTING,), None, "False PodsStarting", False, True, "0 of 1 pods ready"),
        ((pod("a"), STARTING), None, "False PodsStarting", True, True, "1 of 2 pods ready"),
        ((pod("a"),), workload(2), "False PodsStarting", True, True, "1 of 2 pods ready"),
        ((pod("a"), pod("b")), workload(1), "False PodsStarting", True, True, "2 of 1"),
        ((pod(revision="old"),), None, "False PodsStarting", True, True, "of an older revision"),
        ((pod(),), workload(observed=False), "False PodsStarting", True, True, "1 of 1"),
        (
            (pod(ready=False, waiting="ErrImagePull: no such image"),),
            None,
            "False PodsFailing",
            False,
            False,
            "0 of 1 pods ready: ErrImagePull: no such image",
        ),
        (
            (pod(ready=False, waiting="ContainerCreating"),),
            None,
            "False PodsStarting",
            False,
            True,
            "0 of 1",
        ),
        (
            (
                pod(
                    ready=False,
                    waiting="CreateContainerConfigError: failed to sync secret cache: timed out"
                    " waiting for the condition",
                ),
            ),
            None,
            "False PodsStarting",
            False,
            True,
            "0 of 1",
        ),
        ((), workload(refused="FailedCreate: quota"), "False PodsFailing", False, False, "quota"),
        ((STARTING,), workload(stalled="too slow"), "False PodsFailing", False, False, "too slow"),
        ((), workload(0), "True AllPodsReady", False, False, "0 of 0"),
        ((pod(), pod("b", terminating=True)), workload(1), "True AllPodsReady", True, False, ""),
    ],
)
def test_the_state_of_the_pods_is_told(
    pods: tuple[Pod, ...],
    load: Workload | None,
    ready: str,
    available: bool,
    progressing: bool,
    words: str,
) -> None:
    status = assess(*pods, load=load)

    assert said(status)["Ready"] == ready
    assert said(status)["Available"].startswith(str(available))
    assert said(status)["Progressing"].startswith(str(progressing))
    assert said(status)["Accepted"] == "True Valid"
    assert words in message(status)
    assert assess(*pods, load=load, before=status, at=1) == status


OLD = pod("old", revision="before")
NO_IMAGE = pod("new", ready=False, running=False, waiting="ErrImagePull: no such image")
CRASHED = pod("new", ready=False, crash="Error, exit code 1")


@pytest.mark.parametrize(
    ("pods", "load", "words"),
    [
        ((OLD, NO_IMAGE), workload(2), "ErrImagePull: no such image; the rollout goes no further"),
        ((OLD, CRASHED), workload(2), "pod new crashes: Error, exit code 1; the rollout goes no"),
        ((OLD,), workload(2, refused="FailedCreate: quota"), "FailedCreate: quota; the rollout"),
        ((OLD, STARTING), workload(2, stalled="too slow"), "too slow; the rollout goes no further"),
    ],
)
def test_a_rollout_whose_new_pods_do_not_come_up_has_failed(
    pods: tuple[Pod, ...], load: Workload, words: str
) -> None:
    before = assess(OLD, pod("other", revision="before"))
    status = assess(*pods, load=load, before=before)

    assert said(status)["Progressing"] == "False RolloutFailed"
    assert said(status)["Ready"] == "False RolloutFailed"
    assert said(status)["Available"].startswith("True")
    assert words in message(status, "Progressing")
    assert "1 of 2 pods serve on as before: put back what was" in message(status, "Progressing")
    counts = "0 of 2 pods of the new revision ready, 1 of an older one"
    assert message(status).startswith(f"{counts}: {words}")
    assert message(status, "Available") == counts
    assert [event.reason for event in find_events(before, status)] == ["RolloutFailed"]
    assert find_events(status, assess(*pods, load=load, before=status, at=60)) == ()


@pytest.mark.parametrize(
    ("pods", "at", "reason"),
    [
        # Nobody serves: there is nothing that the rollout has spared.
        ((pod("old", revision="before", ready=False), NO_IMAGE), 0, "PodsFailing"),
        # It is an old pod that fails, and it goes anyway.
        (
            (OLD, pod("c", revision="before", ready=False, crash="Error"), STARTING),
            0,
            "PodsFailing",
        ),
        # A new pod of a server that has no old ones: it is scaled up.
        ((pod("a"), NO_IMAGE), 0, "PodsFailing"),
        ((OLD, UNPLACED), 6, "Unschedulable"),
        ((OLD, UNPLACED), 4, "PodsStarting"),
        ((OLD, STARTING), 0, "PodsStarting"),
    ],
)
def test_what_is_no_failed_rollout(pods: tuple[Pod, ...], at: float, reason: str) -> None:
    assert said(assess(*pods, load=workload(2), at=at))["Progressing"].endswith(f" {reason}")


def test_a_rollout_in_place_is_told_and_is_no_news() -> None:
    before = assess(OLD)
    status = assess(OLD, UNPLACED, load=workload(1), before=before, in_place=True)

    assert said(status)["Progressing"] == "True ReplacingInPlace"
    assert "since there is no room for a spare one" in message(status, "Progressing")
    assert find_events(before, status) == ()
    done = assess(pod("a"), before=status, in_place=True)
    assert (said(done)["Ready"], message(done)) == ("True AllPodsReady", "1 of 1 pods ready")


def test_a_pod_that_finds_no_node_is_given_a_moment_first() -> None:
    early = assess(pod("a"), UNPLACED, at=4)
    assert said(early)["Ready"] == "False PodsStarting"
    assert said(early)["ScalingLimited"] == "False NotLimited"

    late = assess(pod("a"), UNPLACED, at=6)
    assert said(late)["Ready"] == "False Unschedulable"
    assert said(late)["ScalingLimited"] == "True Unschedulable"
    assert message(late, "ScalingLimited") == "1 of 2 pods cannot be scheduled: no GPU"
    assert [e.type for e in find_events(early, late)] == ["Warning"]
    assert find_events(late, assess(pod("a"), UNPLACED, before=late, at=60)) == ()


def test_counts_selector_and_models_are_there_for_autoscalers_and_people() -> None:
    status = assess(pod("a"), STARTING)

    assert (status.replicas, status.ready_replicas, status.ready) == (2, 1, "1/2")
    assert status.selector == f"{names.LABEL_SERVER}=vision,{names.LABEL_COMPONENT}=server"
    assert status.models == ("a", "b")
    assert status.observed_generation == 3


def test_a_child_that_cannot_be_made_is_the_specs_fault() -> None:
    status = assess(pod("a"), problem=InvalidSpecError("limits must be above requests"))

    assert said(status)["Accepted"] == "False InvalidSpec"
    assert said(status)["Ready"] == "False InvalidSpec"
    assert said(status)["Available"] == "True PodsReady"
    assert "limits must be above requests" in message(status)


def test_a_pass_that_failed_keeps_what_it_did_not_see() -> None:
    good = assess(pod("a"))
    error = ClusterError("PATCH", "services/vision", status=500)

    failed = assess_server_failure(record(good), error, accepted=True, now=later(60))

    assert said(failed) == said(good) | {"Ready": "False ClusterError"}
    assert failed.ready == good.ready
    assert message(failed) == str(error)
    again = assess_server_failure(record(failed), error, accepted=True, now=later(99))
    assert again == failed


def test_a_spec_that_cannot_be_read_is_not_accepted() -> None:
    error = InvalidSpecError("spec.gpus: must be 0 or more")

    failed = assess_server_failure(record(), error, accepted=False, now=NOW)

    assert said(failed) == {
        "Accepted": "False InvalidSpec",
        "Ready": "False InvalidSpec",
        "Stalled": "True InvalidSpec",
    }


@pytest.mark.parametrize(
    ("spec", "load", "wanted"),
    [
        ({}, Workload(), 1),
        ({"replicas": 0}, workload(5), 0),
        ({"replicas": 3}, Workload(), 3),
        ({"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}, Workload(), 2),
        ({"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}, workload(1), 2),
        ({"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}, workload(3), 3),
        ({"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}, workload(9), 4),
    ],
)
def test_replicas_are_the_specs_or_stay_within_the_bounds(
    spec: dict[str, Any], load: Workload, wanted: int
) -> None:
    server = record(**spec).spec
    assert server is not None

    assert plan_replicas(server, load) == wanted


@pytest.mark.parametrize(
    ("mode", "desired", "wanted"),
    [("Active", 5, 5), ("Active", 9, 6), ("Active", 1, 2), ("Observe", 5, 3)],
)
def test_the_autoscalers_number_is_kept_within_the_bounds_and_only_acted_on_if_asked_to(
    mode: str, desired: int, wanted: int
) -> None:
    server = record(autoscaling={"minReplicas": 2, "maxReplicas": 6, "mode": mode}).spec
    assert server is not None
    assert plan_replicas(server, workload(3), desired) == wanted


def test_what_limits_replicas_is_told() -> None:
    status = assess(pod("a"), limit="5 pods are needed, maxReplicas is 1: raise it")
    (found,) = (c for c in status.conditions if c.type == "ScalingLimited")
    assert (found.status, found.reason) == ("True", "LimitReached")
    assert found.message == "5 pods are needed, maxReplicas is 1: raise it"


def test_a_rival_is_told_before_any_limit_and_is_news_once() -> None:
    before = assess(pod("a"), limit="5 pods are needed")
    after = assess(pod("a"), before=before, limit="5 pods are needed", rivals="HPA a does it")

    assert said(after)["ScalingLimited"] == "True ForeignAutoscaler"
    assert message(after, "ScalingLimited") == "HPA a does it; besides: 5 pods are needed"
    (news,) = find_events(before, after)
    assert (news.type, news.reason, news.message) == (
        "Warning",
        "ForeignAutoscaler",
        "HPA a does it",
    )
    assert not find_events(after, assess(pod("a"), before=after, rivals="HPA a does it"))
    assert not find_events(after, before)


def test_a_rival_hides_no_pod_that_finds_no_node_and_is_no_news_again_with_it() -> None:
    alone = assess(pod("a"), rivals="HPA a does it")
    assert message(alone, "ScalingLimited") == "HPA a does it"
    both = assess(pod("a"), UNPLACED, before=alone, rivals="HPA a does it", at=6)

    assert said(both)["ScalingLimited"] == "True ForeignAutoscaler"
    without = "1 of 2 pods cannot be scheduled: no GPU"
    assert message(both, "ScalingLimited") == f"HPA a does it; besides: {without}"
    assert [event.reason for event in find_events(alone, both)] == ["Unschedulable"]
    other = assess(pod("a"), UNPLACED, before=both, rivals="HPA b does it", at=12)
    assert [event.message for event in find_events(both, other)] == ["HPA b does it"]

    gone = assess(pod("a"), UNPLACED, before=both, at=12)
    assert said(gone)["ScalingLimited"] == "True Unschedulable"
    assert message(gone, "ScalingLimited") == without


HPA = Autoscaler("hpa", "vision", on_deployment=True)
ON_SERVER = Autoscaler("hpa", "vision")
ACTIVE = {"autoscaling": {"maxReplicas": 6}}
OBSERVE = {"autoscaling": {"maxReplicas": 6, "mode": "Observe"}}


@pytest.mark.parametrize(
    ("spec", "autoscalers", "acts", "says"),
    [
        (ACTIVE, [], True, ""),
        (ACTIVE, [HPA], False, "take autoscaling out of the spec"),
        (ACTIVE, [ON_SERVER], True, "set replicas in place of autoscaling"),
        (ACTIVE, [ON_SERVER, HPA], False, "take autoscaling out of the spec"),
        (OBSERVE, [HPA], False, ""),
        (OBSERVE, [ON_SERVER], False, "set replicas in place of autoscaling"),
        ({"replicas": 2}, [HPA], False, "point it at this TritonServer"),
        ({"replicas": 2}, [ON_SERVER], False, ""),
        ({}, [HPA], False, ""),
        ({}, [ON_SERVER], False, "set replicas for it to begin with"),
    ],
)
def test_who_else_sets_the_number_is_told_where_it_contradicts_the_spec(
    spec: dict[str, Any], autoscalers: list[Autoscaler], acts: bool, says: str
) -> None:
    server = record(**spec).spec
    assert server is not None
    assert carries_out(server, autoscalers) is acts
    message = explain_rivals(server, autoscalers)
    assert says in message
    assert bool(message) is bool(says)


def test_the_maker_of_an_autoscaler_is_named() -> None:
    server = record(replicas=1).spec
    assert server is not None
    kedas = Autoscaler("keda-hpa-a", "vision", on_deployment=True, maker="ScaledObject a")
    assert "keda-hpa-a of ScaledObject a sets" in explain_rivals(server, [kedas])


@pytest.mark.parametrize("spec", [{}, ACTIVE, OBSERVE, {"replicas": 2}])
@pytest.mark.parametrize("number", [0, 3, 9])
def test_the_number_of_whoever_scales_the_deployment_stays(
    spec: dict[str, Any], number: int
) -> None:
    server = record(**spec).spec
    assert server is not None
    assert plan_replicas(server, workload(number), 5, [HPA]) == number
    assert plan_replicas(server, Workload(), None, [HPA]) >= 1


def test_a_claim_that_cannot_grow_is_told_and_keeps_nothing_from_being_ready() -> None:
    status = assess(claim=ClaimReport(problem=ClaimNotEnlargedError("it stays at 1Gi")))

    found = {c.type.value: c for c in status.conditions}
    assert (found["ClaimReady"].reason, found["ClaimReady"].message) == (
        "ClaimNotEnlarged",
        "it stays at 1Gi",
    )
    assert found["Accepted"].status == "True"
    assert {c.type: c.status for c in assess().conditions}["ClaimReady"] == "True"


def test_a_claim_for_one_node_is_told_before_pods_wait_for_a_node() -> None:
    status = assess(claim=ClaimReport(limit="all 3 pods have to fit on one node"))

    (found,) = (c for c in status.conditions if c.type == "ScalingLimited")
    assert (found.status, found.reason) == ("True", "ClaimNotShared")
    assert found.message == "all 3 pods have to fit on one node"


def test_a_repair_is_news_once() -> None:
    before = assess()
    after = assess(before=before, repaired=Repair("monday", "sync-3", ("resnet",)))

    (news,) = (e for e in find_events(before, after) if e.reason == "Repaired")
    assert "resnet" in news.message
    assert after.repair is not None
    assert after.repair.request == "monday"
    assert assess(before=after).repair == after.repair
    assert not find_events(after, assess(before=after))


def test_a_new_control_key_is_news_once() -> None:
    before = assess()
    after = assess(before=before, rotated="monday")

    (news,) = (e for e in find_events(before, after) if e.reason == "ControlKeyRotated")
    assert "'monday'" in news.message
    assert after.control_key is not None
    assert after.control_key.request == "monday"
    assert assess(before=after).control_key == after.control_key
    assert not find_events(after, assess(before=after))
