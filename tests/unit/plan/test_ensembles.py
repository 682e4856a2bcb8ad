"""Ensembles: the mistakes of the guides, and what Triton takes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from tests.unit.plan.values import ensemble, plain, proto, step
from tests.unit.samples.sample_files import FORMS, Form
from triton_operator.plan.ensembles import check_ensemble, load_order, members
from triton_operator.plan.versions import served_versions
from triton_operator.repository.config_pbtxt import build_config

IMAGE = {"image": ("FP32", [3, 224, 224])}
SCORES = {"scores": ("FP32", [1000])}
PREPARE = plain({"raw": ("UINT8", [-1])}, IMAGE, batch=8)
CLASSIFY = plain(IMAGE, SCORES, batch=8)
FIRST = step("prepare", {"raw": "RAW"}, {"image": "pixels"})
SECOND = step("classify", {"image": "pixels"}, {"scores": "SCORES"})
RAW_IN = {"RAW": ("UINT8", [-1])}
SCORES_OUT = {"SCORES": ("FP32", [1000])}
GOOD = ensemble(RAW_IN, SCORES_OUT, FIRST, SECOND, batch=8)


def problem(
    whole: dict[str, Any],
    versions: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
    **others: dict[str, Any],
) -> str | None:
    found = {"prepare": PREPARE, "classify": CLASSIFY} | others | {"whole": whole}
    configs = {name: proto(config) for name, config in found.items()}
    return check_ensemble("whole", configs, versions)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.id)
def test_the_ensembles_of_the_samples_are_taken(form: Form) -> None:
    configs = {name: build_config(model.spec, name) for name, model in form.models.items()}
    versions = {n: served_versions(form.models[n].spec, config) for n, config in configs.items()}

    wholes = [name for name in configs if members(configs[name])]
    assert [check_ensemble(name, configs, versions) for name in wholes] == [None for _ in wholes]


def test_a_good_ensemble_has_no_problem() -> None:
    assert problem(GOOD) is None


@pytest.mark.parametrize(
    ("whole", "words"),
    [
        (
            ensemble(RAW_IN, SCORES_OUT, FIRST, {**SECOND, "modelName": "clasify"}, batch=8),
            "step 2 calls model 'clasify', which no accepted TritonModel of this server serves;"
            " it serves 'classify', 'prepare'",
        ),
        (
            ensemble(RAW_IN, SCORES_OUT, FIRST, SECOND),
            "members of this ensemble batch, so it needs a maxBatchSize of its own",
        ),
        (ensemble(RAW_IN, SCORES_OUT, FIRST, SECOND, batch=16), "lower it to 8"),
        (
            ensemble({"RAW": ("FP32", [-1])}, SCORES_OUT, FIRST, SECOND, batch=8),
            "types differ at tensor 'RAW': the ensemble's input 'RAW' is TYPE_FP32[-1]",
        ),
        (
            ensemble(RAW_IN, {"SCORES": ("FP32", [10])}, FIRST, SECOND, batch=8),
            "shapes differ at tensor 'SCORES'",
        ),
        (
            ensemble(RAW_IN, {"SCORES": ("FP32", [1, 1000])}, FIRST, SECOND, batch=8),
            "shapes differ at tensor 'SCORES'",
        ),
        (
            ensemble(RAW_IN, {"labels": ("FP32", [1000])}, FIRST, SECOND, batch=8),
            "no step makes the ensemble's output 'labels'",
        ),
        (
            ensemble(RAW_IN, SCORES_OUT, {**FIRST, "inputMap": {"x": "RAW"}}, SECOND, batch=8),
            "leaves out input 'raw'",
        ),
        (
            ensemble(
                RAW_IN,
                SCORES_OUT,
                {**FIRST, "inputMap": {"raw": "RAW", "x": "RAW"}},
                SECOND,
                batch=8,
            ),
            "inputMap of the step 'prepare' names input 'x'; the model has 'raw'",
        ),
        (
            ensemble(RAW_IN, SCORES_OUT, {**FIRST, "outputMap": {"img": "pixels"}}, SECOND),
            "outputMap of the step 'prepare' names output 'img'; the model has 'image'",
        ),
        (
            ensemble(RAW_IN, SCORES_OUT, FIRST, {**SECOND, "inputMap": {"image": "pxls"}}, batch=8),
            "step 2 ('classify') needs tensor 'pxls', which is neither",
        ),
        (
            ensemble(RAW_IN, SCORES_OUT, FIRST, FIRST, SECOND, batch=8),
            "tensor 'pixels' is made twice",
        ),
        (
            ensemble(
                RAW_IN | {"pixels": ("FP32", [3, 224, 224])}, SCORES_OUT, FIRST, SECOND, batch=8
            ),
            "tensor 'pixels' is made twice: by the ensemble's input 'pixels'",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(whole: dict[str, Any], words: str) -> None:
    assert words in str(problem(whole))


def test_members_that_disagree_are_named_both() -> None:
    other = plain({"image": ("FP32", [3, 299, 299])}, SCORES, batch=8)

    found = str(problem(GOOD, classify=other))

    assert "output 'image' of 'prepare' is TYPE_FP32[3, 224, 224]" in found
    assert "input 'image' of 'classify' is TYPE_FP32[3, 299, 299]" in found


def test_a_dimension_of_any_size_fits_every_size() -> None:
    assert problem(GOOD, classify=plain({"image": ("FP32", [3, -1, -1])}, SCORES, batch=8)) is None


def test_a_member_that_does_not_batch_may_spell_the_batch_dimension_out() -> None:
    spelled = plain({"image": ("FP32", [-1, 3, 224, 224])}, {"scores": ("FP32", [-1, 1000])})

    assert problem(GOOD, classify=spelled) is None


def test_an_ensemble_that_does_not_batch_may_spell_the_batch_dimension_out() -> None:
    inputs, outputs = {"RAW": ("UINT8", [1, -1])}, {"SCORES": ("FP32", [1, 1000])}

    assert problem(ensemble(inputs, outputs, FIRST, SECOND)) is None


def test_an_optional_input_may_be_left_out() -> None:
    config = plain(IMAGE | {"mask": ("FP32", [224, 224])}, SCORES, batch=8)
    assert "leaves out input 'mask'" in str(problem(GOOD, classify=config))

    config["input"][1]["optional"] = True
    assert problem(GOOD, classify=config) is None


def test_members_that_declare_nothing_are_not_judged() -> None:
    undeclared = {"backend": "onnxruntime"}

    assert problem(GOOD, prepare=undeclared, classify=undeclared) is None
    assert problem(GOOD, classify={"backend": "onnxruntime", "maxBatchSize": 1}) is None


def test_a_step_that_asks_for_a_version_which_its_member_does_not_serve_is_named() -> None:
    pinned = ensemble(RAW_IN, SCORES_OUT, FIRST, {**SECOND, "modelVersion": 7}, batch=8)

    assert problem(pinned, {"prepare": (1,), "classify": (1, 2)}) == (
        "step 2 asks for modelVersion 7 of 'classify', which serves 1, 2; set it to what is served"
        " or to -1, the latest, or have the member serve it (its versions and config.versionPolicy)"
    )
    assert problem(pinned, {"prepare": (1,), "classify": (1, 7)}) is None
    # What the member serves is not known, where its own spec is not accepted.
    assert problem(pinned, {"prepare": (1,)}) is None
    assert problem(GOOD, {"prepare": (1,), "classify": (3,)}) is None


def test_an_input_that_no_step_takes_is_a_mistake() -> None:
    whole = ensemble(RAW_IN | {"Z": ("FP32", [1])}, SCORES_OUT, FIRST, SECOND, batch=8)

    assert problem(whole) == (
        "no step takes the ensemble's input 'Z'; map it in an inputMap or take it out"
    )


def test_a_tensor_that_no_step_takes_is_a_mistake_unless_the_ensemble_gives_it() -> None:
    third = step("classify", {"image": "pixels"}, {"scores": "again"})
    whole = ensemble(RAW_IN, SCORES_OUT, FIRST, SECOND, third, batch=8)
    both = ensemble(RAW_IN, SCORES_OUT | {"again": ("FP32", [1000])}, FIRST, SECOND, third, batch=8)

    assert problem(whole) == ("no step takes tensor 'again'; map it in an inputMap or take it out")
    assert problem(both) is None


def test_steps_that_wait_for_each_other_are_a_circle() -> None:
    """Told before what no step takes, which may be why."""
    both = {"a": ("FP32", [1]), "b": ("FP32", [1])}
    join = plain(both, {"c": ("FP32", [1])})
    whole = ensemble(
        {"X": ("FP32", [1]), "unused": ("FP32", [1])},
        {"Y": ("FP32", [1])},
        step("join", {"a": "X", "b": "z"}, {"c": "y"}),
        step("pass", {"a": "y"}, {"c": "z"}),
        step("pass", {"a": "y"}, {"c": "Y"}),
    )

    found = problem(whole, join=join, **{"pass": plain({"a": ("FP32", [1])}, {"c": ("FP32", [1])})})

    assert found == "the steps 'join', 'pass' wait for each other's outputs; take the circle out"


def test_an_ensemble_that_calls_itself_is_refused_however_far_around() -> None:
    def calls(name: str) -> dict[str, Any]:
        return ensemble({}, {}, step(name, {}, {}))

    assert "whole → whole" in str(problem(calls("whole")))
    assert "whole → a → b → whole" in str(problem(calls("a"), a=calls("b"), b=calls("whole")))


def test_the_circle_of_others_does_not_hang_the_check() -> None:
    def calls(name: str) -> dict[str, Any]:
        return ensemble({}, {}, step(name, {}, {}))

    assert problem(calls("a"), a=calls("b"), b=calls("a")) is None


def test_members_are_loaded_before_what_calls_them() -> None:
    configs = {
        "outer": proto(ensemble({}, {}, step("inner", {}, {}), step("c", {}, {}))),
        "inner": proto(ensemble({}, {}, step("b", {}, {}), step("missing", {}, {}))),
        "b": proto(PREPARE),
        "c": proto(CLASSIFY),
    }

    assert load_order(configs) == (("b", "c"), ("inner",), ("outer",))
    assert load_order({}) == ()


def test_a_circle_still_has_an_order() -> None:
    circle = {
        "a": proto(ensemble({}, {}, step("b", {}, {}))),
        "b": proto(ensemble({}, {}, step("a", {}, {}))),
        "c": proto(PREPARE),
    }

    assert load_order(circle) == (("c",), ("a", "b"))
