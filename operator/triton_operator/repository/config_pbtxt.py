"""``config.pbtxt``: from the typed config to protobuf, to text, and back.

The schema is Triton's own (``model_config_schema``); protobuf's own ``json_format`` and
``text_format`` do the conversions.

A config that the operator writes carries a hash as a parameter. It is the only proof of what a
pod serves: Triton reports success for a reload that failed while the old version goes on
serving, but ``GET /v2/models/<m>/config`` shows the config that is really loaded.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from google.protobuf import json_format, text_format
from pydantic import ValidationError

from triton_operator import names
from triton_operator.api.meta import refusal
from triton_operator.api.model import TritonModelSpec
from triton_operator.api.model_config import ModelConfig
from triton_operator.errors import InvalidSpecError
from triton_operator.repository import model_config_schema as pb


def to_proto(config: ModelConfig) -> pb.ModelConfig:
    """Return the typed config as Triton's own message.

    Raises
    ------
    InvalidSpecError
        A value fits its type here but not in protobuf.

    """
    try:
        return json_format.ParseDict(config.manifest(), pb.ModelConfig())
    except json_format.ParseError as error:
        raise InvalidSpecError(f"spec.config: {error}") from error


def from_proto(proto: pb.ModelConfig, *, field: str = "spec.config") -> ModelConfig:
    """Return Triton's message as a typed config, with what is set in it and nothing else.

    Raises
    ------
    InvalidSpecError
        The message is larger than the API allows, or breaks one of its rules; ``field`` is named.

    """
    try:
        return ModelConfig.model_validate(json_format.MessageToDict(proto))
    except ValidationError as error:
        raise InvalidSpecError(refusal(error, below=field)) from error


def parse_text(text: str) -> pb.ModelConfig:
    """Read the text of a ``config.pbtxt``.

    Raises
    ------
    InvalidSpecError
        The text does not parse; the message gives line and column.

    """
    try:
        return text_format.Parse(text, pb.ModelConfig())
    except text_format.ParseError as error:
        place = f"{error.GetLine()}:{error.GetColumn()}"
        message = str(error).removeprefix(f"{place} : ")
        raise InvalidSpecError(f"spec.configText: {place} {message}") from error


def render(proto: pb.ModelConfig) -> str:
    """Return the text of a ``config.pbtxt``; equal messages give equal texts."""
    return _render(proto.SerializeToString(deterministic=True))


@lru_cache(maxsize=4096)
def _render(message: bytes) -> str:
    """Return the text of a message: every pass asks for all models, and few have changed."""
    text: str = text_format.MessageToString(pb.ModelConfig.FromString(message), as_utf8=True)
    return text


def build_config(spec: TritonModelSpec, model_name: str) -> pb.ModelConfig:
    """Return the config that ``spec`` asks for, under the name of the model.

    It is empty but for the name where the spec has no config: Triton completes it.

    Raises
    ------
    InvalidSpecError
        The text does not parse, breaks a rule of the typed config, or names another model.

    """
    if spec.config_text is not None:
        field, proto = "spec.configText", parse_text(spec.config_text)
        _check_text(spec, proto)
    else:
        field, proto = "spec.config", to_proto(spec.config or ModelConfig())
    if proto.name not in ("", model_name):
        raise InvalidSpecError(
            f"{field}: name is {proto.name!r} but the model is called {model_name!r}: remove the"
            f" name from the config, or set spec.modelName to {proto.name!r}"
        )
    proto.name = model_name
    return proto


def with_hash(proto: pb.ModelConfig, config_hash: str) -> pb.ModelConfig:
    """Return a copy of the config that carries the hash."""
    copy = pb.ModelConfig()
    copy.CopyFrom(proto)
    copy.parameters[names.CONFIG_HASH_PARAMETER].string_value = config_hash
    return copy


def hash_of(config: Mapping[str, Any]) -> str | None:
    """Return the hash in a config as Triton answers it in JSON; None if there is none."""
    match config:
        case {"parameters": {names.CONFIG_HASH_PARAMETER: {"string_value": str(value)}}}:
            return value
    return None


def steps_of(config: pb.ModelConfig) -> frozenset[tuple[str, int]]:
    """Return the models that an ensemble calls, each with the version; -1 for the latest."""
    return frozenset(
        (step.model_name, step.model_version) for step in config.ensemble_scheduling.step
    )


def steps_in(config: Mapping[str, Any]) -> frozenset[tuple[str, int]]:
    """Return `steps_of` a config as Triton answers it in JSON; none if it cannot be read."""
    return steps_of(_read(config, "ensemble_scheduling") or pb.ModelConfig())


def tensors_of(config: pb.ModelConfig) -> str:
    """Return what a model takes and gives, in a form that can be compared."""
    ends = (
        f"{tensor.name}:{tensor.data_type}:{list(tensor.dims)}"
        for tensors in (config.input, config.output)
        for tensor in sorted(tensors, key=lambda each: each.name)
    )
    return " ".join((f"batches:{config.max_batch_size > 0}", *ends))


def tensors_in(config: Mapping[str, Any]) -> str | None:
    """Return `tensors_of` a config as Triton answers it in JSON; None if it cannot be read."""
    known = _read(config, "max_batch_size", "input", "output")
    return tensors_of(known) if known is not None else None


def _read(config: Mapping[str, Any], *keys: str) -> pb.ModelConfig | None:
    known = {key: config[key] for key in keys if key in config}
    try:
        return json_format.ParseDict(known, pb.ModelConfig(), ignore_unknown_fields=True)
    except json_format.ParseError:
        return None


def _check_text(spec: TritonModelSpec, proto: pb.ModelConfig) -> None:
    """Hold a config given as text to the rules of a typed one: its paths, above all."""
    config = from_proto(proto, field="spec.configText")
    try:
        spec.model_copy(update={"config": config, "config_text": None}).check_rules()
    except ValueError as error:
        raise InvalidSpecError(f"spec.configText: {error}") from error
