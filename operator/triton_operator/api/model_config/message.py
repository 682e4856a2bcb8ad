"""What all messages of ``config.pbtxt`` share.

Field names are protobuf's, aliases protobuf's JSON names. As in proto3 every field is optional;
which ones were set is remembered, and only those are written.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.alias_generators import to_camel

from triton_operator.api.meta import Resource
from triton_operator.api.paths import MAX_PATH, is_relative_path
from triton_operator.api.rules import Rule, Schema

Int32 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1), Schema({"format": "int32"})]
Count32 = Annotated[int, Field(ge=0, le=2**31 - 1), Schema({"format": "int32"})]
"""An int32 of Triton that may not be negative."""
Positive32 = Annotated[int, Field(ge=1, le=2**31 - 1), Schema({"format": "int32"})]
"""An int32 of Triton that must be 1 or more."""
BatchSizes = Annotated[tuple[Positive32, ...], Field(max_length=64)]
UInt32 = Annotated[int, Field(ge=0, le=2**32 - 1), Schema({"format": "int64"})]
Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1), Schema({"format": "int64"})]
UInt64 = Annotated[int, Field(ge=0, le=2**63 - 1), Schema({"format": "int64"})]
"""As far as Kubernetes' JSON goes: its integers are signed."""
Float = Annotated[float, Field(ge=-3.4e38, le=3.4e38, allow_inf_nan=False)]
"""A single-precision number; the largest ones do not survive protobuf's JSON."""
Double = Annotated[float, Field(allow_inf_nan=False)]

Name = Annotated[str, Field(max_length=256)]
"""A name of something inside a model: a tensor, a policy, an agent."""
Text = Annotated[str, Field(max_length=16384)]
"""A free-form value."""
RelativePath = Annotated[
    str,
    Field(max_length=MAX_PATH),
    Rule(
        cel="!self.startsWith('/') && !('/' + self + '/').contains('/../')",
        message="must be a path inside the model's folder: remove the leading '/' and any '..'",
        holds=lambda path: not path or is_relative_path(path),
    ),
]
"""A path inside the model's folder."""
Dims = Annotated[tuple[Int64, ...], Field(max_length=64)]
"""A shape; -1 stands for any size."""
TensorDims = Annotated[
    Dims,
    Rule(
        cel="self.all(size, size == -1 || size > 0)",
        message="each dimension must be 1 or more, or -1 for any size: correct the one that is not",
        holds=lambda dims: all(size == -1 or size > 0 for size in dims),
    ),
]
"""The shape of a tensor that a model takes or gives."""
Sizes = Annotated[
    tuple[Annotated[int, Field(ge=0, le=2**63 - 1), Schema({"format": "int64"})], ...],
    Field(max_length=64),
]
"""The shape of a tensor that is there: of known sizes."""


class ProtoMessage(Resource):
    """One message of Triton's ``ModelConfig`` schema."""

    schema_defaults: ClassVar[bool] = False
    oneofs: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """The message's oneofs: of each group of fields at most one may be set."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Turn the oneofs into rules."""
        super().__pydantic_init_subclass__(**kwargs)
        groups = [fields for fields in cls.oneofs.values() if len(fields) > 1]
        cls.rules = (*cls.rules, *map(_at_most_one, groups))


def filled(field: str, message: str) -> Rule:
    """Return the rule that a text or a list is there, and not empty."""
    name = to_camel(field)
    return Rule(
        cel=f"has(self.{name}) && size(self.{name}) > 0",
        message=message,
        holds=lambda value: bool(getattr(value, field)),
    )


def _at_most_one(fields: tuple[str, ...]) -> Rule:
    names = [to_camel(field) for field in fields]
    return Rule(
        cel=f"[{', '.join(f'has(self.{name})' for name in names)}].filter(set, set).size() <= 1",
        message=f"{', '.join(names[:-1])} and {names[-1]} exclude each other: keep one of them",
        holds=_counts_at_most_one(fields),
    )


def _counts_at_most_one(fields: tuple[str, ...]) -> Callable[[ProtoMessage], bool]:
    return lambda message: sum(getattr(message, field) is not None for field in fields) <= 1
