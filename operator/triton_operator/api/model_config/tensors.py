"""Inputs and outputs of a model."""

from typing import Annotated, Literal

from pydantic import Field

from triton_operator.api.model_config.message import (
    Name,
    ProtoMessage,
    RelativePath,
    TensorDims,
    filled,
)
from triton_operator.api.rules import Rule

DataType = Literal[
    "TYPE_INVALID",
    "TYPE_BOOL",
    "TYPE_UINT8",
    "TYPE_UINT16",
    "TYPE_UINT32",
    "TYPE_UINT64",
    "TYPE_INT8",
    "TYPE_INT16",
    "TYPE_INT32",
    "TYPE_INT64",
    "TYPE_FP16",
    "TYPE_FP32",
    "TYPE_FP64",
    "TYPE_STRING",
    "TYPE_BF16",
]
InputFormat = Literal["FORMAT_NONE", "FORMAT_NHWC", "FORMAT_NCHW"]
BatchInputKind = Literal[
    "BATCH_ELEMENT_COUNT",
    "BATCH_ACCUMULATED_ELEMENT_COUNT",
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO",
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE",
    "BATCH_ITEM_SHAPE",
    "BATCH_ITEM_SHAPE_FLATTEN",
]
BatchOutputKind = Literal["BATCH_SCATTER_WITH_INPUT_SHAPE"]

Names = Annotated[tuple[Name, ...], Field(max_length=256)]

_ONE_SOURCE = Rule(
    cel="has(self.sourceInput) && size(self.sourceInput) == 1",
    message="sourceInput must have exactly one entry: name one input of the model",
    holds=lambda self: len(self.source_input) == 1,
)


class ModelTensorReshape(ProtoMessage):
    """How a tensor is reshaped between the inference request and the model."""

    shape: TensorDims = ()
    """The shape that the backend sees."""


class ModelInput(ProtoMessage):
    """One input that the model requires."""

    name: Name = ""
    """Name of the tensor, as the model knows it."""
    data_type: DataType = "TYPE_INVALID"
    """Type of the elements."""
    format: InputFormat = "FORMAT_NONE"
    """Layout of an image input."""
    dims: TensorDims = ()
    """Shape without the batch dimension; -1 for a dimension of any size."""
    reshape: ModelTensorReshape | None = None
    """Shape that the backend expects where it differs from the one that clients send."""
    is_shape_tensor: bool = False
    """Whether the tensor's value is a shape (TensorRT)."""
    allow_ragged_batch: bool = False
    """Whether requests of different shapes may be batched together."""
    optional: bool = False
    """Whether a request may leave this input out."""
    is_non_linear_format_io: bool = False
    """Whether the tensor uses a non-linear TensorRT format."""


class ModelOutput(ProtoMessage):
    """One output that the model produces."""

    name: Name = ""
    """Name of the tensor, as the model knows it."""
    data_type: DataType = "TYPE_INVALID"
    """Type of the elements."""
    dims: TensorDims = ()
    """Shape without the batch dimension; -1 for a dimension of any size."""
    reshape: ModelTensorReshape | None = None
    """Shape that the backend produces where it differs from the one that clients get."""
    label_filename: RelativePath = ""
    """File of class labels, one a line, beside config.pbtxt."""
    is_shape_tensor: bool = False
    """Whether the tensor's value is a shape (TensorRT)."""
    is_non_linear_format_io: bool = False
    """Whether the tensor uses a non-linear TensorRT format."""


class BatchInput(ProtoMessage):
    """An extra input that describes the batch, made by Triton for the backend."""

    rules = (
        _ONE_SOURCE,
        Rule(
            cel="has(self.dataType) && self.dataType in ['TYPE_INT32', 'TYPE_FP32']",
            message="dataType must be TYPE_INT32 or TYPE_FP32: set it to one of them",
            holds=lambda self: self.data_type in ("TYPE_INT32", "TYPE_FP32"),
        ),
    )

    kind: BatchInputKind = "BATCH_ELEMENT_COUNT"
    """What is told about the batch."""
    target_name: Names = ()
    """Inputs of the model that receive it."""
    data_type: DataType = "TYPE_INVALID"
    """Type of the elements."""
    source_input: Names = ()
    """Inputs that it is derived from."""


class BatchOutput(ProtoMessage):
    """An output of a whole batch that Triton splits into responses."""

    rules = (
        _ONE_SOURCE,
        # Without one, the python backend takes the whole server down with it.
        filled("target_name", "targetName must have an entry: name the outputs that are split"),
    )

    target_name: Names = ()
    """Outputs that are split."""
    kind: BatchOutputKind = "BATCH_SCATTER_WITH_INPUT_SHAPE"
    """How they are split."""
    source_input: Names = ()
    """Inputs whose shapes say how."""
