"""What the effective config of a model says about its capacity, on one pod and on a server."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from triton_operator.autoscaling.samples import ModelShape

_BATCHERS = ("dynamic_batching", "sequence_batching")


class ShapeKey(NamedTuple):
    """What a shape holds good for: a container's life and one config."""

    uid: str
    """Of the pod."""
    started_at: str
    """When the container started: automatic completion may end differently after a restart."""
    model: str
    config_hash: str | None


Shapes = Mapping[ShapeKey, ModelShape]


def parse_shape(config: Mapping[str, Any]) -> ModelShape:
    """Return the shape in an answer of ``/v2/models/M/config``, where Triton has filled in all.

    An ensemble has no instances: what it takes are those of its members. Raises ``ValueError``
    where the answer is not Triton's.
    """
    try:
        if config.get("platform") == "ensemble":
            return ModelShape(instances=0)
        instances = sum(_instances(group) for group in config.get("instance_group", ()))
        batch = int(config.get("max_batch_size", 0))
        batches = any(config.get(batcher) is not None for batcher in _BATCHERS)
        decoupled = bool((config.get("model_transaction_policy") or {}).get("decoupled"))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"cannot read the config: {error}"[:200]) from None
    return ModelShape(max(1, instances), max(1, batch) if batches else 1, decoupled)


def _instances(group: Mapping[str, Any]) -> int:
    if group.get("passive"):
        return 0  # loaded, but given no requests
    gpus = len(group.get("gpus", ())) if group.get("kind") in ("KIND_GPU", "KIND_AUTO") else 0
    return max(0, int(group.get("count", 1))) * max(1, gpus)


def shapes_by_model(shapes: Shapes) -> dict[str, ModelShape]:
    """Return one shape for each model of a server: the least, while its pods differ.

    It is decoupled if it is so on any pod.
    """
    found: dict[str, ModelShape] = {}
    for key, shape in shapes.items():
        other = found.get(key.model, shape)
        found[key.model] = ModelShape(
            min(shape.instances, other.instances),
            min(shape.max_batch, other.max_batch),
            shape.decoupled or other.decoupled,
        )
    return found
