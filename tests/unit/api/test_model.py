"""``TritonModel`` as a value."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.api.cases import SHARED, VERSIONS, model
from triton_operator.api.model import TritonModel, TritonModelStatus
from triton_operator.errors import InvalidSpecError


def test_a_model_is_called_like_its_object_unless_it_says_otherwise() -> None:
    assert TritonModel.parse(model("resnet50")).model_name == "resnet50"
    assert TritonModel.parse(model("resnet50", modelName="ResNet_50")).model_name == "ResNet_50"


def test_a_model_without_a_reference_owns_a_server_of_its_own_name() -> None:
    own = TritonModel.parse(model("resnet50"))
    shared = TritonModel.parse(model("resnet50", **SHARED))

    assert (own.owns_server, own.server_name) == (True, "resnet50")
    assert (shared.owns_server, shared.server_name) == (False, "vision")


def test_the_key_is_unique_in_the_cluster() -> None:
    assert TritonModel.parse(model("resnet50")).key == "default/resnet50"


def test_metadata_is_read_as_far_as_it_is_needed() -> None:
    body = model()
    body["metadata"] |= {
        "uid": "u",
        "generation": 3,
        "resourceVersion": "7",
        "labels": {"a": "b"},
        "finalizers": ["x"],
        "deletionTimestamp": "2026-01-02T03:04:05Z",
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "K", "name": "n", "uid": "o", "controller": True}
        ],
        "managedFields": [{}],
    }
    metadata = TritonModel.parse(body).metadata

    assert (metadata.uid, metadata.generation, metadata.resource_version) == ("u", 3, "7")
    assert metadata.deletion_timestamp == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert metadata.owner_references[0].controller


def test_unknown_fields_are_ignored() -> None:
    parsed = TritonModel.parse(model(config={"fromTheFuture": 1}, alsoUnknown=True))

    assert parsed.spec.config is not None
    assert parsed.spec.config.manifest() == {}


@pytest.mark.parametrize(
    "status",
    [
        "words",
        {"replicas": "many"},
        {"conditions": [{"type": "FromTheFuture"}]},
        {"conditions": {}},
        {"transition": "Elsewhere"},
        None,
    ],
)
def test_a_status_that_nobody_understands_is_an_empty_one(status: Any) -> None:
    assert TritonModel.parse({**model(), "status": status}).status == TritonModelStatus()


def test_every_mistake_is_named_with_its_path() -> None:
    body = model(
        config={"maxBatchSize": "x", "input": [{"dataType": "FP32"}]},
        versions=[{"version": 1, "source": {"uri": "s3://a"}}],
    )
    with pytest.raises(InvalidSpecError) as refusal:
        TritonModel.parse(body)

    for path in (
        "spec.config.maxBatchSize: ",
        "spec.config.input[0].dataType: ",
        "spec.versions[0].source.uri: ",
    ):
        assert path in str(refusal.value)


@pytest.mark.parametrize("body", [{}, {"metadata": {"name": "a"}}, {**model(), "spec": None}])
def test_an_object_without_a_spec_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpecError):
        TritonModel.parse(body)


@pytest.mark.parametrize("path", ["a\nb", "a/\x00", ".", "..", "a/", "x" * 513])
def test_a_file_has_one_printable_name(path: str) -> None:
    with pytest.raises(InvalidSpecError, match=r"spec\.files"):
        TritonModel.parse(model(files={path: ""}))


def test_a_file_is_not_a_folder_too() -> None:
    with pytest.raises(InvalidSpecError, match="rename one"):
        TritonModel.parse(model(files={"a": "", "a/b": ""}))


def test_a_name_does_not_end_in_a_line_break() -> None:
    with pytest.raises(InvalidSpecError, match="modelName"):
        TritonModel.parse(model(modelName="a\n"))


def test_a_spec_is_written_as_it_was_read() -> None:
    spec = {"versions": VERSIONS, "config": {"dynamicBatching": {}}, **SHARED}

    assert TritonModel.parse(model(**spec)).spec.manifest() == spec


def test_a_status_is_written_whole() -> None:
    written = TritonModelStatus(loaded="0/1", replicas=1).manifest()

    assert (written["loadedReplicas"], written["conditions"]) == (0, [])
    assert "lastFailure" not in written
