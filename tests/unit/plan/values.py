"""Values that planning starts from, good but for what a test changes."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tritonclient.grpc.model_config_pb2 import ModelConfig

from triton_operator.api.model import TritonModelStatus
from triton_operator.api.model_config import ModelConfig as TypedConfig
from triton_operator.api.server import TritonServer
from triton_operator.observed import ModelRecord, Pod, ServedModel, ServedVersion
from triton_operator.plan.acceptance import Accepted, judge_models
from triton_operator.plan.models import ModelPlan, plan_models
from triton_operator.repository.config_pbtxt import to_proto

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Tensors = Mapping[str, tuple[str, list[int]]]


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def tensors(declared: Tensors) -> list[dict[str, Any]]:
    return [{"name": n, "dataType": f"TYPE_{t}", "dims": d} for n, (t, d) in declared.items()]


def plain(inputs: Tensors, outputs: Tensors, batch: int = 0) -> dict[str, Any]:
    """The config of a model that computes something itself."""
    return {
        "backend": "python",
        "maxBatchSize": batch,
        "input": tensors(inputs),
        "output": tensors(outputs),
    }


def step(model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> dict[str, Any]:
    return {
        "modelName": model,
        "modelVersion": -1,
        "inputMap": dict(inputs),
        "outputMap": dict(outputs),
    }


def ensemble(
    inputs: Tensors, outputs: Tensors, *steps: Mapping[str, Any], batch: int = 0
) -> dict[str, Any]:
    return {
        "platform": "ensemble",
        "maxBatchSize": batch,
        "input": tensors(inputs),
        "output": tensors(outputs),
        "ensembleScheduling": {"step": list(steps)},
    }


def proto(config: Mapping[str, Any]) -> ModelConfig:
    return to_proto(TypedConfig.model_validate(config))


def model_body(name: str = "resnet", *, created: int = 0, **spec: Any) -> dict[str, Any]:
    fields = {"serverRef": {"name": "vision"}} | spec
    if "ensembleScheduling" not in (fields.get("config") or {}):
        fields = {"versions": [{"version": 1, "files": {"model.py": "pass"}}]} | fields
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "generation": 1,
            "creationTimestamp": later(created).isoformat(),
        },
        "spec": {key: value for key, value in fields.items() if value is not None},
    }


def model(
    name: str = "resnet",
    *,
    created: int = 0,
    status: TritonModelStatus | None = None,
    **spec: Any,
) -> ModelRecord:
    body = model_body(name, created=created, **spec)
    if status is not None:
        body["status"] = status.manifest()
    return ModelRecord.parse(body)


def server(name: str = "vision", **spec: Any) -> TritonServer:
    return TritonServer.parse(
        {"metadata": {"name": name, "namespace": "team", "uid": f"uid-{name}"}, "spec": spec}
    )


def plan(record: ModelRecord, on: str = "vision", **server_spec: Any) -> ModelPlan:
    (found,) = plan_models(judge_models(server(on, **server_spec), [record]), on)
    return found


def hash_of(record: ModelRecord) -> str:
    (verdict,) = judge_models(server(), [record])
    assert isinstance(verdict, Accepted), verdict
    return verdict.generation.hash


def pod(name: str = "pod-a", **fields: Any) -> Pod:
    given = {
        "uid": f"uid-{name}",
        "ip": "10.0.0.1",
        "ready": True,
        "running": True,
        "revision": "rev",
        "started_at": "t0",
    } | fields
    return Pod(name=name, **given)


def served(config_hash: str | None, *versions: int, reason: str = "") -> ServedModel:
    found = tuple(ServedVersion(str(v), "READY") for v in versions or (1,))
    if config_hash is None:
        found = (ServedVersion("1", "UNAVAILABLE", reason),)
    return ServedModel(found, config_hash)
