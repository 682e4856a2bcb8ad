"""Every mistake of an object is told, in one run, in its line."""

from typing import Any

import pytest
import yaml

from tests.unit.api.cases import ACCEPTED, REFUSED, Manifest, Refused, model, server
from triton_operator.offline.documents import read_documents
from triton_operator.offline.findings import Finding
from triton_operator.offline.single import check_object


def check(manifest: Manifest | str) -> tuple[Finding, ...]:
    text = manifest if isinstance(manifest, str) else yaml.safe_dump(manifest, sort_keys=False)
    (document,) = read_documents("f.yaml", text)
    return check_object(document)


def line_of(manifest: Manifest, words: str) -> int:
    lines = yaml.safe_dump(manifest, sort_keys=False).splitlines()
    (number,) = (i for i, line in enumerate(lines, 1) if words in line)
    return number


@pytest.mark.parametrize("manifest", ACCEPTED.values(), ids=ACCEPTED)
def test_a_good_object_has_no_mistake(manifest: Manifest) -> None:
    assert check(manifest) == ()


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_admission_refuses_is_found_once(case: Refused) -> None:
    (finding,) = check(case.manifest)

    assert case.words in f"{finding.field}: {finding.message}"
    assert case.path in finding.field


def test_all_mistakes_of_one_object_are_found_in_one_run() -> None:
    manifest = model(
        modelName="a/b",
        serverRef={"name": "x"},
        server={},
        config={"dynamicBatching": {"maxBatchSize": 8}, "maxBatchSize": "8"},
        configText="",
        versions=[{"version": 0}, {"version": 1, "files": {"../x": "y"}}],
        unknown=1,
    )

    found = {(finding.field, finding.place.line) for finding in check(manifest)}

    assert found == {
        ("spec.modelName", line_of(manifest, "modelName")),
        ("spec", line_of(manifest, "serverRef:")),
        ("spec", line_of(manifest, "config:")),
        ("spec.config.dynamicBatching.maxBatchSize", line_of(manifest, "maxBatchSize: 8")),
        ("spec.config.maxBatchSize", line_of(manifest, "maxBatchSize: '8'")),
        ("spec.versions[0]", line_of(manifest, "version: 0")),
        ("spec.versions[0].version", line_of(manifest, "version: 0")),
        ("spec.versions[1].files", line_of(manifest, "files:")),
        ("spec.unknown", line_of(manifest, "unknown")),
    }
    messages = [finding.message for finding in check(manifest) if finding.field == "spec"]
    assert [message.split(" and ")[0] for message in messages] == ["config", "serverRef"]


def test_a_broken_rule_in_a_field_hides_no_rule_above_it() -> None:
    manifest = server(args=["-x"], replicas=1, autoscaling={"minReplicas": 9, "maxReplicas": 2})

    assert {finding.field for finding in check(manifest)} == {
        "spec.args[0]",
        "spec",
        "spec.autoscaling",
    }


def test_a_rule_is_not_believed_about_what_cannot_be_read() -> None:
    bad_source = {"version": 1, "source": {"uri": 3}}
    bad_gpus = model(server={"gpus": "two"}, config={"instanceGroup": [{"gpus": [5]}]})

    assert [f.field for f in check(model(versions=[bad_source]))] == ["spec.versions[0].source.uri"]
    assert [f.field for f in check(bad_gpus)] == ["spec.server.gpus"]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"kind": "TritonModl"}, "kind", "unknown kind"),
        ({"apiVersion": "triton-operator.io/v1"}, "apiVersion", "must be"),
        ({"specs": {}}, "specs", "unknown field"),
        ({"metadata": {"name": "A_b"}}, "metadata.name", "lower-case"),
        ({"metadata": {"name": "a", "namespace": "b.c"}}, "metadata.namespace", "namespace"),
        ({"metadata": {"name": "a", "labels": {"a": 1}}}, "metadata.labels.a", "string"),
        ({"metadata": {"generateName": "a"}}, "metadata.name", "required"),
        ({"metadata": None}, "metadata", ""),
        ({"spec": None}, "spec", "must be of type object"),
        ({"spec": ["a"]}, "spec", "must be of type object"),
    ],
)
def test_the_frame_of_an_object_is_checked(change: Any, field: str, words: str) -> None:
    found = {finding.field: finding.message for finding in check(model() | change)}

    assert words in found[field]
    assert len(found) == 1


def test_a_field_given_twice_is_a_mistake() -> None:
    text = yaml.safe_dump(server(gpus=1)) + "  gpus: 2\n"

    (finding,) = check(text)

    assert finding.field == "spec.gpus"
    assert finding.place.line == len(text.splitlines())
