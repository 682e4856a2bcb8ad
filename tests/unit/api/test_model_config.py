"""``api.model_config`` against the protobuf descriptor of the schema that Triton ships."""

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from pydantic import ValidationError
from tritonclient.grpc import model_config_pb2 as pb

from triton_operator.api.model_config import ModelConfig
from triton_operator.api.model_config.message import ProtoMessage

INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
}


def unwrapped(annotation: Any) -> Any:
    """The type itself: without ``Annotated`` and without ``| None``."""
    if get_origin(annotation) is Annotated:
        return unwrapped(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (each for each in get_args(annotation) if each is not type(None))
        return unwrapped(annotation)
    return annotation


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def messages(
    model: type[ProtoMessage], descriptor: Descriptor
) -> Iterator[tuple[type[ProtoMessage], Descriptor]]:
    """Every message type reachable from the pair, ours beside protobuf's."""
    yield model, descriptor
    for field in descriptor.fields:
        name = next((n for n, f in model.model_fields.items() if f.alias == field.json_name), None)
        assert name, f"{descriptor.full_name}.{field.name} is missing in {model.__name__}"
        ours = unwrapped(model.model_fields[name].annotation)
        theirs = field.message_type
        if is_map(field):
            ours, theirs = unwrapped(get_args(ours)[1]), theirs.fields_by_name["value"].message_type
        elif field.is_repeated:
            ours = unwrapped(get_args(ours)[0])
        if theirs is not None:
            yield from messages(ours, theirs)


PAIRS = {
    descriptor.full_name: pair
    for pair in messages(ModelConfig, pb.ModelConfig.DESCRIPTOR)
    for descriptor in (pair[1],)
}


def kind_of(annotation: Any) -> Any:
    annotation = unwrapped(annotation)
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return ProtoMessage if issubclass(annotation, ProtoMessage) else annotation


def expected_kind(field: FieldDescriptor) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_MESSAGE:
            return ProtoMessage
        case FieldDescriptor.CPPTYPE_ENUM:
            return {value.name for value in field.enum_type.values}
        case FieldDescriptor.CPPTYPE_BOOL:
            return bool
        case FieldDescriptor.CPPTYPE_STRING:
            return str
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return float
        case integer:
            assert integer in INTEGERS
            return int


@pytest.mark.parametrize("name", PAIRS)
def test_a_message_has_the_fields_of_the_descriptor(name: str) -> None:
    model, descriptor = PAIRS[name]
    ours = {field.removesuffix("_"): info.alias for field, info in model.model_fields.items()}

    assert ours == {field.name: field.json_name for field in descriptor.fields}


@pytest.mark.parametrize("name", PAIRS)
def test_a_field_has_the_type_of_the_descriptor(name: str) -> None:
    model, descriptor = PAIRS[name]
    for field in descriptor.fields:
        info = next(f for f in model.model_fields.values() if f.alias == field.json_name)
        ours = unwrapped(info.annotation)
        if is_map(field):
            entry = field.message_type.fields_by_name
            assert get_origin(ours) is Mapping, field.full_name
            key, value = get_args(ours)
            assert kind_of(key) == expected_kind(entry["key"]), field.full_name
            assert kind_of(value) == expected_kind(entry["value"]), field.full_name
        elif field.is_repeated:
            assert get_origin(ours) is tuple, field.full_name
            assert kind_of(get_args(ours)[0]) == expected_kind(field), field.full_name
        else:
            assert kind_of(ours) == expected_kind(field), field.full_name


@pytest.mark.parametrize("name", PAIRS)
def test_an_unset_enum_is_the_first_of_its_values(name: str) -> None:
    model, descriptor = PAIRS[name]
    for field in descriptor.fields:
        info = next(f for f in model.model_fields.values() if f.alias == field.json_name)
        if field.enum_type is not None and not field.is_repeated:
            assert info.default == field.enum_type.values_by_number[0].name


@pytest.mark.parametrize("name", PAIRS)
def test_the_oneofs_are_those_of_the_descriptor(name: str) -> None:
    model, descriptor = PAIRS[name]

    assert model.oneofs == {
        oneof.name: tuple(field.name for field in oneof.fields) for oneof in descriptor.oneofs
    }


def test_the_whole_schema_is_covered() -> None:
    # Every message of the file but ModelConfig's map entries; a new one would show up here.
    top = set(pb.DESCRIPTOR.message_types_by_name)
    assert top <= {name.split(".")[1] for name in PAIRS}


def test_at_most_one_field_of_a_oneof_may_be_set() -> None:
    with pytest.raises(ValidationError, match="dynamicBatching, sequenceBatching and ensemble"):
        ModelConfig.model_validate({"dynamicBatching": {}, "sequenceBatching": {}})


def test_only_what_was_set_is_written() -> None:
    config = ModelConfig.model_validate({"maxBatchSize": 0, "dynamicBatching": {}})

    assert config.manifest() == {"maxBatchSize": 0, "dynamicBatching": {}}


def test_a_field_may_be_written_by_its_name_in_config_pbtxt() -> None:
    assert ModelConfig(max_batch_size=8) == ModelConfig.model_validate({"maxBatchSize": 8})


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"defaultModelFilename": "../model.onnx"}, "defaultModelFilename"),
        ({"defaultModelFilename": "/etc/passwd"}, "defaultModelFilename"),
        ({"ccModelFilenames": {"8.0": "a/../../b"}}, "ccModelFilenames"),
        ({"output": [{"labelFilename": "../labels.txt"}]}, "labelFilename"),
        ({"modelOperations": {"opLibraryFilename": ["/lib/x.so"]}}, "opLibraryFilename"),
        ({"parameters": {"EXECUTION_ENV_PATH": {"stringValue": "/x"}}}, "EXECUTION_ENV_PATH"),
        ({"parameters": {"triton_operator_hash": {"stringValue": "x"}}}, "triton_operator_hash"),
        ({"modelWarmup": [{"inputs": {"x": {"inputDataFile": ".."}}}]}, "inputDataFile"),
    ],
)
def test_a_config_cannot_reach_out_of_its_folder_or_forge_its_hash(
    config: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError, match=field):
        ModelConfig.model_validate(config)
