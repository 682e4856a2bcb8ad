"""Servers, and all objects that are made for them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from triton_operator.api.meta import ObjectMeta
from triton_operator.api.model import TritonModel
from triton_operator.api.server import TritonServer
from triton_operator.desired import Children, build_children
from triton_operator.desired.claim import build_claim
from triton_operator.desired.control_key import ControlKey, build_control_key
from triton_operator.desired.metadata import ChildNames, Manifest
from triton_operator.desired.owned_server import build_owned_server
from triton_operator.desired.sync_job import build_manifest_map, build_sync_job
from triton_operator.observed import ModelRecord
from triton_operator.plan.acceptance import judge_models
from triton_operator.plan.content import build_manifest
from triton_operator.plan.models import plan_models
from triton_operator.repository.manifest import LINKS, revision_digest
from triton_operator.repository.manifest import Manifest as Repository

KEY = ControlKey("vision-control-key", "key")
LONGEST_NAME = "a" * 40

FULL: dict[str, Any] = {
    "image": "registry.example/tritonserver:26.07-py3",
    "imagePullPolicy": "IfNotPresent",
    "gpus": 2,
    "gpuResourceName": "nvidia.com/mig-1g.5gb",
    "resources": {"requests": {"cpu": 4, "memory": "16Gi"}, "limits": {"memory": "32Gi"}},
    "replicas": 3,
    "rollout": "Availability",
    "repository": {
        "size": "100Gi",
        "storageClassName": "nfs",
        "accessModes": ["ReadWriteMany"],
    },
    "responseCache": {"size": "256Mi"},
    "sharedMemorySize": "4Gi",
    "logVerbosity": 1,
    "args": ["--log-format=ISO8601", "--metrics-config=summary_latencies=true"],
    "env": [
        {"name": "A", "value": ""},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ],
    "service": {"type": "LoadBalancer", "annotations": {"a/b": "c"}, "headless": True},
    "podTemplate": {
        "metadata": {"labels": {"team": "vision"}, "annotations": {"note": "x"}},
        "nodeSelector": {"gpu": "a100"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 1}],
        "priorityClassName": "high",
        "runtimeClassName": "nvidia",
        "imagePullSecrets": [{"name": "s"}],
        "serviceAccountName": "triton",
        "volumes": [{"name": "v", "emptyDir": {}}],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "securityContext": {"runAsUser": 1234, "privileged": True, "runAsNonRoot": False},
    },
    "drainSeconds": 30,
    "startupTimeoutSeconds": 600,
}
SHARED: dict[str, Any] = {
    "gpus": 0,
    "replicas": 2,
    "repository": {"claimName": "models"},
    "drainSeconds": 0,
}


@dataclass(frozen=True)
class Case:
    """A server, its models, and what is made for them."""

    name: str
    server: TritonServer
    models: tuple[Mapping[str, Any], ...]
    owner: TritonModel | None = None

    @property
    def manifest(self) -> Repository:
        records = [ModelRecord.parse(body) for body in self.models]
        name = self.server.metadata.name
        plans = plan_models(judge_models(self.server, records), name)
        return build_manifest(
            name,
            plans,
            self.server.spec.repository.sync,
            immutable=self.server.spec.model_updates == "Rollout",
        )

    @property
    def repository(self) -> str:
        return revision_digest(self.manifest.links) if self.manifest.immutable else LINKS

    @property
    def secret(self) -> str:
        return ChildNames(self.server.metadata.name).control_key()

    def children(self, **options: Any) -> Children:
        probe = self.owner.model_name if self.owner is not None else None
        given = {
            "default_image": "triton:test",
            "replicas": 1,
            "control_key": ControlKey(self.secret, "key"),
            "probe_model": probe,
            "repository": self.repository,
        } | options
        return build_children(self.server, **given)

    def objects(self) -> list[Manifest]:
        """Everything that the operator writes for the server, in the order of need."""
        return [
            *([build_owned_server(self.owner)] if self.owner is not None else []),
            build_control_key(self.server.metadata, self.secret),
            *filter(None, [build_claim(self.server)]),
            *self.children(replicas=self.server.spec.replicas or 1).manifests(),
            build_manifest_map(self.server, self.manifest),
            build_sync_job(
                self.server,
                self.manifest,
                sequence=7,
                attempt=1,
                image="operator:test",
                image_pull_policy="IfNotPresent",
                memory_limit="1Gi",
            ),
        ]


def server(name: str, **spec: Any) -> TritonServer:
    meta = {"name": name, "namespace": "team", "uid": f"uid-{name}", "generation": 2}
    return TritonServer.parse({"metadata": meta, "spec": spec})


def model(name: str, uri: str = "", **spec: Any) -> dict[str, Any]:
    version = {"version": 1, "source": {"uri": uri}} if uri else {"version": 1, "files": {"a": "b"}}
    return {
        "metadata": {"name": name, "namespace": "team", "uid": f"uid-{name}"},
        "spec": {"versions": [version]} | spec,
    }


def own(name: str) -> Case:
    body = model(name, "https://models.example/resnet/model.onnx")
    return Case(f"own-{name}", server(name), (body,), TritonModel.parse(body))


CASES = (
    own("resnet"),
    Case(
        "full-gpu-server",
        server("vision", **FULL),
        (
            model("resnet", "pvc://weights/resnet/1"),
            model("bert", "https://models.example/bert.onnx", files={"labels.txt": "a\n"}),
        ),
    ),
    Case(
        "shared-cpu-server",
        server("pool", **SHARED),
        (model("a", "pvc://models/a/1", serverRef={"name": "pool"}), model("b")),
    ),
    Case(
        "immutable-cpu-server",
        server("fixed", modelUpdates="Rollout", rollout="Availability", **SHARED),
        (model("a", "pvc://models/a/1", serverRef={"name": "fixed"}),),
    ),
    own(LONGEST_NAME),
)
GOLDEN = CASES[:4]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name[:30])


def pod_specs(case: Case) -> Iterator[dict[str, Any]]:
    for manifest in case.objects():
        template = manifest.get("spec", {}).get("template")
        if template:
            yield template["spec"]


def without_secrets(manifest: Manifest) -> Manifest:
    if manifest["kind"] != "Secret":
        return manifest
    assert re.fullmatch(r"[A-Za-z0-9+/=]{40,}", manifest["data"]["key"])
    return {**manifest, "data": {"key": "random"}}


def meta(name: str) -> ObjectMeta:
    return ObjectMeta(name=name, namespace="team", uid=f"uid-{name}")
