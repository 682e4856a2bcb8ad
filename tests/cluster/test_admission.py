"""What a real API server refuses and takes, with the same table as the unit tests."""

import json
import secrets
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.support import kube as support
from tests.unit.api.cases import ACCEPTED, REFUSED, Manifest, Refused, model, server

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]


def kubectl(*args: str, manifest: Manifest | None = None) -> subprocess.CompletedProcess[str]:
    return support.kubectl(*args, stdin=manifest)


def dry_run(manifest: Manifest) -> subprocess.CompletedProcess[str]:
    return kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", manifest=manifest)


def defaulted(manifest: Manifest) -> Any:
    answer = dry_run(manifest)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)["spec"]


@pytest.fixture
def stored_server() -> Iterator[Manifest]:
    # A new name each time: where an operator runs, the last one may still be on its way out.
    name = f"admission-{secrets.token_hex(4)}"
    manifest = server(name, gpus=0, repository={"size": "1Gi"})
    created = kubectl("create", "-f", "-", manifest=manifest)
    assert created.returncode == 0, created.stderr
    yield manifest
    kubectl("delete", "tritonserver", name, "--wait=false")


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_bad_object_is_refused_with_field_and_mend(case: Refused) -> None:
    answer = dry_run(case.manifest)

    assert answer.returncode != 0
    assert case.path in answer.stderr
    assert case.words in answer.stderr


@pytest.mark.parametrize("manifest", ACCEPTED.values(), ids=ACCEPTED)
def test_a_good_object_is_taken(manifest: Manifest) -> None:
    answer = dry_run(manifest)

    assert answer.returncode == 0, answer.stderr


def test_the_largest_config_stays_within_the_budget_of_the_rules() -> None:
    texts = {f"file-{number}" + "x" * 400: "" for number in range(64)}
    warm_up = {
        "inputs": {f"tensor-{number}": {"inputDataFile": "a/" * 200} for number in range(64)}
    }
    answer = dry_run(
        model(
            files=texts,
            versions=[{"version": number, "files": texts} for number in range(1, 9)],
            config={
                "modelWarmup": [warm_up] * 32,
                "instanceGroup": [{"gpus": [0] * 64}] * 32,
                "input": [{"dims": [1] * 64, "reshape": {"shape": [1] * 64}}] * 256,
                "output": [{"dims": [1] * 64, "labelFilename": "labels/" * 60}] * 256,
                "metricTags": {f"tag_{number}" + "x" * 240: "" for number in range(32)},
                "versionPolicy": {"specific": {"versions": [9] * 127 + [8]}},
                "sequenceBatching": {
                    "state": [{"initialState": [{"name": "x", "dataFile": "a/" * 200}]}] * 64,
                    "controlInput": [
                        {"name": "x", "control": [{"boolFalseTrue": [False, True]}] * 8}
                    ]
                    * 32,
                },
            },
            server={"args": ["--log-format=" + "x" * 1000] * 64},
        )
    )

    assert answer.returncode == 0, answer.stderr


def test_an_unknown_field_is_named() -> None:
    answer = dry_run(model(config={"dynamicBatching": {"maxBatchSize": 8}}))

    assert 'unknown field "spec.config.dynamicBatching.maxBatchSize"' in answer.stderr


def test_an_empty_server_is_filled_with_the_defaults() -> None:
    spec = defaulted(server())

    assert spec["gpus"] == 1
    assert spec["gpuResourceName"] == "nvidia.com/gpu"
    assert spec["modelUpdates"] == "HotReload"
    assert spec["service"] == {"type": "ClusterIP", "headless": False}
    assert spec["repository"] == {}
    assert "replicas" not in spec


def test_nothing_is_added_to_a_config() -> None:
    config = {"dynamicBatching": {}, "maxBatchSize": 0}

    assert defaulted(model(config=config))["config"] == config


def with_repository(
    stored: Manifest, repository: dict[str, object]
) -> subprocess.CompletedProcess[str]:
    # A patch, unlike a replacement, is tried again where the operator has just written.
    patch = [{"op": "replace", "path": "/spec/repository", "value": repository}]
    name = stored["metadata"]["name"]
    return kubectl("patch", "ts", name, "--type=json", "--dry-run=server", "-p", json.dumps(patch))


@pytest.mark.parametrize(
    ("repository", "words"),
    [
        ({"claimName": "others"}, "claimName cannot be changed"),
        ({"size": "1Gi", "storageClassName": "fast"}, "storageClassName cannot be changed"),
        ({"size": "1Gi", "accessModes": ["ReadWriteOnce"]}, "accessModes cannot be changed"),
    ],
)
def test_where_the_repository_of_a_server_lies_cannot_be_changed(
    stored_server: Manifest, repository: dict[str, object], words: str
) -> None:
    answer = with_repository(stored_server, repository)

    assert answer.returncode != 0
    assert "spec.repository" in answer.stderr
    assert words in answer.stderr
    assert "create a new TritonServer" in answer.stderr


@pytest.mark.parametrize("size", ["1023Mi", 1, "0.9Gi"])
def test_the_size_of_a_repository_cannot_shrink(stored_server: Manifest, size: object) -> None:
    answer = with_repository(stored_server, {"size": size})

    assert answer.returncode != 0
    assert "size cannot shrink" in answer.stderr


@pytest.mark.parametrize(
    "repository",
    [
        {"size": "5Gi"},
        {"size": "1024Mi"},
        {"size": 2147483648},
        {},  # which is 10Gi
        {"size": "1Gi", "accessModes": ["ReadWriteMany"]},  # which is the default
    ],
)
def test_the_size_of_a_repository_can_grow(
    stored_server: Manifest, repository: dict[str, object]
) -> None:
    answer = with_repository(stored_server, repository)

    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize(
    "sync",
    [
        {"secretRef": {"name": "store"}, "env": [{"name": "AWS_REGION", "value": "eu-west-1"}]},
        {"caBundle": {"name": "company"}, "bandwidthLimit": "50Mi", "parallelDownloads": 8},
    ],
)
def test_how_files_are_fetched_can_be_changed(
    stored_server: Manifest, sync: dict[str, object]
) -> None:
    answer = with_repository(stored_server, {"size": "1Gi", "sync": sync})

    assert answer.returncode == 0, answer.stderr


def test_the_rest_of_a_server_can_be_changed(stored_server: Manifest) -> None:
    changed = {**stored_server, "spec": {**stored_server["spec"], "gpus": 2}}
    answer = kubectl("replace", "--dry-run=server", "-f", "-", manifest=changed)

    assert answer.returncode == 0, answer.stderr


def test_a_server_is_scaled_through_its_scale_subresource_once_it_has_replicas(
    stored_server: Manifest,
) -> None:
    name = stored_server["metadata"]["name"]
    kubectl("patch", "ts", name, "--type=merge", "-p", json.dumps({"spec": {"replicas": 0}}))
    answer = kubectl("scale", "ts", name, "--replicas=1")

    assert answer.returncode == 0, answer.stderr
    assert kubectl("get", "ts", name, "-o", "jsonpath={.spec.replicas}").stdout == "1"


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("tritonmodels", "NAME MODEL SERVER READY LOADED VERSIONS REASON SYNC AGE"),
        ("tritonservers", "NAME READY GPUS QUEUE DESIRED MODELS REASON AGE"),
    ],
)
def test_the_table_has_the_columns_that_people_look_for(kind: str, columns: str) -> None:
    shown = kubectl("get", "crd", f"{kind}.triton-operator.io", "-o", "json")
    (version,) = json.loads(shown.stdout)["spec"]["versions"]
    names = [column["name"].upper() for column in version["additionalPrinterColumns"]]

    assert ["NAME", *names] == columns.split()
