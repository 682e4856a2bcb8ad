"""Which models of a server can be served as written."""

from typing import Any

import pytest

from tests.unit.plan.values import ensemble, hash_of, model, plain, server, step
from triton_operator.api.model import TritonModelStatus
from triton_operator.observed import ModelRecord
from triton_operator.plan.acceptance import Accepted, Rejected, judge_models
from triton_operator.repository.config_pbtxt import parse_text

GPU = {"instanceGroup": [{"kind": "KIND_GPU", "gpus": [1]}]}
CALL = step("member", {"x": "X"}, {"y": "Y"})
ENDS = ({"X": ("FP32", [1])}, {"Y": ("FP32", [1])})
ENSEMBLE = ensemble(*ENDS, CALL)
MEMBER = plain({"x": ("FP32", [1])}, {"y": ("FP32", [1])})


def judge(*records: ModelRecord, **spec: Any) -> dict[str, str]:
    """Reason by model, "" for one that is accepted."""
    return {
        verdict.record.meta.name: verdict.reason if isinstance(verdict, Rejected) else ""
        for verdict in judge_models(server(**spec), records)
    }


def message(record: ModelRecord, **spec: Any) -> str:
    (verdict,) = judge_models(server(**spec), [record])
    assert isinstance(verdict, Rejected)
    return verdict.message


def accepted(record: ModelRecord) -> Accepted:
    (verdict,) = judge_models(server(), [record])
    assert isinstance(verdict, Accepted), verdict
    return verdict


def backend(*allowed: str, **spec: Any) -> str:
    """What is said of a model where some backends are allowed; empty if nothing."""
    (verdict,) = judge_models(server(), [model("m", **spec)], backends=allowed)
    if isinstance(verdict, Accepted):
        return ""
    assert verdict.reason == "BackendNotAllowed"
    return verdict.message


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"config": {"backend": "python"}}, "config.backend: python is not"),
        ({"config": {"platform": "pytorch_libtorch"}}, "config.platform: pytorch_libtorch is not"),
        # What is empty Triton chooses by the files, and python is what runs `model.py`.
        ({}, "config.backend: the one that is named must be"),
        ({"config": {"maxBatchSize": 1}}, "config.backend: the one that is named must be"),
        ({"configText": ""}, "configText: the one that is named must be"),
        # No pattern over the text would find these.
        ({"configText": "backend: \"pyt\" 'hon'"}, "configText: python is not"),
        (
            {"configText": '# backend: "tensorrt"\nbackend: "\\x70ython"'},
            "configText: python is not",
        ),
        # Triton looks at the backend first.
        (
            {"config": {"backend": "python", "platform": "tensorrt"}},
            "config.backend: python is not",
        ),
    ],
)
def test_a_backend_that_the_administrator_does_not_allow_is_refused(
    spec: dict[str, Any], said: str
) -> None:
    rest = "among the backends that the administrator allows: tensorrt, onnxruntime"
    message = backend("tensorrt", "onnxruntime", **spec)
    assert message.startswith(f"{said} {rest} (security.allowedBackends")


@pytest.mark.parametrize("steps", ["", 'step { model_name: "a" model_version: -1 }'])
def test_a_backend_cannot_hide_behind_the_platform_of_an_ensemble(steps: str) -> None:
    hidden = f'backend: "python" platform: "ensemble" ensemble_scheduling {{ {steps} }}'
    for text in (hidden, hidden.partition("ensemble_scheduling")[0]):
        (verdict,) = judge_models(server(), [model("m", configText=text)], backends=["tensorrt"])
        assert isinstance(verdict, Rejected)
        assert verdict.reason == "InvalidSpec"


@pytest.mark.parametrize(
    "spec",
    [
        {"config": {"backend": "tensorrt"}},
        {"config": {"platform": "tensorrt_plan"}},
        {"config": {"backend": "tensorrt", "platform": "any"}},
        {"configText": 'backend: "tensorrt"'},
    ],
)
def test_a_backend_that_the_administrator_allows_is_taken(spec: dict[str, Any]) -> None:
    assert backend("tensorrt", "tensorrt_plan", **spec) == ""
    assert backend(**spec) == ""


def test_an_ensemble_runs_no_backend() -> None:
    records = [model("e", config=ENSEMBLE), model("member", config=MEMBER)]
    verdicts = judge_models(server(), records, backends=["python"])
    assert [type(each) for each in verdicts] == [Accepted, Accepted]


@pytest.mark.parametrize(
    ("spec", "server_spec", "reason", "words"),
    [
        ({"modelName": "a/b"}, {}, "InvalidSpec", "spec.modelName"),
        ({"config": {"name": "other"}}, {}, "InvalidSpec", "name is 'other'"),
        ({"configText": "name: 'x"}, {}, "InvalidSpec", "spec.configText: 1:"),
        (
            {"config": {"responseCache": {"enable": True}}},
            {},
            "ResponseCacheOff",
            "set its spec.responseCache",
        ),
        (
            {"config": {"instanceGroup": [{"kind": "KIND_GPU"}]}},
            {"gpus": 0},
            "GPUNotAvailable",
            "config.instanceGroup[0].kind is KIND_GPU",
        ),
        ({"config": GPU}, {"gpus": 1}, "GPUNotAvailable", "names GPU 1"),
        (
            {"configText": "instance_group { gpus: 1 }"},
            {"gpus": 1},
            "GPUNotAvailable",
            "see only 1",
        ),
        (
            {"config": {"backend": "python"}, "versions": [{"version": 2, "files": {"a.py": ""}}]},
            {},
            "InvalidSpec",
            "version 2 of a python model needs 'model.py'",
        ),
        ({"config": ENSEMBLE}, {}, "InvalidEnsemble", "step 1 calls model 'member'"),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_reason(
    spec: dict[str, Any], server_spec: dict[str, Any], reason: str, words: str
) -> None:
    record = model(**spec)

    assert judge(record, **server_spec) == {"resnet": reason}
    assert words in message(record, **server_spec)


@pytest.mark.parametrize(
    ("spec", "server_spec"),
    [
        ({}, {}),
        ({"config": GPU}, {"gpus": 2}),
        ({"config": {"instanceGroup": [{"kind": "KIND_CPU"}]}}, {"gpus": 0}),
        ({"config": {"responseCache": {"enable": True}}}, {"responseCache": {"size": "1Mi"}}),
        ({"config": {"responseCache": {}}}, {}),
    ],
)
def test_what_fits_its_server_is_accepted(
    spec: dict[str, Any], server_spec: dict[str, Any]
) -> None:
    assert judge(model(**spec), **server_spec) == {"resnet": ""}


def test_the_older_of_two_models_of_one_name_has_it() -> None:
    newer = model("a", created=2, modelName="resnet")
    older = model("b", created=1, modelName="resnet")

    assert judge(newer, older) == {"a": "ModelNameTaken", "b": ""}
    assert judge(older, newer) == {"a": "ModelNameTaken", "b": ""}


def test_models_are_ordered_by_creation_and_then_by_name() -> None:
    records = [model("c", created=1), model("b", created=1), model("a", created=12)]

    found = judge_models(server(), records)

    assert [verdict.record.meta.name for verdict in found] == ["b", "c", "a"]


def test_an_ensemble_falls_with_its_member_and_takes_those_above_along() -> None:
    outer = ensemble(
        {"X": ("FP32", [1])}, {"Y": ("FP32", [1])}, step("whole", {"X": "X"}, {"Y": "Y"})
    )
    records = [
        model("outer", config=outer),
        model("whole", config=ENSEMBLE),
        model("bystander"),
    ]

    assert judge(*records, model("member", config=MEMBER)) == {
        "outer": "",
        "whole": "",
        "member": "",
        "bystander": "",
    }
    assert judge(*records, model("member", config=MEMBER | {"name": "other"})) == {
        "outer": "InvalidEnsemble",
        "whole": "InvalidEnsemble",
        "member": "InvalidSpec",
        "bystander": "",
    }


def test_the_generation_carries_its_own_hash() -> None:
    found = accepted(model(config={"backend": "onnxruntime"}, files={"labels.txt": "cat"}))

    config = parse_text(found.generation.config)
    assert config.name == "resnet"
    assert config.parameters["triton_operator_hash"].string_value == found.generation.hash
    assert found.generation.files == {"labels.txt": "cat"}
    assert found.generation.object == "resnet"


def test_the_hash_is_stable() -> None:
    one = accepted(model("a", modelName="resnet", config={"backend": "x", "maxBatchSize": 2}))
    two = accepted(model("b", modelName="resnet", configText="max_batch_size: 2 backend: 'x'"))

    assert one.generation.hash == two.generation.hash


BASE: dict[str, Any] = {
    "config": {"backend": "x"},
    "files": {"labels.txt": "cat"},
    "versions": [{"version": 1, "source": {"uri": "https://models.example/a"}}],
}


@pytest.mark.parametrize(
    "change",
    [
        {"modelName": "other"},
        {"config": {"backend": "y"}},
        {"files": {"labels.txt": "dog"}},
        {"files": {"names.txt": "cat"}},
        {"versions": [{"version": 2, "source": {"uri": "https://models.example/a"}}]},
        {"versions": [{"version": 1, "source": {"uri": "https://models.example/b"}}]},
        {
            "versions": [
                {"version": 1, "source": {"uri": "https://models.example/a", "sha256": "0" * 64}}
            ]
        },
        {
            "versions": [
                {
                    "version": 1,
                    "source": {"uri": "https://models.example/a"},
                    "files": {"a.txt": "b"},
                }
            ]
        },
    ],
    ids=lambda change: str(change)[:60],
)
def test_the_hash_is_another_for_whatever_changes_what_is_served(change: dict[str, Any]) -> None:
    before = accepted(model(**BASE)).generation.hash
    after = accepted(model(**(BASE | change))).generation.hash

    assert before != after


# ---- updates that would break what serves -----------------------------------------------------

TWO = ensemble(
    {"X": ("FP32", [1])},
    {"Y": ("FP32", [1])},
    step("first", {"x": "X"}, {"y": "between"}),
    step("second", {"x": "between"}, {"y": "Y"}),
)


def serving(name: str, config: dict[str, Any], *, was: dict[str, Any] | None = None) -> ModelRecord:
    """A model whose pods serve ``was``, and whose spec is ``config`` now."""
    good = (accepted_hash if "platform" in config else plain_hash)(name, was or config)
    status = TritonModelStatus(server="vision", model_name=name, config_hash=good)
    return model(name, config=config, status=status)


def plain_hash(name: str, config: dict[str, Any]) -> str:
    return hash_of(model(name, config=config))


def accepted_hash(name: str, config: dict[str, Any]) -> str:
    others = [model(each, config=MEMBER) for each in ("first", "second")]
    verdicts = judge_models(server(), [model(name, config=config), *others])
    (found,) = [v for v in verdicts if v.record.meta.name == name]
    assert isinstance(found, Accepted), found
    return found.generation.hash


def member(inner: str, *, of: str) -> dict[str, Any]:
    """The config of a member that takes or gives another type inside the ensemble."""
    taken, given = ("FP32", inner) if of == "first" else (inner, "FP32")
    return plain({"x": (taken, [1])}, {"y": (given, [1])})


def test_a_member_whose_new_tensors_an_ensemble_that_serves_cannot_take_is_held_back() -> None:
    found = judge(
        serving("whole", TWO),
        serving("first", member("FP64", of="first"), was=MEMBER),
        serving("second", MEMBER),
    )

    assert found == {"whole": "", "first": "BreaksEnsemble", "second": ""}


def test_only_the_member_to_blame_is_held_back() -> None:
    better = {**MEMBER, "maxBatchSize": 0, "dynamicBatching": {"maxQueueDelayMicroseconds": 2}}
    found = judge(
        serving("whole", TWO),
        serving("first", better, was=MEMBER),
        serving("second", member("FP64", of="second"), was=MEMBER),
    )

    assert found["second"] == "BreaksEnsemble"
    assert found["whole"] == ""


def test_members_that_fit_each_other_may_change_together() -> None:
    found = judge(
        serving("whole", TWO),
        serving("first", member("FP64", of="first"), was=MEMBER),
        serving("second", member("FP64", of="second"), was=MEMBER),
    )

    assert set(found.values()) == {""}


BOTH = {**MEMBER, "versionPolicy": {"specific": {"versions": [1, 2]}}}


def calling(version: int) -> dict[str, Any]:
    """The config of an ensemble whose one step asks for a version of ``member``."""
    return {**ENSEMBLE, "ensembleScheduling": {"step": [{**CALL, "modelVersion": version}]}}


def pinning(version: int) -> ModelRecord:
    """An ensemble of which one that asks for version 1 serves, and that is to ask for another."""
    verdicts = judge_models(
        server(), [model("member", config=MEMBER), model("whole", config=calling(1))]
    )
    (good,) = [v for v in verdicts if isinstance(v, Accepted) and v.record.meta.name == "whole"]
    status = TritonModelStatus(
        server="vision", model_name="whole", config_hash=good.generation.hash
    )
    return model("whole", config=calling(version), status=status)


def serves_one(*versions: int, config: dict[str, Any] = MEMBER) -> ModelRecord:
    """A member whose version 1 is served, and whose spec has these."""
    status = TritonModelStatus(
        server="vision",
        model_name="member",
        config_hash=hash_of(model("member", config=MEMBER)),
    )
    listed = [{"version": v, "files": {"model.py": "pass"}} for v in versions]
    return model("member", config=config, versions=listed, status=status)


def test_an_ensemble_may_not_ask_for_a_version_that_its_member_does_not_serve() -> None:
    assert judge(pinning(7), serves_one(1)) == {"whole": "InvalidEnsemble", "member": ""}


def test_a_version_that_the_policy_leaves_out_is_not_served() -> None:
    files = {"model.py": "pass"}
    versions = [{"version": 2, "files": files}, {"version": 1, "files": files}]
    whole = model("whole", config=calling(1))

    assert judge(whole, model("member", config=MEMBER, versions=versions)) == {
        "whole": "InvalidEnsemble",
        "member": "",
    }
    assert set(judge(whole, model("member", config=BOTH, versions=versions)).values()) == {""}


@pytest.mark.parametrize("versions", [(2,), (1, 2)], ids=["replaced", "not the latest any more"])
def test_a_member_that_would_lose_the_version_that_an_ensemble_asks_for_is_held_back(
    versions: tuple[int, ...],
) -> None:
    held, whole = judge_models(server(), [pinning(1), serves_one(*versions)])

    assert isinstance(whole, Accepted)
    assert isinstance(held, Rejected)
    assert held.reason == "BreaksEnsemble"
    assert "'whole', which serves: step 1 asks for modelVersion 1 of 'member'" in held.message


def test_a_member_may_gain_a_version_or_change_together_with_who_asks_for_it() -> None:
    assert set(judge(pinning(1), serves_one(1, 2, config=BOTH)).values()) == {""}
    assert set(judge(pinning(2), serves_one(2)).values()) == {""}
    assert set(judge(pinning(-1), serves_one(2)).values()) == {""}


def test_an_ensemble_that_does_not_serve_holds_nobody_back() -> None:
    found = judge(
        model("whole", config=TWO),
        serving("first", member("FP64", of="first"), was=MEMBER),
        serving("second", MEMBER),
    )

    assert found == {"whole": "InvalidEnsemble", "first": "", "second": ""}


def test_an_ensemble_is_orphaned_only_when_no_model_has_the_name_that_it_calls() -> None:
    whole = model("whole", config=ENSEMBLE)

    def orphaned(*others: ModelRecord) -> list[bool]:
        found = judge_models(server(), [whole, *others])
        return [v.orphaned for v in found if isinstance(v, Rejected) and v.record == whole]

    outer = model("outer", config=ensemble(*ENDS, step("whole", {"X": "X"}, {"Y": "Y"})))

    assert orphaned() == [True]
    both = [v for v in judge_models(server(), [outer, whole]) if isinstance(v, Rejected)]
    assert [v.orphaned for v in both] == [True, True]
    assert orphaned(model("member", config={"name": "another"})) == [False]
    assert orphaned(model("member", config=plain({"z": ("FP32", [1])}, {}))) == [False]
    assert orphaned(model("member", config=MEMBER)) == []
