"""In each phase kstatus and Argo CD see an object as what it is: on its way, there, or failed."""

from typing import Any

import pytest

from tests.unit.gitops.judges import HEALTH_OF, Object, judge_by_argo, judge_by_kstatus
from tests.unit.plan.test_model_status import SITUATIONS, seen
from tests.unit.plan.test_model_status import assess as assess_one
from tests.unit.plan.test_server_status import (
    NO_IMAGE,
    STARTING,
    assess,
    record,
    workload,
)
from tests.unit.plan.test_server_status import OLD as OLD_POD
from tests.unit.plan.values import NOW, later, model, pod
from triton_operator import names
from triton_operator.api.crd import build_crds
from triton_operator.api.model import TritonModelStatus
from triton_operator.api.server import TritonServerStatus
from triton_operator.errors import ClusterError, InvalidSpecError, NameTakenError
from triton_operator.plan.claim import ClaimNotUsableError
from triton_operator.plan.model_status import report_unserved
from triton_operator.plan.server_status import assess_server_failure
from triton_operator.plan.sync import SyncPlan, SyncState
from triton_operator.repository.outcome import Failure

DEFAULTS = {
    crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"][
        "properties"
    ]["status"]["default"]
    for crd in build_crds().values()
}
"""The status of an object that the operator has not seen, by kind."""

OWN = model(serverRef=None)
GIVEN_UP = seen({}, blocked="no image", given_up=True)
MODELS = {
    **{name: assess_one(record, what) for name, (record, what, *_) in SITUATIONS.items()},
    "unknown server": report_unserved(
        model(), "ServerNotFound", "there is none", served=False, now=NOW
    ),
    "invalid server of others": report_unserved(
        model(), "ServerInvalid", "gpus", served=True, now=NOW
    ),
    "invalid server of its own": report_unserved(
        OWN, "ServerInvalid", "gpus", served=True, now=NOW
    ),
    "server of others given up": assess_one(model(), GIVEN_UP),
    "own server given up": assess_one(OWN, GIVEN_UP),
    "source does not answer": assess_one(
        model(),
        seen(sync=SyncPlan(SyncState.DONE, failures={"resnet": Failure("SourceUnreachable", "")})),
    ),
}
FAILED_MODELS = {
    "a download failed",
    "refused",
    "refused while the good one serves",
    "rejected",
    "rejected while the good one serves",
    "invalid server of its own",
    "own server given up",
}
CURRENT_MODELS = {"serving", "serving, and something is written for others"}

GOOD = assess(pod("a"))
SERVERS: dict[str, tuple[TritonServerStatus, str]] = {
    "starting": (assess(STARTING), "InProgress"),
    "all pods ready": (GOOD, "Current"),
    "none wanted": (assess(load=workload(0)), "Current"),
    "an older revision serves": (assess(OLD_POD), "InProgress"),
    "no image": (assess(NO_IMAGE), "InProgress"),
    "no image for too long": (assess(NO_IMAGE, load=workload(1, stalled="late")), "Failed"),
    "rollout fails": (assess(OLD_POD, NO_IMAGE, load=workload(2)), "InProgress"),
    "rollout fails for too long": (
        assess(OLD_POD, NO_IMAGE, load=workload(2, stalled="late")),
        "Failed",
    ),
    "complete after all": (assess(pod("a"), load=workload(1, stalled="late")), "Current"),
    "spec that cannot be": (assess(pod("a"), problem=InvalidSpecError("limits")), "Failed"),
    "claim that cannot be": (assess(problem=ClaimNotUsableError("ReadOnlyMany")), "Failed"),
    "name that may be free soon": (assess(problem=NameTakenError("claim")), "InProgress"),
    "scaled as far as allowed": (assess(pod("a"), limit="5 are needed"), "Current"),
    "spec that cannot be read": (
        assess_server_failure(record(), InvalidSpecError("gpus"), accepted=False, now=NOW),
        "Failed",
    ),
    "pass that failed": (
        assess_server_failure(
            record(GOOD), ClusterError("PATCH", "it", status=500), accepted=True, now=later(1)
        ),
        "InProgress",
    ),
}


def body(kind: str, status: object, generation: int, **metadata: str) -> Object:
    if isinstance(status, TritonModelStatus | TritonServerStatus):
        status = status.manifest()
    meta: dict[str, Any] = {"name": "vision", "namespace": "team", "generation": generation}
    return {
        "apiVersion": names.API_VERSION,
        "kind": kind,
        "metadata": meta | metadata,
        "spec": {},
        "status": status,
    }


def expected(name: str) -> str:
    return (
        "Failed" if name in FAILED_MODELS else "Current" if name in CURRENT_MODELS else "InProgress"
    )


CASES: dict[str, tuple[Object, str]] = {
    **{
        f"TritonModel: {name}": (body(names.KIND_MODEL, status, 1), expected(name))
        for name, status in MODELS.items()
    },
    **{
        f"TritonServer: {name}": (body(names.KIND_SERVER, status, 3), wanted)
        for name, (status, wanted) in SERVERS.items()
    },
    **{
        f"{kind}: new": (body(kind, default, 1), "InProgress") for kind, default in DEFAULTS.items()
    },
    **{
        f"{kind}: changed since": (body(kind, status, 4), "InProgress")
        for kind, status in (
            (names.KIND_MODEL, MODELS["serving"]),
            (names.KIND_MODEL, MODELS["refused"]),
            (names.KIND_SERVER, GOOD),
        )
    },
}


@pytest.fixture(scope="module")
def verdicts() -> dict[str, str]:
    return dict(zip(CASES, judge_by_kstatus([each for each, _ in CASES.values()]), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_both_judges_see_what_phase_an_object_is_in(verdicts: dict[str, str], name: str) -> None:
    what, wanted = CASES[name]

    assert verdicts[name] == wanted
    assert judge_by_argo(what)[0] == HEALTH_OF[wanted]


def test_every_named_situation_exists() -> None:
    assert MODELS.keys() >= FAILED_MODELS | CURRENT_MODELS


def test_what_is_deleted_is_neither_there_nor_failed() -> None:
    leaving = body(names.KIND_SERVER, GOOD, 3, deletionTimestamp="2026-01-01T00:00:00Z")

    assert judge_by_kstatus([leaving]) == ["Terminating"]


def test_argo_waits_for_what_has_no_status() -> None:
    new = body(names.KIND_MODEL, {}, 1)
    del new["status"]

    assert judge_by_argo(new) == ("Progressing", "waits for the operator")


def test_without_our_default_kstatus_would_take_a_new_object_for_ready() -> None:
    assert judge_by_kstatus([body(names.KIND_MODEL, {}, 1)]) == ["Current"]


def test_argo_tells_why() -> None:
    refused = body(names.KIND_MODEL, MODELS["refused"], 1)
    health, message = judge_by_argo(refused)

    assert health == "Degraded"
    assert message.startswith("LoadFailed: 0 of 1 ready pods serve it: pod a: RuntimeError: boom")


def test_stalled_goes_when_the_failure_goes() -> None:
    blocked = MODELS["refused while the good one serves"]
    again = assess_one(model(status=blocked, config={"maxBatchSize": 1}), seen())

    assert "Stalled" in {each.type for each in blocked.conditions}
    assert "Stalled" not in {each.type for each in again.conditions}
    assert "Stalled" not in {
        each.type
        for each in assess_server_failure(
            record(SERVERS["spec that cannot be read"][0]),
            ClusterError("PATCH", "it", status=500),
            accepted=True,
            now=later(1),
        ).conditions
    }
