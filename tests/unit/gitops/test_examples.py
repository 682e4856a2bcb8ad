"""The examples for GitOps tools are what these tools take, and what the operator takes."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.chart.rendering import REPOSITORY, render, run_program
from tests.unit.gitops.judges import GITOPS, HEALTH
from triton_operator import names
from triton_operator.offline.check import check
from triton_operator.offline.documents import read_documents

Object = dict[str, Any]

OVERLAYS = sorted((GITOPS / "kustomize" / "overlays").iterdir())
CANARY = GITOPS / "canary"


def objects(text: str) -> list[Object]:
    return list(yaml.safe_load_all(text))


def build(folder: Path) -> str:
    """Return what kustomize makes of a folder."""
    done = run_program("kubectl", "kustomize", folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def of_kind(kind: str, among: list[Object]) -> Object:
    (found,) = (each for each in among if each["kind"] == kind)
    return found


def mistakes(text: str) -> list[str]:
    return [str(each) for each in check([read_documents("f", text)]).report.mistakes]


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_is_valid_and_its_model_finds_its_server(overlay: Path) -> None:
    text = build(overlay)
    model, server = (of_kind(each, objects(text)) for each in (names.KIND_MODEL, names.KIND_SERVER))

    assert mistakes(text) == []
    assert model["spec"]["serverRef"]["name"] == server["metadata"]["name"]
    assert model["metadata"]["namespace"] == server["metadata"]["namespace"]


def test_overlays_change_what_they_say() -> None:
    staging, production = (objects(build(each)) for each in reversed(OVERLAYS))
    source = of_kind(names.KIND_MODEL, staging)["spec"]["versions"][0]["source"]
    server = of_kind(names.KIND_SERVER, production)["spec"]

    assert source["uri"].startswith("s3://models-staging/")
    assert server["image"].startswith("registry.example/tritonserver:")
    assert "replicas" not in server
    assert server["autoscaling"]["maxReplicas"] == 8


OWN: Object = {
    "apiVersion": names.API_VERSION,
    "kind": names.KIND_MODEL,
    "metadata": {"name": "alone"},
    "spec": {
        "versions": [{"version": 1, "source": {"uri": "s3://models/a"}}],
        "server": {
            "image": "nvcr.io/nvidia/tritonserver:26.07-py3",
            "repository": {
                "claimName": "files",
                "sync": {"secretRef": {"name": "model-store"}, "caBundle": {"name": "trust"}},
            },
        },
    },
}
CLAIM: Object = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "files"},
    "spec": {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "1Gi"}},
    },
}


def test_kustomize_follows_every_name_and_image(tmp_path: Path) -> None:
    """Generated Secrets and ConfigMaps get a hash, and everything a prefix."""
    shutil.copytree(GITOPS / "kustomize" / "base", tmp_path / "base")
    apart = {**OWN, "kind": names.KIND_SERVER, "metadata": {"name": "pool"}}
    apart["spec"] = OWN["spec"]["server"]
    files = {"alone.yaml": OWN, "pool.yaml": apart, "claim.yaml": CLAIM}
    for name, body in files.items():
        (tmp_path / name).write_text(yaml.safe_dump(body))
    overlay = {
        "namePrefix": "x-",
        "resources": ["base", *files],
        "secretGenerator": [{"name": "model-store", "literals": ["AWS_REGION=eu"]}],
        "configMapGenerator": [{"name": "trust", "literals": ["ca.crt=pem"]}],
        "images": [{"name": "nvcr.io/nvidia/tritonserver", "newTag": "other"}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))

    built = {each["metadata"]["name"]: each for each in objects(build(tmp_path))}
    kinds = {body["kind"]: name for name, body in built.items() if "spec" not in body}
    detector = built["x-detector"]["spec"]

    assert kinds["Secret"].startswith("x-model-store-")
    assert detector["versions"][0]["source"]["secretRef"]["name"] == kinds["Secret"]
    assert detector["serverRef"]["name"] == "x-vision"
    for spec in (built["x-alone"]["spec"]["server"], built["x-pool"]["spec"]):
        sync = spec["repository"]["sync"]
        assert spec["image"] == "nvcr.io/nvidia/tritonserver:other"
        assert spec["repository"]["claimName"] == "x-files"
        assert sync["secretRef"]["name"] == kinds["Secret"]
        assert sync["caBundle"]["name"] == kinds["ConfigMap"]


def strictly(text: str) -> list[str]:
    """Return the kinds of manifests, as the Go types of their projects read them."""
    done = run_program("strict", text=text)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def foreign(path: Path) -> list[Object]:
    return [each for each in objects(path.read_text()) if names.GROUP not in each["apiVersion"]]


@pytest.mark.parametrize(
    "path", [*sorted((GITOPS / "flux").glob("*.yaml")), *sorted(CANARY.glob("*.yaml"))], ids=str
)
def test_flux_and_gateways_know_every_field(path: Path) -> None:
    known = foreign(path)

    assert strictly(yaml.safe_dump_all(known)) == [each["kind"] for each in known]


def test_a_field_that_nobody_knows_is_found() -> None:
    text = (CANARY / "routes.yaml").read_text().replace("weight: 10", "wait: 10")

    assert "unknown field" in run_program("strict", text=text).stderr


def backends(route: Object) -> Iterator[Object]:
    for rule in route["spec"]["rules"]:
        yield from rule["backendRefs"]


@pytest.fixture(scope="module")
def services() -> dict[str, Object]:
    """The Services that the operator would make for the models of the canaries, by name."""
    done = run_program(sys.executable, "-m", "triton_operator", "render", CANARY)
    assert done.returncode == 0, done.stderr
    return {
        each["metadata"]["name"]: each for each in objects(done.stdout) if each["kind"] == "Service"
    }


@pytest.mark.parametrize("path", sorted(CANARY.glob("*.yaml")), ids=lambda path: path.name)
def test_routes_lead_to_services_that_the_operator_makes(
    path: Path, services: dict[str, Object]
) -> None:
    assert mistakes(path.read_text()) == []
    for route in foreign(path):
        for backend in backends(route):
            ports = {
                each["port"]: each["name"] for each in services[backend["name"]]["spec"]["ports"]
            }
            assert ports[backend["port"]] == route["kind"].removesuffix("Route").lower()
        weights = [each["weight"] for each in backends(route) if "weight" in each]
        assert sum(weights) in (0, 100)


def test_routes_to_versions_name_versions_that_are_served() -> None:
    model, route = objects((CANARY / "versions.yaml").read_text())
    rewrites = [
        each["urlRewrite"]["path"]["replaceFullPath"]
        for rule in route["spec"]["rules"]
        for each in rule["filters"]
    ]
    served = model["spec"]["config"]["versionPolicy"]["specific"]["versions"]

    assert sorted(rewrites) == [f"/v2/models/ranker/versions/{each}/infer" for each in served]
    assert served == [each["version"] for each in model["spec"]["versions"]]


def test_both_installations_read_the_chart_that_is_here() -> None:
    flux = of_kind("HelmRelease", objects((GITOPS / "flux" / "operator.yaml").read_text()))
    argo, _ = objects((GITOPS / "argocd" / "applications.yaml").read_text())

    assert (REPOSITORY / flux["spec"]["chart"]["spec"]["chart"] / "Chart.yaml").exists()
    assert (REPOSITORY / argo["spec"]["source"]["path"] / "Chart.yaml").exists()
    values = argo["spec"]["source"]["helm"]["valuesObject"]
    hooks = [each for each in render(**values) if "helm.sh/hook" in str(each["metadata"])]
    assert all(each["metadata"]["annotations"]["helm.sh/hook"] == "test" for each in hooks), (
        "Argo CD leaves out tests, and nothing else that Helm does at certain times"
    )


def test_argo_judges_both_kinds_alike() -> None:
    prefix = f"resource.customizations.health.{names.GROUP}"

    assert set(HEALTH) == {f"{prefix}_{kind}" for kind in (names.KIND_MODEL, names.KIND_SERVER)}
    assert len(set(HEALTH.values())) == 1
