"""The CustomResourceDefinitions of both kinds, built from their pydantic models.

``python -m triton_operator.api.crd crds/`` writes them.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from triton_operator import names
from triton_operator.api.meta import CustomObject
from triton_operator.api.model import TritonModel
from triton_operator.api.schema import build_schema
from triton_operator.api.server import TritonServer

_HEADER = "# Generated from operator/triton_operator/api by `make crds`; do not edit.\n"
_READY = '.status.conditions[?(@.type=="Ready")]'


def build_crds() -> dict[str, dict[str, Any]]:
    """Return both CustomResourceDefinitions, by the name of their file."""
    model = _build_crd(
        TritonModel,
        kind=names.KIND_MODEL,
        plural=names.PLURAL_MODEL,
        short="tm",
        subresources={"status": {}},
        columns=(
            _column("Model", ".status.modelName", "Name that clients use"),
            _column("Server", ".status.server", "TritonServer that serves the model"),
            _column("Ready", f"{_READY}.status", "Whether every ready pod serves this config"),
            _column("Loaded", ".status.loaded", "Pods that serve this config, of all ready ones"),
            _column("Versions", ".status.versions", "Versions that are served"),
            _column("Reason", f"{_READY}.reason", "Why the model is, or is not, ready"),
            _column("Sync", ".status.sync.progress", "How far the copying of its files is"),
            _AGE,
        ),
    )
    server = _build_crd(
        TritonServer,
        kind=names.KIND_SERVER,
        plural=names.PLURAL_SERVER,
        short="ts",
        subresources={
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        columns=(
            _column("Ready", ".status.ready", "Ready pods of all pods"),
            _column("GPUs", ".spec.gpus", "GPUs of each pod", kind="integer"),
            _column(
                "Queue",
                ".status.autoscaling.queueTimeMilliseconds",
                "Mean time that requests wait, in milliseconds",
                kind="number",
            ),
            _column(
                "Desired",
                ".status.autoscaling.desired",
                "Number of pods that the autoscaler wants",
                kind="integer",
            ),
            _column("Models", ".status.models", "Models that this server is to serve"),
            _column("Reason", f"{_READY}.reason", "Why the server is, or is not, ready"),
            _AGE,
        ),
    )
    return {f"{crd['metadata']['name']}.yaml": crd for crd in (model, server)}


def render(crd: Mapping[str, Any]) -> str:
    """Return the text of a CRD's file."""
    return _HEADER + yaml.safe_dump(crd, sort_keys=False, width=100, allow_unicode=True)


def main(arguments: Sequence[str]) -> None:
    """Write both files into the folder that is the only argument."""
    (folder,) = map(Path, arguments)
    for name, crd in build_crds().items():
        (folder / name).write_text(render(crd), encoding="utf-8")


def _column(name: str, path: str, description: str, *, kind: str = "string") -> dict[str, str]:
    return {"name": name, "type": kind, "jsonPath": path, "description": description}


_AGE = _column("Age", ".metadata.creationTimestamp", "Time since creation", kind="date")


def _build_crd(
    resource: type[CustomObject],
    *,
    kind: str,
    plural: str,
    short: str,
    subresources: Mapping[str, Any],
    columns: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    version = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _root_schema(resource)},
        "subresources": dict(subresources),
        "additionalPrinterColumns": [dict(column) for column in columns],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["triton"],
            },
            "versions": [version],
        },
    }


def _root_schema(resource: type[CustomObject]) -> dict[str, Any]:
    schema = build_schema(resource)
    fields = schema["properties"]
    # Without a status, kstatus would take an object that nobody has looked at yet for ready.
    fields["status"]["default"] = {"observedGeneration": -1}
    schema["properties"] = {
        "apiVersion": {"type": "string", "description": "Version of the schema."},
        "kind": {"type": "string", "description": "Kind of the object."},
        "metadata": {"type": "object"},  # Kubernetes allows no description here
        "spec": fields["spec"],
        "status": fields["status"],
    }
    schema["required"] = [name for name in schema.get("required", ()) if name != "metadata"]
    if not schema["required"]:
        del schema["required"]
    return schema


if __name__ == "__main__":
    main(sys.argv[1:])
