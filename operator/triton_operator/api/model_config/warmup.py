"""Requests that are run before a model is called ready."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from triton_operator.api.model_config.message import (
    Name,
    ProtoMessage,
    RelativePath,
    Sizes,
    UInt32,
)
from triton_operator.api.model_config.tensors import DataType
from triton_operator.api.rules import Rule


class ModelWarmupInput(ProtoMessage):
    """What one input holds in a warm-up request."""

    rules = (
        Rule(
            cel="has(self.zeroData) || has(self.randomData) || has(self.inputDataFile)",
            message="zeroData, randomData or inputDataFile must say what the tensor holds: set one",
            holds=lambda self: (
                self.zero_data is not None
                or self.random_data is not None
                or self.input_data_file is not None
            ),
        ),
    )
    oneofs: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "input_data_type": ("zero_data", "random_data", "input_data_file")
    }

    data_type: DataType = "TYPE_INVALID"
    """Type of the elements."""
    dims: Sizes = ()
    """Shape of the tensor, without the batch dimension."""
    zero_data: bool | None = None
    """Whether the tensor is filled with zeros."""
    random_data: bool | None = None
    """Whether the tensor is filled with random values."""
    input_data_file: RelativePath | None = None
    """File below warmup/ that holds the bytes of the tensor."""


class ModelWarmup(ProtoMessage):
    """A request that is run before a model is called ready."""

    name: Name = ""
    """Name of the request, for the logs."""
    batch_size: UInt32 = 0
    """Batch size of the request; 0 for a model that does not batch."""
    inputs: Annotated[Mapping[str, ModelWarmupInput], Field(max_length=64)] = Field(
        default_factory=dict
    )
    """What the inputs hold, by name; every input of the model is needed."""
    count: UInt32 = 0
    """How often the request is run; 0 counts as 1."""
