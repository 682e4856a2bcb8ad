"""How Triton may optimize the execution of a model."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from triton_operator.api.model_config.message import (
    Dims,
    Int32,
    Name,
    ProtoMessage,
    Text,
    UInt32,
)

ModelPriority = Literal["PRIORITY_DEFAULT", "PRIORITY_MAX", "PRIORITY_MIN"]


class OptimizationGraph(ProtoMessage):
    """Graph optimizations of the framework."""

    level: Int32 = 0
    """Level of optimization; what a number means is the backend's to say."""


class CudaGraphShape(ProtoMessage):
    """Shape of one input of a CUDA graph."""

    dim: Dims = ()
    """The dimensions, without the batch."""


class CudaGraphLowerBound(ProtoMessage):
    """The smallest request that a CUDA graph may serve."""

    batch_size: Int32 = 0
    """Its batch size."""
    input: Annotated[Mapping[str, CudaGraphShape], Field(max_length=64)] = Field(
        default_factory=dict
    )
    """Its shapes, by input."""


class CudaGraphSpec(ProtoMessage):
    """One CUDA graph to capture."""

    batch_size: Int32 = 0
    """Batch size that the graph is captured for."""
    input: Annotated[Mapping[str, CudaGraphShape], Field(max_length=64)] = Field(
        default_factory=dict
    )
    """Shapes that the graph is captured for, by input."""
    graph_lower_bound: CudaGraphLowerBound | None = None
    """Smallest request that the graph may serve; without it only exact matches are."""


class OptimizationCuda(ProtoMessage):
    """CUDA settings of the model."""

    graphs: bool = False
    """Whether to capture and use CUDA graphs."""
    busy_wait_events: bool = False
    """Whether to wait for CUDA events by spinning: less latency, more CPU."""
    graph_spec: Annotated[tuple[CudaGraphSpec, ...], Field(max_length=64)] = ()
    """Graphs to capture; chosen by the backend if left out."""
    output_copy_stream: bool = False
    """Whether outputs are copied on a CUDA stream of their own."""


class Accelerator(ProtoMessage):
    """An accelerator of the framework."""

    name: Name = ""
    """Name of the accelerator, such as tensorrt or openvino."""
    parameters: Annotated[Mapping[str, Text], Field(max_length=64)] = Field(default_factory=dict)
    """Settings of the accelerator."""


class ExecutionAccelerators(ProtoMessage):
    """Accelerators of the framework, in the order of preference."""

    gpu_execution_accelerator: Annotated[tuple[Accelerator, ...], Field(max_length=16)] = ()
    """Accelerators for instances on a GPU."""
    cpu_execution_accelerator: Annotated[tuple[Accelerator, ...], Field(max_length=16)] = ()
    """Accelerators for instances on the CPU."""


class PinnedMemoryBuffer(ProtoMessage):
    """Whether pinned memory is used for copies."""

    enable: bool = False
    """Whether to use it; Triton does where this is left out."""


class ModelOptimizationPolicy(ProtoMessage):
    """Optimization settings of a model."""

    graph: OptimizationGraph | None = None
    """Graph optimizations of the framework."""
    priority: ModelPriority = "PRIORITY_DEFAULT"
    """Priority of the model's work on the device."""
    cuda: OptimizationCuda | None = None
    """CUDA settings."""
    execution_accelerators: ExecutionAccelerators | None = None
    """Accelerators of the framework, such as TensorRT for ONNX models."""
    input_pinned_memory: PinnedMemoryBuffer | None = None
    """Pinned memory for inputs."""
    output_pinned_memory: PinnedMemoryBuffer | None = None
    """Pinned memory for outputs."""
    gather_kernel_buffer_threshold: UInt32 = 0
    """Number of buffers from which a CUDA kernel gathers the inputs; 0 never."""
    eager_batching: bool = False
    """Whether to start preparing the next batch before the model is free."""
