"""What needs several objects to judge: Accepted=False says what is wrong and how to mend it."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.cluster.support.kube import Object
from tests.cluster.support.manifests import PYTHON, TENSORS, adds, chain, model, server, version
from tests.cluster.support.world import World

pytestmark = pytest.mark.cluster

CODE = version(1, adds(1))


@pytest.fixture(scope="module", autouse=True)
def _server(world: World) -> None:
    """A server without pods: what is judged here is judged before one is needed."""
    world.apply(server("judge", replicas=0), model("plain", CODE, on="judge"))
    world.wait_condition("TritonModel", "plain", "Accepted", "True")


def python(**config: Any) -> dict[str, Any]:
    return {**PYTHON, **config}


def tensor(name: str, kind: str = "TYPE_FP32", dims: tuple[int, ...] = (1,)) -> Object:
    return {"name": name, "dataType": kind, "dims": list(dims)}


def ensemble(name: str, *steps: tuple[str, str, str], **config: Any) -> Object:
    """Return an ensemble of steps (model, tensor in, tensor out)."""
    scheduling = {
        "step": [
            {
                "modelName": step,
                "modelVersion": -1,
                "inputMap": {"IN": before},
                "outputMap": {"OUT": after},
            }
            for step, before, after in steps
        ]
    }
    body = {"platform": "ensemble", "maxBatchSize": 8, **TENSORS, "ensembleScheduling": scheduling}
    return model(name, on="judge", config={**body, **config})


def text(name: str, config: str) -> Object:
    """Return a model whose config is written as config.pbtxt."""
    body = model(name, CODE, on="judge", configText=config)
    del body["spec"]["config"]
    return body


@dataclass(frozen=True)
class Case:
    """Objects of which the first is not accepted."""

    name: str
    objects: tuple[Object, ...]
    reason: str
    words: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return self.name


CASES = [
    Case(
        "name-of-another-model",
        (model("preprocessor", CODE, on="judge", config=python(name="preprocess")),),
        "InvalidSpec",
        ("name", "'preprocess'", "'preprocessor'"),
    ),
    Case(
        "step-that-does-not-exist",
        (chain("missing-step", "judge", "plain", "nobody"),),
        "InvalidEnsemble",
        ("step 2", "'nobody'", "'plain'"),
    ),
    Case(
        "types-differ",
        (
            chain("types", "judge", "plain", "wants-integers"),
            model(
                "wants-integers",
                CODE,
                on="judge",
                config=python(input=[tensor("IN", "TYPE_INT64")]),
            ),
        ),
        "InvalidEnsemble",
        ("types differ", "'between_1'", "FP32", "INT64"),
    ),
    Case(
        "shapes-differ",
        (
            chain("shapes", "judge", "plain", "wants-three"),
            model("wants-three", CODE, on="judge", config=python(input=[tensor("IN", dims=(3,))])),
        ),
        "InvalidEnsemble",
        ("shapes differ", "'between_1'", "[1]", "[3]"),
    ),
    Case(
        "no-batching-above-batching-members",
        (ensemble("batchless", ("plain", "IN", "OUT"), maxBatchSize=0),),
        "InvalidEnsemble",
        ("maxBatchSize",),
    ),
    Case(
        "circle-of-ensembles",
        (chain("circle-a", "judge", "circle-b"), chain("circle-b", "judge", "circle-a")),
        "InvalidEnsemble",
        ("circle-a", "circle-b", "itself"),
    ),
    Case(
        "circle-of-steps",
        (ensemble("circle", ("plain", "x", "OUT"), ("plain", "OUT", "x")),),
        "InvalidEnsemble",
        ("wait for each other",),
    ),
    Case(
        "cache-on-a-server-without-one",
        (model("cached", CODE, on="judge", config=python(responseCache={"enable": True})),),
        "ResponseCacheOff",
        ("responseCache", "'judge'"),
    ),
    Case(
        "gpu-on-a-server-without-one",
        (model("on-gpu", CODE, on="judge", config=python(instanceGroup=[{"kind": "KIND_GPU"}])),),
        "GPUNotAvailable",
        ("config.instanceGroup[0]", "'judge'"),
    ),
    Case(
        "name-taken",
        (model("second", CODE, on="judge", modelName="plain"),),
        "ModelNameTaken",
        ("'plain'", "modelName"),
    ),
    Case(
        "text-that-is-no-config",
        (text("text", "max_batch_sise: 8"),),
        "InvalidSpec",
        ("configText", "max_batch_sise"),
    ),
    Case(
        "server-that-does-not-exist",
        (model("lost", CODE, on="nowhere"),),
        "ServerNotFound",
        ("spec.serverRef.name", "'nowhere'"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_model_is_not_accepted_and_told_why(world: World, case: Case) -> None:
    name = case.objects[0]["metadata"]["name"]
    try:
        world.apply(*reversed(case.objects))

        refused = world.wait_condition(
            "TritonModel", name, "Accepted", "False", reason=case.reason, seconds=15
        )
        for word in case.words:
            assert word in refused["message"]
        ready = world.wait_condition("TritonModel", name, "Ready", "False", seconds=5)
        assert (ready["reason"], ready["message"]) == (refused["reason"], refused["message"])
        assert world.status("TritonModel", name)["transition"] == "InvalidSpec"
    finally:
        for each in case.objects:
            world.delete("TritonModel", each["metadata"]["name"])


def test_a_model_waits_for_its_server(world: World) -> None:
    world.apply(model("early", CODE, on="late"))
    world.wait_condition("TritonModel", "early", "Accepted", "False", reason="ServerNotFound")

    world.apply(server("late", replicas=0))

    world.wait_condition("TritonModel", "early", "Accepted", "True")


def test_mended_ensembles_and_members_are_accepted(world: World) -> None:
    world.apply(chain("mended", "judge", "plain", "absent"))
    world.wait_condition("TritonModel", "mended", "Accepted", "False", reason="InvalidEnsemble")

    world.apply(model("absent", CODE, on="judge"))

    world.wait_condition("TritonModel", "mended", "Accepted", "True")


def test_a_refused_change_keeps_what_serves(world: World) -> None:
    world.apply(model("served", CODE))
    world.wait_ready("served")

    world.patch("TritonModel", "served", {"config": {"responseCache": {"enable": True}}})

    refused = world.wait_condition(
        "TritonModel", "served", "Accepted", "False", reason="ResponseCacheOff"
    )
    assert "keeps serving" in refused["message"]
    world.wait_answer("served", "served", 2.0)
    world.patch("TritonModel", "served", {"config": {"responseCache": None}})
    world.wait_ready("served")
