"""Nothing that is made for a server reaches out of its namespace, whatever its author writes."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.desired.servers import Case, every_case
from triton_operator.api.model import TritonModel
from triton_operator.api.server import TritonServer
from triton_operator.api.strict import find_mistakes
from triton_operator.desired.sync_mounts import source_claims
from triton_operator.errors import InvalidSpecError
from triton_operator.repository.manifest import Generation, Manifest, SourceRef, VersionContent

BODY = {"apiVersion": "triton-operator.io/v1alpha1"}
KINDS = {"TritonModel": TritonModel, "TritonServer": TritonServer}
FILES = [{"version": 1, "files": {"model.py": ""}}]


def model(**spec: Any) -> dict[str, Any]:
    meta = {"name": "m", "namespace": "team", "uid": "1"}
    return {**BODY, "kind": "TritonModel", "metadata": meta, "spec": {"versions": FILES, **spec}}


def server(**spec: Any) -> dict[str, Any]:
    meta = {"name": "s", "namespace": "team", "uid": "1"}
    return {**BODY, "kind": "TritonServer", "metadata": meta, "spec": spec}


def fields(value: Any, path: str = "") -> Iterator[str]:
    """The path of every field below a value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}.{key}"
            yield from fields(inner, f"{path}.{key}")
    if isinstance(value, list | tuple):
        for inner in value:
            yield from fields(inner, f"{path}[]")


@every_case
def test_no_object_names_another_namespace(case: Case) -> None:
    for made in case.objects():
        assert made["metadata"]["namespace"] == case.server.metadata.namespace
        named = [each for each in fields(made) if "namespace" in each.rpartition(".")[2].lower()]
        assert named == [".metadata.namespace"], made["kind"]


ELSEWHERE = {"name": "x", "namespace": "other"}


def source(**more: Any) -> dict[str, Any]:
    return model(versions=[{"version": 1, "source": {"uri": "s3://b/x", **more}}])


@pytest.mark.parametrize(
    "body",
    [
        model(serverRef=ELSEWHERE),
        source(secretRef=ELSEWHERE),
        server(repository={"sync": {"secretRef": ELSEWHERE}}),
        server(repository={"sync": {"caBundle": ELSEWHERE}}),
        server(repository={"claimName": "x", "namespace": "other"}),
    ],
    ids=["serverRef", "secretRef", "sync.secretRef", "caBundle", "repository"],
)
def test_no_reference_has_a_field_for_a_namespace(body: dict[str, Any]) -> None:
    kind = KINDS[body["kind"]]
    (mistake,) = find_mistakes(kind, body)
    assert "namespace: unknown field" in mistake
    assert "other" not in str(kind.parse(body).spec)


NAMES = ("other/x", "../x", "other.x/y", "x\ny", "")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "build",
    [
        lambda name: model(serverRef={"name": name}),
        lambda name: source(secretRef={"name": name}),
        lambda name: server(repository={"sync": {"secretRef": {"name": name}}}),
        lambda name: server(repository={"sync": {"caBundle": {"name": name}}}),
        lambda name: server(repository={"sync": {"serviceAccountName": name}}),
    ],
    ids=["serverRef", "secretRef", "sync.secretRef", "caBundle", "serviceAccountName"],
)
def test_a_name_that_leads_elsewhere_is_refused(build: Any, name: str) -> None:
    body = build(name)
    with pytest.raises(InvalidSpecError):
        KINDS[body["kind"]].parse(body)


def test_a_claim_of_a_source_is_one_name() -> None:
    """What follows is a path on it: a namespace before the name would be the claim's name."""
    uris = ("pvc://other/claim/x", "pvc://claim/../../other/x", "pvc://claim/x")
    versions = tuple(VersionContent(n, SourceRef(uri)) for n, uri in enumerate(uris, 1))
    found = source_claims(Manifest("s", (Generation("m", "0", "", versions=versions),)))
    assert found == {"other", "claim"}
    for uri in ("pvc://../x", "pvc://a/../../b/x"):
        with pytest.raises(InvalidSpecError):
            TritonModel.parse(model(versions=[{"version": 1, "source": {"uri": uri}}]))
