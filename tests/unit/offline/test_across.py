"""What needs several objects to see is found where it is, once, and only if it is there."""

import pytest

from tests.unit.api.cases import Manifest, model, server
from tests.unit.offline.files import (
    PYTHON,
    documents_of,
    ensemble,
    in_pool,
    member,
    mistakes,
    pool,
    report_on,
    step,
    tensors,
)
from triton_operator.api.server import TritonServer
from triton_operator.observed import ModelRecord
from triton_operator.offline.check import check
from triton_operator.offline.documents import read_documents
from triton_operator.offline.findings import Finding
from triton_operator.plan.acceptance import Rejected, judge_models

GOOD = ensemble("e", step("m", into="A", out="x"), step("n", into="x", out="B"))
CYCLE = (
    ensemble("e", step("f", into="A", out="B")),
    ensemble("f", step("e", into="A", out="B")),
)
WRONG: dict[str, tuple[list[Manifest], set[tuple[str, str, str]]]] = {
    "no response cache": (
        [in_pool("a", config={"responseCache": {"enable": True}})],
        {("a", "ResponseCacheOff", "spec.config.responseCache")},
    ),
    "response cache in a text": (
        [in_pool("a", configText="response_cache { enable: true }")],
        {("a", "ResponseCacheOff", "spec.configText")},
    ),
    "GPUs": (
        [in_pool("a", config={"instanceGroup": [{"gpus": [0]}, {"gpus": [1]}, {"gpus": [9]}]})],
        {
            ("a", "GPUNotAvailable", "spec.config.instanceGroup[1].gpus"),
            ("a", "GPUNotAvailable", "spec.config.instanceGroup[2].gpus"),
        },
    ),
    "several at once": (
        [in_pool("a", config={"backend": "python", "instanceGroup": [{"gpus": [1]}],
                              "responseCache": {"enable": True}},
                 versions=[{"version": 1, "files": {"x": "y"}},
                           {"version": 2, "files": {"x": "y"}}])],
        {
            ("a", "ResponseCacheOff", "spec.config.responseCache"),
            ("a", "GPUNotAvailable", "spec.config.instanceGroup[0].gpus"),
            ("a", "InvalidSpec", "spec.versions"),
        },
    ),
    "name of the config": (
        [in_pool("a", config={"name": "b"})],
        {("a", "InvalidSpec", "spec.config")},
    ),
    "text that does not parse": (
        [in_pool("a", configText="max_batch_size: 1\nbackend python")],
        {("a", "InvalidSpec", "spec.configText")},
    ),
    "path in a text": (
        [in_pool("a", configText='default_model_filename: "../x"')],
        {("a", "InvalidSpec", "spec.configText.defaultModelFilename")},
    ),
    "name taken": (
        [in_pool("a"), in_pool("b", modelName="a")],
        {("b", "ModelNameTaken", "spec.modelName")},
    ),
    "missing members": (
        [ensemble("e", step("x", into="A", out="t"), step("y", into="t", out="B"))],
        {("e", "InvalidEnsemble", "spec.config.ensembleScheduling")},
    ),
    "types": (
        [GOOD, member("m"), member("n", input=tensors("IN", 3, kind="TYPE_INT8"))],
        {("e", "InvalidEnsemble", "spec.config.ensembleScheduling")},
    ),
    "batching": (
        [GOOD, member("m", maxBatchSize=2), member("n")],
        {("e", "InvalidEnsemble", "spec.config.ensembleScheduling")},
    ),
    "version of a member": (
        [ensemble("e", step("m", into="A", out="B") | {"modelVersion": 7}), member("m")],
        {("e", "InvalidEnsemble", "spec.config.ensembleScheduling")},
    ),
    "input that no step takes": (
        [ensemble("e", step("m", into="A", out="B"),
                  input=[*tensors("A", 3), *tensors("Z", 3)]), member("m")],
        {("e", "InvalidEnsemble", "spec.config.ensembleScheduling")},
    ),
    "circle": (
        list(CYCLE),
        {
            ("e", "InvalidEnsemble", "spec.config.ensembleScheduling"),
            ("f", "InvalidEnsemble", "spec.config.ensembleScheduling"),
        },
    ),
}  # fmt: skip


def keys(found: tuple[Finding, ...]) -> set[tuple[str, str, str]]:
    return {(finding.name, finding.reason, finding.field) for finding in found}


@pytest.mark.parametrize(("models", "expected"), WRONG.values(), ids=WRONG)
def test_what_the_operator_would_reject_is_found(
    models: list[Manifest], expected: set[tuple[str, str, str]]
) -> None:
    assert keys(mistakes(pool(), *models)) == expected


@pytest.mark.parametrize(("models", "expected"), WRONG.values(), ids=WRONG)
def test_the_operator_rejects_these_models_indeed(
    models: list[Manifest], expected: set[tuple[str, str, str]]
) -> None:
    verdicts = judge_models(TritonServer.parse(pool()), map(ModelRecord.parse, models))

    rejected = {v.record.meta.name for v in verdicts if isinstance(v, Rejected)}
    assert rejected == {name for name, _, _ in expected}


@pytest.mark.parametrize(
    "models",
    [
        [GOOD, member("m"), member("n")],
        [GOOD, in_pool("m"), member("n")],
        [in_pool("a", config={"name": "a"})],
        [in_pool("a"), model("b", modelName="a")],
        [in_pool("a"), in_pool("a") | {"metadata": {"name": "a", "namespace": "other"}}],
    ],
)
def test_what_the_operator_would_serve_is_fine(models: list[Manifest]) -> None:
    other = server("pool") | {"metadata": {"name": "pool", "namespace": "other"}}

    assert report_on(pool(), other, *models).findings == ()


def test_each_missing_member_is_told_at_its_step() -> None:
    objects = pool(), ensemble("e", step("x", into="A", out="t"), step("y", into="t", out="B"))
    (_, document) = documents_of(*objects)

    path = "spec.config.ensembleScheduling.step"
    places = [finding.place for finding in mistakes(*objects)]
    assert places == [document.place(f"{path}[0]"), document.place(f"{path}[1]")]


def test_a_version_that_a_member_does_not_serve_is_told_where_it_is_asked_for() -> None:
    wrong = step("m", into="A", out="B") | {"modelVersion": 7}
    objects = pool(), ensemble("e", wrong), member("m")
    (_, document, _) = documents_of(*objects)

    (found,) = mistakes(*objects)
    assert found.place == document.place("spec.config.ensembleScheduling.step[0].modelVersion")


def test_a_member_with_a_mistake_is_no_mistake_of_its_ensemble() -> None:
    bad = member("m") | {"spec": member("m")["spec"] | {"versions": [{"version": 0}]}}
    name = in_pool("n", config={"backend": "python", "name": "z"})

    assert {finding.name for finding in mistakes(pool(), GOOD, bad, name)} == {"m", "n"}


def test_all_problems_of_an_ensemble_are_told() -> None:
    wrong = ensemble(
        "e",
        step("m", into="nowhere", out="x") | {"outputMap": {"OUT": "x", "NO": "y"}},
        step("n", into="x", out="C"),
        maxBatchSize=8,
    )

    found = [finding.message for finding in mistakes(pool(), wrong, member("m"), member("n"))]

    for words in ("'nowhere'", "'NO'", "'B'", "'m'; lower it", "'n'; lower it"):
        assert any(words in message for message in found), words
    assert len(found) == 5


def test_the_line_of_a_mistake_in_a_text_is_told() -> None:
    text = """\
apiVersion: triton-operator.io/v1alpha1
kind: TritonModel
metadata: {name: a}
spec:
  serverRef: {name: pool}
  configText: |
    backend: "python"

    max_batch_size: "x"
  versions: [{version: 1, files: {model.py: pass}}]
"""
    (finding,) = check([read_documents("f", text)]).report.mistakes

    assert finding.place.line == 9
    assert "Couldn't parse integer" in finding.message


def test_a_server_that_is_not_among_the_files_is_a_warning_unless_strict() -> None:
    lenient, strict = report_on(in_pool("a")), report_on(in_pool("a"), strict=True)

    assert keys(lenient.warnings) == {("a", "ServerNotFound", "spec.serverRef.name")}
    assert lenient.mistakes == ()
    assert keys(strict.mistakes) == keys(lenient.warnings)


def test_without_its_server_a_model_is_judged_as_far_as_can_be() -> None:
    gpus = in_pool(
        "a", config={"responseCache": {"enable": True}, "instanceGroup": [{"gpus": [3]}]}
    )
    alone = ensemble("e", step("x", into="A", out="B"))
    types = [GOOD, member("m"), member("n", input=tensors("IN", 4))]

    assert mistakes(gpus) == ()
    assert mistakes(alone) == ()
    assert len(report_on(alone).warnings) == 2
    assert keys(mistakes(*types)) == {("e", "InvalidEnsemble", "spec.config.ensembleScheduling")}


def test_a_server_with_mistakes_still_has_its_models_judged() -> None:
    found = mistakes(pool(gpus=99), in_pool("a", config={"name": "b"}))

    assert {(finding.name, finding.field) for finding in found} == {
        ("pool", "spec.gpus"),
        ("a", "spec.config"),
    }


def test_models_of_another_namespace_are_served_by_another_server() -> None:
    there = in_pool("a") | {"metadata": {"name": "a", "namespace": "there"}}

    assert keys(mistakes(pool(), there, strict=True)) == {
        ("a", "ServerNotFound", "spec.serverRef.name")
    }
    assert (
        report_on(pool() | {"metadata": {"name": "pool"}}, there, namespace="there").findings == ()
    )


def test_an_own_server_cannot_have_the_name_of_a_given_one() -> None:
    found = mistakes(server("a"), model("a", versions=PYTHON))

    assert keys(found) == {("a", "ServerNameTaken", "metadata.name")}


def test_an_object_that_comes_twice_is_told_with_the_place_of_the_first() -> None:
    (finding,) = mistakes(pool(), pool())

    assert finding.reason == "Repeated"
    assert "f.yaml:1" in finding.message


def test_files_that_no_config_map_can_hold_are_a_mistake() -> None:
    files = {f"{i}.txt": "x" * 250_000 for i in range(4)}
    small, large = in_pool("a"), in_pool("b", files=files | {"c": "x" * 60_000})

    assert keys(mistakes(pool(), small, in_pool("b", files=files))) == set()
    assert keys(mistakes(pool(), small, large)) == {("b", "TooLarge", "spec.versions")}


AUTOSCALING = {"maxReplicas": 4, "targetQueueTimeMilliseconds": 500}


@pytest.mark.parametrize(
    "llm",
    [
        {"config": {"backend": "python", "modelTransactionPolicy": {"decoupled": True}}},
        {"configText": 'backend: "python" model_transaction_policy { decoupled: true }'},
        {"config": {"backend": "vllm"}},  # which makes it so
    ],
)
def test_autoscaling_by_a_load_that_cannot_be_seen_is_a_warning(llm: Manifest) -> None:
    report = report_on(pool(autoscaling=AUTOSCALING), in_pool("a"), in_pool("llm", **llm))

    assert report.mistakes == ()
    (warning,) = report.warnings
    assert (warning.kind, warning.field) == ("TritonServer", "spec.autoscaling")
    assert warning.message.startswith("the load of llm cannot be seen: it is decoupled")
    assert report_on(pool(replicas=2), in_pool("llm", **llm)).warnings == ()


def test_objects_of_other_kinds_are_counted() -> None:
    report = report_on(pool(), {"apiVersion": "v1", "kind": "Secret"}, in_pool("a"))

    assert (report.models, report.servers, report.passed_over) == (1, 1, 1)
