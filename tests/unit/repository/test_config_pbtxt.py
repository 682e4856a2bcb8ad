"""The conversions between the typed config, protobuf and text."""

from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from tritonclient.grpc import model_config_pb2 as pb

from tests.unit.api.strategies import messages_of
from triton_operator.api.model import TritonModelSpec
from triton_operator.api.model_config import ModelConfig
from triton_operator.api.model_config.message import ProtoMessage
from triton_operator.errors import InvalidSpecError
from triton_operator.repository.config_pbtxt import (
    build_config,
    from_proto,
    hash_of,
    parse_text,
    render,
    steps_in,
    tensors_in,
    to_proto,
    with_hash,
)

VERSIONS = [{"version": 1, "source": {"uri": "https://models/1/model.onnx"}}]

TYPED = {
    "backend": "onnxruntime",
    "maxBatchSize": 8,
    "input": [{"name": "images", "dataType": "TYPE_FP32", "dims": [3, 224, -1]}],
    "output": [{"name": "output", "dataType": "TYPE_FP32", "dims": [1000]}],
    "instanceGroup": [{"kind": "KIND_GPU", "count": 2, "gpus": [0, 1]}],
    "dynamicBatching": {
        "preferredBatchSize": [4, 8],
        "maxQueueDelayMicroseconds": 100,
        "priorityQueuePolicy": {"2": {"timeoutAction": "DELAY"}, "1": {"maxQueueSize": 5}},
    },
    "parameters": {"b": {"stringValue": "2"}, "a": {"stringValue": "1"}},
}

TEXT = """\
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "images" data_type: TYPE_FP32 dims: [ 3, 224, -1 ] } ]
output { name: "output" data_type: TYPE_FP32 dims: 1000 }
instance_group [ { kind: KIND_GPU, count: 2, gpus: [ 0, 1 ] } ]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 100
  priority_queue_policy { key: 1 value { max_queue_size: 5 } }
  priority_queue_policy { key: 2 value { timeout_action: DELAY } }
}
parameters { key: "a" value { string_value: "1" } }
parameters { key: "b" value { string_value: "2" } }
"""


def spec(**fields: Any) -> TritonModelSpec:
    return TritonModelSpec.model_validate(
        {"versions": VERSIONS, "serverRef": {"name": "vision"}} | fields
    )


def test_the_typed_config_and_its_text_are_the_same_message() -> None:
    assert to_proto(ModelConfig.model_validate(TYPED)) == parse_text(TEXT)


def test_equal_configs_render_to_equal_texts_whatever_the_order_of_their_maps() -> None:
    backwards = {**TYPED, "parameters": dict(reversed(TYPED["parameters"].items()))}

    assert render(to_proto(ModelConfig.model_validate(TYPED))) == render(
        to_proto(ModelConfig.model_validate(backwards))
    )


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(messages_of(ModelConfig))
def test_every_config_survives_protobuf_and_text(config: ProtoMessage) -> None:
    assert isinstance(config, ModelConfig)
    proto = to_proto(config)

    assert parse_text(render(proto)) == proto
    assert to_proto(from_proto(proto)) == proto
    assert json_format.MessageToDict(proto) == json_format.MessageToDict(parse_text(render(proto)))


def test_an_empty_spec_gives_a_config_with_a_name_only() -> None:
    assert build_config(spec(), "resnet50") == pb.ModelConfig(name="resnet50")


@pytest.mark.parametrize("fields", [{"config": TYPED}, {"configText": TEXT}])
def test_a_config_gets_the_name_of_its_model(fields: dict[str, Any]) -> None:
    built = build_config(spec(**fields), "resnet50")

    assert built.name == "resnet50"
    assert built.max_batch_size == 8


@pytest.mark.parametrize("fields", [{"config": {"name": "a"}}, {"configText": 'name: "a"'}])
def test_a_config_that_names_another_model_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpecError, match=r"spec\.config.*'a'.*'b'.*remove the name"):
        build_config(spec(**fields), "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dynamic_batching {\n  max_batch_size: 3\n}", r"2:3 .*no field named \"max_batch_size\""),
        ("max_batch_size: x", r"^spec\.configText: 1:17 "),
        ("dynamic_batching {} sequence_batching {}", "oneof"),
        ('default_model_filename: "../x"', r"spec\.configText\.defaultModelFilename: .*'\.\.'"),
        ('parameters { key: "triton_operator_hash" value {} }', "set by the operator"),
        ("# ensemble_scheduling", "versions must have an entry"),
    ],
)
def test_a_bad_text_is_refused_with_its_place(text: str, message: str) -> None:
    versions = [] if "#" in text else VERSIONS
    with pytest.raises(InvalidSpecError, match=message):
        build_config(spec(configText=text, versions=versions), "m")


def test_a_text_cannot_ask_for_gpus_that_its_own_server_does_not_have() -> None:
    own = {"serverRef": None, "server": {"gpus": 1}, "configText": TEXT}
    with pytest.raises(InvalidSpecError, match=r"spec\.configText: .*instanceGroup: gpus"):
        build_config(spec(**own), "m")


def test_the_hash_is_added_to_a_copy() -> None:
    plain = pb.ModelConfig(name="m")
    hashed = with_hash(plain, "abc")

    assert not plain.parameters
    assert 'key: "triton_operator_hash"' in render(hashed)


def test_the_hash_is_read_back_from_the_answer_of_triton() -> None:
    hashed = with_hash(pb.ModelConfig(name="m"), "abc")
    answer = json_format.MessageToDict(hashed, preserving_proto_field_name=True)

    assert hash_of(answer) == "abc"


def test_what_an_ensemble_calls_is_read_back_from_the_answer_of_triton() -> None:
    asked = [{"model_name": "a", "model_version": "2"}, {"model_name": "a", "model_version": 1}]
    steps = [*asked, {"model_name": "b", "model_version": -1, "unheard": "of"}]

    assert steps_in({"ensemble_scheduling": {"step": steps}}) == {("a", 1), ("a", 2), ("b", -1)}
    assert steps_in({"name": "plain"}) == frozenset()


def test_an_answer_that_cannot_be_read_says_nothing() -> None:
    assert steps_in({"ensemble_scheduling": {"step": "first"}}) == frozenset()
    assert tensors_in({"input": "none"}) is None


@pytest.mark.parametrize(
    "answer", [{}, {"parameters": {}}, {"parameters": {"triton_operator_hash": None}}]
)
def test_a_config_of_someone_else_has_no_hash(answer: dict[str, Any]) -> None:
    assert hash_of(answer) is None
