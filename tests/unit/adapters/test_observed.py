"""Objects of others, read at the border: what is missing is tolerated, nothing fails."""

from datetime import UTC, datetime
from typing import Any

import pytest

from triton_operator import names
from triton_operator.observed import (
    Autoscaler,
    ModelRecord,
    Pod,
    ServedModel,
    ServedVersion,
    ServerRecord,
    SyncJob,
    Workload,
)

TIME = "2026-01-01T00:00:00Z"
POD: dict[str, Any] = {
    "metadata": {
        "name": "vision-1",
        "uid": "u",
        "labels": {names.LABEL_COMPONENT: "server"},
        "annotations": {names.ANNOTATION_REVISION: "abc"},
    },
    "status": {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "conditions": [
            {"type": "Ready", "status": "True"},
            {"type": "PodScheduled", "status": "True"},
        ],
        "containerStatuses": [
            {"name": "istio-proxy", "state": {"waiting": {"reason": "Late"}}},
            {"name": "triton", "state": {"running": {"startedAt": TIME}}},
        ],
    },
}


def test_a_pod_that_serves() -> None:
    assert Pod.parse(POD) == Pod(
        name="vision-1",
        uid="u",
        ip="10.0.0.1",
        revision="abc",
        ready=True,
        running=True,
        started_at=TIME,
    )


def test_a_pod_that_finds_no_node() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "message": "0/3 nodes",
        "lastTransitionTime": TIME,
    }
    pod = Pod.parse({"metadata": {"name": "a"}, "status": {"conditions": [condition]}})

    assert (pod.unschedulable, pod.ready, pod.running) == ("0/3 nodes", False, False)
    assert pod.unschedulable_since == datetime(2026, 1, 1, tzinfo=UTC)


def test_what_a_pod_asks_for_is_known_before_it_has_a_node() -> None:
    sidecar = {"name": "istio-proxy", "resources": {"requests": {"memory": "1Mi"}}}
    ours = {"name": "triton", "resources": {"requests": {"nvidia.com/gpu": "1", "cpu": 2}}}
    pod = Pod.parse({"metadata": {"name": "a"}, "spec": {"containers": [sidecar, ours]}})

    assert dict(pod.requests) == {"nvidia.com/gpu": "1", "cpu": "2"}


def test_a_pod_that_cannot_start_and_one_that_ended() -> None:
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
    stuck = Pod.parse(
        {
            "metadata": {"name": "a"},
            "status": {"containerStatuses": [{"name": "triton", "state": waiting}]},
        }
    )
    assert stuck.waiting == "ErrImagePull: no such image"

    ended = {"terminated": {"exitCode": 3, "message": "{}"}}
    status = {"phase": "Failed", "containerStatuses": [{"name": "sync", "state": ended}]}
    over = Pod.parse({"metadata": {"name": "a", "deletionTimestamp": TIME}, "status": status})
    assert (over.finished, over.exit_code, over.termination_message) == (True, 3, "{}")
    assert over.terminating
    assert over.ends_at == datetime.fromisoformat(TIME)


def test_why_a_pod_ended() -> None:
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    sidecar = {"name": "istio-proxy", "resources": {"limits": {"memory": "1Mi"}}}
    sync = {"name": "sync", "resources": {"limits": {"memory": "1Gi"}}}
    killed = Pod.parse(
        {
            "metadata": {"name": "a"},
            "spec": {"containers": [sidecar, sync]},
            "status": {"containerStatuses": [{"name": "sync", "state": ended}]},
        }
    )
    assert (killed.exit_reason, killed.memory_limit) == ("OOMKilled", "1Gi")

    status = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory"}
    evicted = Pod.parse(
        {"metadata": {"name": "a"}, "spec": {"containers": [sync]}} | {"status": status}
    )
    assert evicted.exit_reason == "Evicted: The node was low on memory"
    assert (evicted.finished, evicted.memory_limit) == (True, "")


def test_a_sync_is_over_with_its_container_whatever_its_pod_and_others_do() -> None:
    def pod(name: str, component: str, state: dict[str, Any], phase: str = "Running") -> Pod:
        labels = {names.LABEL_COMPONENT: component}
        others = {"name": "istio-proxy", "state": {"running": {}}}
        containers = [others, {"name": name, "state": state}]
        status = {"phase": phase, "containerStatuses": containers}
        return Pod.parse({"metadata": {"name": "a", "labels": labels}, "status": status})

    ended = {"terminated": {"exitCode": 0, "message": "report", "finishedAt": TIME}}
    for phase in ("Pending", "Running", "Succeeded"):
        over = pod("sync", "sync", ended, phase)
        assert (over.finished, over.termination_message) == (True, "report")
        assert over.finished_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert not pod("sync", "sync", {"running": {"startedAt": TIME}}).finished
    # Triton's container is started anew.
    assert not pod("triton", "server", ended).finished


@pytest.mark.parametrize("status", [None, {}, {"conditions": None, "containerStatuses": []}])
def test_a_pod_of_which_nothing_is_known_yet(status: Any) -> None:
    pod = Pod.parse({"metadata": {"name": "a", "labels": None}, "status": status})

    assert not any((pod.ready, pod.running, pod.finished, pod.waiting, pod.ip))


def test_a_job_and_how_it_ended() -> None:
    meta = {
        "name": "vision-sync-3",
        "annotations": {
            names.ANNOTATION_SEQUENCE: "3",
            names.ANNOTATION_MANIFEST: "abc",
            names.ANNOTATION_ATTEMPT: "2",
        },
    }
    running = SyncJob.parse({"metadata": meta})
    assert running == SyncJob("vision-sync-3", 3, "abc", attempt=2)

    failed = {
        "type": "Failed",
        "status": "True",
        "reason": "BackoffLimitExceeded",
        "message": "x",
        "lastTransitionTime": TIME,
    }
    suspended = {"type": "Complete", "status": "False"}
    ended = SyncJob.parse({"metadata": meta, "status": {"conditions": [suspended, failed]}})
    assert (ended.failed, ended.complete) == (True, False)
    assert ended.message == "BackoffLimitExceeded: x"
    assert ended.finished_at == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("sequence", [None, "", "three", "-1", "²"])
def test_a_job_whose_annotations_somebody_spoiled_comes_first(sequence: str | None) -> None:
    annotations = {names.ANNOTATION_SEQUENCE: sequence} if sequence is not None else None

    assert SyncJob.parse({"metadata": {"name": "a", "annotations": annotations}}).sequence == 0


def test_a_deployment() -> None:
    assert Workload.parse(None) == Workload()
    body = {
        "metadata": {"generation": 2},
        "spec": {"replicas": 3},
        "status": {
            "observedGeneration": 2,
            "replicas": 3,
            "updatedReplicas": 2,
            "readyReplicas": 1,
            "conditions": [
                {"type": "Progressing", "status": "False", "message": "too slow"},
                {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "reason": "Quota",
                    "message": "full",
                    "lastTransitionTime": TIME,
                },
            ],
        },
    }
    since = datetime.fromisoformat(TIME)
    assert Workload.parse(body) == Workload(
        True, True, 3, 3, 2, 1, "too slow", "Quota: full", since
    )
    assert not Workload.parse(body | {"status": {"observedGeneration": 1}}).observed
    assert Workload.parse({"metadata": {}}).desired == 1


@pytest.mark.parametrize(("surge", "in_place"), [(0, True), (1, False), ("25%", False)])
def test_how_a_deployment_replaces_its_pods(surge: int | str, in_place: bool) -> None:
    annotations = {names.ANNOTATION_REVISION: "abc"}
    spec = {
        "strategy": {"rollingUpdate": {"maxSurge": surge}},
        "template": {"metadata": {"annotations": annotations}},
    }
    workload = Workload.parse({"metadata": {}, "spec": spec})

    assert (workload.in_place, workload.revision) == (in_place, "abc")


@pytest.mark.parametrize(
    ("target", "server", "on_deployment"),
    [
        ({"apiVersion": "apps/v1", "kind": "Deployment", "name": "vision"}, "vision", True),
        ({"apiVersion": names.API_VERSION, "kind": "TritonServer", "name": "a"}, "a", False),
        ({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "vision"}, "", False),
        ({"apiVersion": "other/v1", "kind": "TritonServer", "name": "vision"}, "", False),
        ({"kind": "Deployment", "name": "vision"}, "", False),
        (None, "", False),
    ],
)
def test_what_an_autoscaler_is_pointed_at(
    target: dict[str, str] | None, server: str, on_deployment: bool
) -> None:
    body = {"metadata": {"name": "hpa"}, "spec": {"scaleTargetRef": target}}
    found = Autoscaler.parse(body)
    assert (found.server, found.on_deployment, found.maker) == (server, on_deployment, "")


def test_who_made_an_autoscaler() -> None:
    owner = {"kind": "ScaledObject", "name": "vision", "controller": True}
    body = {"metadata": {"name": "keda-hpa-vision", "ownerReferences": [owner]}}
    assert Autoscaler.parse(body).maker == "ScaledObject vision"


def test_what_the_pods_of_a_deployment_may_start_from() -> None:
    plain = Workload.parse({"metadata": {}})
    assert (plain.repository, plain.repositories) == ("links", {"links"})
    body = {
        "metadata": {"annotations": {names.ANNOTATION_REPOSITORIES: "aa,links"}},
        "spec": {
            "template": {"metadata": {"annotations": {names.ANNOTATION_REPOSITORY: "bb"}}},
        },
    }
    found = Workload.parse(body)
    assert (found.repository, found.repositories) == ("bb", {"aa", "bb", "links"})


@pytest.mark.parametrize("reference", [None, {}, {"name": "vision"}])
def test_a_model_that_cannot_be_read_still_names_its_server(reference: Any) -> None:
    meta = {"name": "resnet", "namespace": "team"}
    record = ModelRecord.parse({"metadata": meta, "spec": {"versions": 5, "serverRef": reference}})

    assert record.spec is None
    assert "spec.versions" in str(record.error)
    assert record.server_name == ("vision" if reference else "resnet")
    assert record.owns_server is not bool(reference)
    assert record.folder == "resnet"


@pytest.mark.parametrize("status", [None, {}, {"conditions": 7}, {"transition": "Unheard"}])
def test_a_status_that_nobody_can_read_is_an_empty_one(status: Any) -> None:
    meta = {"name": "resnet", "namespace": "team"}

    assert ModelRecord.parse({"metadata": meta, "status": status}).status.conditions == ()
    assert ServerRecord.parse({"metadata": meta, "status": status}).status.models == ()


def test_a_server_belongs_to_the_model_that_controls_it() -> None:
    def server(**owner: Any) -> ServerRecord:
        reference = {
            "apiVersion": "x/v1",
            "kind": names.KIND_MODEL,
            "name": "m",
            "uid": "u",
        } | owner
        return ServerRecord.parse({"metadata": {"name": "m", "ownerReferences": [reference]}})

    assert server(controller=True).owner() == ("u", "m")
    assert server().owner() is None
    assert server(controller=True, kind="Other").owner() is None


def test_a_server_takes_the_models_that_name_it_and_the_one_that_owns_it() -> None:
    def model(uid: str, **spec: Any) -> ModelRecord:
        return ModelRecord.parse({"metadata": {"name": "m", "uid": uid}, "spec": spec})

    owner = {"apiVersion": "x/v1", "kind": names.KIND_MODEL, "name": "m", "uid": "u"}
    owned = ServerRecord.parse(
        {"metadata": {"name": "m", "ownerReferences": [owner | {"controller": True}]}}
    )
    free = ServerRecord.parse({"metadata": {"name": "m"}})
    named = {"serverRef": {"name": "m"}}

    assert owned.takes(model("u"))
    assert owned.takes(model("other", **named))
    assert free.takes(model("other", **named))
    assert not owned.takes(model("other"))
    assert not free.takes(model("u"))


def test_versions_and_reasons_of_a_model_on_a_pod() -> None:
    found = ServedModel(
        (
            ServedVersion("10", "READY"),
            ServedVersion("9", "READY"),
            ServedVersion("8", "UNAVAILABLE", "boom"),
            ServedVersion("7", "UNAVAILABLE", "unloaded"),
            ServedVersion("", "READY"),
        )
    )

    assert found.ready_versions == (9, 10)
    assert found.reason == "boom"


def test_a_server_that_crashed_says_how() -> None:
    def of(ready: str, exit_code: int, reason: str = "Error") -> Pod:
        ended = {
            "reason": reason,
            "exitCode": exit_code,
            "message": "line one\nline two",
            "finishedAt": TIME,
        }
        container = {"name": "triton", "state": {}, "lastState": {"terminated": ended}}
        return Pod.parse(
            {
                "metadata": {"name": "a", "labels": {names.LABEL_COMPONENT: "server"}},
                "status": {
                    "conditions": [{"type": "Ready", "status": ready}],
                    "containerStatuses": [container],
                },
            }
        )

    crashed = of("False", 139)
    assert crashed.crash == "Error, exit code 139, last words: …line one line two"
    assert crashed.crashed_at is not None
    assert crashed.is_crashing
    assert not crashed.never_ran
    assert not of("True", 139).is_crashing
    assert not of("False", 0).is_crashing
    assert of("False", 128, "StartError").never_ran
    assert of("False", 127, "ContainerCannotRun").never_ran
    assert of("False", 128).never_ran
    assert not of("False", 137, "OOMKilled").never_ran
