"""Where and how many copies of a model run."""

from typing import Annotated, Literal

from pydantic import Field

from triton_operator.api.model_config.message import Count32, Int64, Name, ProtoMessage, UInt32
from triton_operator.api.rules import Rule, Schema

InstanceGroupKind = Literal["KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL"]
SecondaryDeviceKind = Literal["KIND_NVDLA"]


class ModelRateLimiterResource(ProtoMessage):
    """A resource that an instance needs while it runs."""

    name: Name = ""
    """Name of the resource."""
    global_: Annotated[bool, Field(alias="global")] = False
    """Whether the resource is shared by all devices rather than counted on each."""
    count: UInt32 = 0
    """How many of it one instance takes."""


class ModelRateLimiter(ProtoMessage):
    """What the rate limiter needs to know to schedule instances."""

    resources: Annotated[tuple[ModelRateLimiterResource, ...], Field(max_length=64)] = ()
    """Resources that an instance needs before it runs."""
    priority: UInt32 = 0
    """Weight against other models: priority 2 gets half the turns of priority 1."""


class SecondaryDevice(ProtoMessage):
    """A device that an instance uses besides its first one."""

    kind: SecondaryDeviceKind = "KIND_NVDLA"
    """Kind of the device."""
    device_id: Int64 = 0
    """Number of the device."""


class ModelInstanceGroup(ProtoMessage):
    """A group of instances of the model on the same kind of device."""

    rules = (
        Rule(
            cel="!has(self.gpus) || size(self.gpus) == 0 || !has(self.kind)"
            " || !(self.kind in ['KIND_CPU', 'KIND_MODEL'])",
            message="gpus is for KIND_GPU and KIND_AUTO only: remove gpus or change kind",
            holds=lambda self: not self.gpus or self.kind in ("KIND_GPU", "KIND_AUTO"),
        ),
    )

    name: Name = ""
    """Name of the group; made up by Triton if left out."""
    kind: InstanceGroupKind = "KIND_AUTO"
    """Device to run on; KIND_AUTO falls back to the CPU without a word, KIND_GPU fails."""
    count: Count32 = 0
    """Instances on each GPU, or in all where no GPU is used; 0 lets the backend choose."""
    rate_limiter: ModelRateLimiter | None = None
    """What the rate limiter needs to know about these instances."""
    gpus: Annotated[
        tuple[Annotated[int, Field(ge=0, le=63), Schema({"format": "int32"})], ...],
        Field(max_length=64),
    ] = ()
    """Indexes of GPUs inside the pod, counted from 0; all of them if left out."""
    secondary_devices: Annotated[tuple[SecondaryDevice, ...], Field(max_length=64)] = ()
    """Further devices that each instance uses."""
    profile: Annotated[tuple[Name, ...], Field(max_length=64)] = ()
    """TensorRT optimization profiles to use, by index."""
    passive: bool = False
    """Whether the instances are loaded but given no requests by the scheduler."""
    host_policy: Name = ""
    """Name of the host policy (NUMA placement) of these instances."""
