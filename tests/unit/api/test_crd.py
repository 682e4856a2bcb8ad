"""The generated CRDs: what Kubernetes demands of a structural schema, and what we do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from triton_operator.api import crd
from triton_operator.api.crd import build_crds, render

FOLDER = Path(__file__).parents[3] / "crds"
CRDS = build_crds()


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below ``schema`` with its path."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from fields(field, f"{path}.{name}")
    for inner, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if inner in schema:
            yield from fields(schema[inner], path + mark)


def root(name: str) -> dict[str, Any]:
    (version,) = CRDS[name]["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


EVERY = [(path, schema) for name in CRDS for path, schema in fields(root(name))]


def test_the_files_are_what_the_models_say() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.yaml")}

    assert committed == {name: render(manifest) for name, manifest in CRDS.items()}, "make crds"


def test_main_writes_what_is_rendered(tmp_path: Path) -> None:
    crd.main([str(tmp_path)])

    for name, manifest in CRDS.items():
        assert yaml.safe_load((tmp_path / name).read_text(encoding="utf-8")) == manifest


@pytest.mark.parametrize("name", CRDS)
def test_a_crd_stays_small(name: str) -> None:
    assert len(render(CRDS[name])) < 120_000


def test_every_schema_is_structural() -> None:
    refused = {"$ref", "$defs", "title", "const", "propertyNames", "nullable"}
    for path, schema in EVERY:
        assert "type" in schema or schema.get("x-kubernetes-int-or-string"), path
        assert not schema.keys() & refused, path


def test_every_field_has_a_description() -> None:
    described = {".metadata"}  # where Kubernetes allows none
    for path, schema in EVERY:
        for name, field in schema.get("properties", {}).items():
            if f"{path}.{name}" not in described:
                assert field.get("description", "").endswith("."), f"{path}.{name}"


def test_everything_a_user_writes_is_bounded() -> None:
    for path, schema in EVERY:
        if not path.startswith(".spec"):
            continue
        if schema.get("type") == "string":
            assert schema.keys() & {"maxLength", "enum"}, path
        if schema.get("type") == "array":
            assert "maxItems" in schema, path
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, path


def test_every_rule_says_what_to_do() -> None:
    for path, schema in EVERY:
        for rule in schema.get("x-kubernetes-validations", ()):
            assert rule["rule"], path
            assert len(rule["message"]) > 20, path


def test_rules_hold_for_the_default_of_their_object() -> None:
    """The API server evaluates them on ``{}`` itself, where no default inside is set."""
    for path, schema in EVERY:
        if schema.get("default") == {}:
            for rule in (each["rule"] for each in schema.get("x-kubernetes-validations", ())):
                assert "has(self." in rule, path


def test_nothing_is_defaulted_inside_a_list() -> None:
    """Tools that compare on the client's side take a list as a whole: it would be a difference."""
    assert not [path for path, schema in EVERY if "[]" in path and "default" in schema]


def test_nothing_is_defaulted_inside_a_config_or_a_status() -> None:
    schema = root("tritonmodels.triton-operator.io.yaml")["properties"]

    assert not [
        path for path, field in fields(schema["spec"]["properties"]["config"]) if "default" in field
    ]
    told = [
        (path, field["default"]) for path, field in fields(schema["status"]) if "default" in field
    ]
    assert told == [("", {"observedGeneration": -1})], "for what nobody has looked at"


def test_defaults_stand_in_the_schema() -> None:
    spec = root("tritonservers.triton-operator.io.yaml")["properties"]["spec"]["properties"]

    assert spec["gpus"]["default"] == 1
    assert spec["sharedMemorySize"]["default"] == "1Gi"
    assert spec["service"]["default"] == {}
    assert "default" not in spec["replicas"]


def test_a_server_can_be_scaled() -> None:
    (version,) = CRDS["tritonservers.triton-operator.io.yaml"]["spec"]["versions"]

    assert version["subresources"] == {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }


@pytest.mark.parametrize("name", CRDS)
def test_every_column_shows_a_field_that_exists(name: str) -> None:
    (version,) = CRDS[name]["spec"]["versions"]
    known = {path for path, _ in fields(root(name))} | {".metadata.creationTimestamp"}
    for column in version["additionalPrinterColumns"]:
        path = column["jsonPath"].replace('[?(@.type=="Ready")]', "[]")
        assert path in known, column["name"]
