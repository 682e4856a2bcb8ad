"""Shapes, from the configs that Triton 2.51 answered and from what its documentation allows."""

import json
from pathlib import Path
from typing import Any

import pytest

from triton_operator.autoscaling.samples import ModelShape
from triton_operator.autoscaling.shapes import ShapeKey, parse_shape, shapes_by_model

RECORDED = Path(__file__).parents[1] / "adapters" / "recorded"


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ("batched", ModelShape(instances=2, max_batch=8)),
        ("plain", ModelShape(instances=1, max_batch=1)),
        ("both", ModelShape(instances=0)),  # an ensemble of batched
    ],
)
def test_a_recorded_config(model: str, shape: ModelShape) -> None:
    assert parse_shape(json.loads((RECORDED / f"config_{model}.json").read_text())) == shape


@pytest.mark.parametrize(
    ("groups", "instances"),
    [
        ([{"kind": "KIND_GPU", "count": 2, "gpus": [0, 1]}], 4),
        ([{"kind": "KIND_GPU", "count": 2, "gpus": []}], 2),
        ([{"kind": "KIND_AUTO", "count": 1, "gpus": [0, 1, 2]}], 3),
        ([{"kind": "KIND_CPU", "count": 3, "gpus": []}], 3),
        ([{"kind": "KIND_MODEL", "count": 1}], 1),
        ([{"kind": "KIND_GPU", "count": 1, "gpus": [0]}, {"kind": "KIND_CPU", "count": 2}], 3),
        ([{"kind": "KIND_GPU", "count": 1, "gpus": [0, 1], "passive": True}], 1),
        ([], 1),
    ],
)
def test_instances_are_counted_on_every_gpu(groups: list[dict[str, Any]], instances: int) -> None:
    assert parse_shape({"instance_group": groups}).instances == instances


@pytest.mark.parametrize(
    ("config", "largest"),
    [
        ({"max_batch_size": 8}, 1),  # clients may batch; Triton does not
        ({"max_batch_size": 8, "dynamic_batching": {}}, 8),
        ({"max_batch_size": 8, "sequence_batching": {"oldest": {}}}, 8),
        ({"max_batch_size": 0, "dynamic_batching": {}}, 1),
    ],
)
def test_only_a_batcher_makes_batches(config: dict[str, Any], largest: int) -> None:
    assert parse_shape(config).max_batch == largest


@pytest.mark.parametrize(
    ("policy", "decoupled"),
    [({"decoupled": True}, True), ({"decoupled": False}, False), (None, False)],
)
def test_a_decoupled_model_says_so(policy: dict[str, bool] | None, decoupled: bool) -> None:
    assert parse_shape({"model_transaction_policy": policy}).decoupled is decoupled


@pytest.mark.parametrize(
    "config",
    [
        [],
        None,
        {"instance_group": 3},
        {"instance_group": [3]},
        {"instance_group": [{"count": "many"}]},
        {"instance_group": [{"kind": "KIND_GPU", "gpus": 3}]},
        {"max_batch_size": {}},
        {"max_batch_size": float("inf")},
        {"model_transaction_policy": 3},
    ],
)
def test_a_config_that_is_not_tritons_is_refused(config: Any) -> None:
    with pytest.raises(ValueError, match="cannot read the config"):
        parse_shape(config)


def test_while_pods_differ_a_server_has_the_least_capacity() -> None:
    old, new = ShapeKey("a", "t", "m", "old"), ShapeKey("b", "t", "m", "new")
    other = ShapeKey("b", "t", "n", None)

    assert shapes_by_model(
        {old: ModelShape(1, 8, decoupled=True), new: ModelShape(4, 4), other: ModelShape(2, 1)}
    ) == {"m": ModelShape(1, 4, decoupled=True), "n": ModelShape(2, 1)}
