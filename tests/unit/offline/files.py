"""Manifests for the checks across objects and for the commands."""

from typing import Any

import yaml

from tests.unit.api.cases import Manifest, model, server
from triton_operator.offline.check import check
from triton_operator.offline.documents import Document, read_documents
from triton_operator.offline.findings import Finding, Report

POOL = {"name": "pool"}
PYTHON = [{"version": 1, "files": {"model.py": "pass"}}]


def in_pool(name: str, **spec: Any) -> Manifest:
    """A Python model on the server ``pool``, but for what ``spec`` changes."""
    return model(name, **{"serverRef": POOL, "versions": PYTHON} | spec)


def pool(**spec: Any) -> Manifest:
    return server("pool", **spec)


def tensors(name: str, *dims: int, kind: str = "TYPE_FP32") -> list[dict[str, Any]]:
    return [{"name": name, "dataType": kind, "dims": list(dims)}]


def step(member: str, **maps: str) -> dict[str, Any]:
    """A step of an ensemble: its input ``IN`` and output ``OUT`` go to these tensors."""
    inputs, outputs = {"IN": maps["into"]}, {"OUT": maps["out"]}
    return {"modelName": member, "modelVersion": -1, "inputMap": inputs, "outputMap": outputs}


def member(name: str, **config: Any) -> Manifest:
    shapes = {"input": tensors("IN", 3), "output": tensors("OUT", 3)}
    return in_pool(name, config={"backend": "python", "maxBatchSize": 4} | shapes | config)


def ensemble(name: str, *steps: dict[str, Any], **config: Any) -> Manifest:
    shapes = {"input": tensors("A", 3), "output": tensors("B", 3)}
    scheduling = {"ensembleScheduling": {"step": list(steps)}}
    fields = {"platform": "ensemble", "maxBatchSize": 4} | shapes | scheduling | config
    return in_pool(name, config=fields, versions=None)


def text_of(*manifests: Manifest) -> str:
    return yaml.safe_dump_all(manifests, sort_keys=False)


def documents_of(*manifests: Manifest) -> tuple[Document, ...]:
    return read_documents("f.yaml", text_of(*manifests))


def report_on(*manifests: Manifest, strict: bool = False, namespace: str = "default") -> Report:
    return check([documents_of(*manifests)], strict=strict, namespace=namespace).report


def mistakes(*manifests: Manifest, strict: bool = False) -> tuple[Finding, ...]:
    return report_on(*manifests, strict=strict).mistakes
