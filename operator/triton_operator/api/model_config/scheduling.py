"""How requests are queued, batched and routed: the ``scheduling_choice`` of a config."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from triton_operator.api.model_config.message import (
    Dims,
    Float,
    Int32,
    Int64,
    Name,
    Positive32,
    ProtoMessage,
    RelativePath,
    Sizes,
    UInt32,
    UInt64,
)
from triton_operator.api.model_config.tensors import DataType
from triton_operator.api.rules import Rule

TimeoutAction = Literal["REJECT", "DELAY"]
ControlKind = Literal[
    "CONTROL_SEQUENCE_START",
    "CONTROL_SEQUENCE_READY",
    "CONTROL_SEQUENCE_END",
    "CONTROL_SEQUENCE_CORRID",
]
BatchSizes = Annotated[tuple[Positive32, ...], Field(max_length=64)]

_NO_LEVELS = "!has(self.priorityLevels) || self.priorityLevels == 0"


class ModelQueuePolicy(ProtoMessage):
    """What happens to requests that wait."""

    timeout_action: TimeoutAction = "REJECT"
    """What to do with a request that waited too long: reject it, or serve it after the others."""
    default_timeout_microseconds: UInt64 = 0
    """How long a request may wait; 0 for ever."""
    allow_timeout_override: bool = False
    """Whether a request may bring a shorter timeout of its own."""
    max_queue_size: UInt32 = 0
    """Requests that may wait; further ones are rejected. 0 for no limit."""


class ModelDynamicBatching(ProtoMessage):
    """Joins requests that arrive one by one into batches."""

    rules = (
        Rule(
            cel=f"{_NO_LEVELS} || (has(self.defaultPriorityLevel) && self.defaultPriorityLevel >= 1"
            " && self.defaultPriorityLevel <= self.priorityLevels)",
            message="defaultPriorityLevel must be one of the levels, from 1 to priorityLevels: set"
            " it to that of requests that name none",
            holds=lambda self: (
                not self.priority_levels or 1 <= self.default_priority_level <= self.priority_levels
            ),
        ),
        Rule(
            cel=f"{_NO_LEVELS} || !has(self.priorityQueuePolicy) || self.priorityQueuePolicy.all("
            "level, int(level) >= 1 && int(level) <= self.priorityLevels)",
            message="priorityQueuePolicy names a level that is not there: they go from 1 to"
            " priorityLevels; remove it or raise priorityLevels",
            holds=lambda self: (
                not self.priority_levels
                or all(1 <= level <= self.priority_levels for level in self.priority_queue_policy)
            ),
        ),
        Rule(
            cel=f"{_NO_LEVELS} || self.priorityLevels == 1"
            " || !has(self.preserveOrdering) || !self.preserveOrdering",
            message="preserveOrdering allows one priority level only: remove preserveOrdering, or"
            " set priorityLevels to 1",
            holds=lambda self: not self.preserve_ordering or self.priority_levels <= 1,
        ),
    )

    preferred_batch_size: BatchSizes = ()
    """Batch sizes worth sending at once; leave out unless the model was built for some."""
    max_queue_delay_microseconds: UInt64 = 0
    """How long a request may wait for others to share its batch."""
    preserve_ordering: bool = False
    """Whether responses leave in the order of their requests."""
    priority_levels: UInt64 = 0
    """Number of priority levels; 1 is the highest. 0 for none."""
    default_priority_level: UInt64 = 0
    """Level of requests that name none; required when there are levels."""
    default_queue_policy: ModelQueuePolicy | None = None
    """Queue policy of levels that have none of their own."""
    priority_queue_policy: Annotated[
        Mapping[UInt64, ModelQueuePolicy],
        Field(max_length=64),
        Rule(
            cel="self.all(level, level.matches('^[0-9]+$'))",
            message="priorityQueuePolicy: write each priority level as a number: '1', '2'",
        ),
    ] = Field(default_factory=dict)
    """Queue policy of single priority levels, by level."""


class SequenceControl(ProtoMessage):
    """A signal to the model about where a sequence begins, ends or runs."""

    kind: ControlKind = "CONTROL_SEQUENCE_START"
    """What is signalled."""
    int32_false_true: Annotated[tuple[Int32, ...], Field(max_length=2)] = ()
    """The integers that stand for false and true."""
    fp32_false_true: Annotated[tuple[Float, ...], Field(max_length=2)] = ()
    """The floating-point numbers that stand for false and true."""
    bool_false_true: Annotated[tuple[bool, ...], Field(max_length=2)] = ()
    """The booleans that stand for false and true."""
    data_type: DataType = "TYPE_INVALID"
    """Type of the correlation ID, for CONTROL_SEQUENCE_CORRID."""


class SequenceControlInput(ProtoMessage):
    """An input of the model that receives signals about its sequence."""

    name: Name = ""
    """Name of the input."""
    control: Annotated[tuple[SequenceControl, ...], Field(max_length=8)] = ()
    """The signals that it carries."""


class SequenceInitialState(ProtoMessage):
    """What a state holds when its sequence begins."""

    oneofs: ClassVar[Mapping[str, tuple[str, ...]]] = {"state_data": ("zero_data", "data_file")}

    data_type: DataType = "TYPE_INVALID"
    """Type of the elements."""
    dims: Sizes = ()
    """Shape of the state, without the batch dimension."""
    zero_data: bool | None = None
    """Whether the state begins as zeros."""
    data_file: RelativePath | None = None
    """File below initial_state/ that holds the bytes of the state."""
    name: Name = ""
    """Name of this initial state, for the logs."""


class SequenceState(ProtoMessage):
    """A tensor that Triton keeps from one request of a sequence to the next."""

    input_name: Name = ""
    """Input that receives the state."""
    output_name: Name = ""
    """Output that holds the new state."""
    data_type: DataType = "TYPE_INVALID"
    """Type of the elements."""
    dims: Dims = ()
    """Shape of the state, without the batch dimension."""
    initial_state: Annotated[tuple[SequenceInitialState, ...], Field(max_length=8)] = ()
    """What the state holds when a sequence begins."""
    use_same_buffer_for_input_output: bool = False
    """Whether input and output share one buffer."""
    use_growable_memory: bool = False
    """Whether the buffer may grow with the sequence; needs the shared buffer."""


class SequenceStrategyDirect(ProtoMessage):
    """Gives every sequence a batch slot of its own until it ends."""

    max_queue_delay_microseconds: UInt64 = 0
    """How long a request may wait for others to share its batch."""
    minimum_slot_utilization: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """Share of slots that must hold a request before the delay ends early, 0 to 1."""


class SequenceStrategyOldest(ProtoMessage):
    """Batches the oldest requests of the sequences that are open."""

    max_candidate_sequences: Int32 = 0
    """Sequences that are worked on at the same time."""
    preferred_batch_size: BatchSizes = ()
    """Batch sizes worth sending at once."""
    max_queue_delay_microseconds: UInt64 = 0
    """How long a request may wait for others to share its batch."""
    preserve_ordering: bool = False
    """Whether responses leave in the order of their requests."""


class ModelSequenceBatching(ProtoMessage):
    """Sends all requests of a sequence to the same instance, for models that keep state."""

    oneofs: ClassVar[Mapping[str, tuple[str, ...]]] = {"strategy_choice": ("direct", "oldest")}

    direct: SequenceStrategyDirect | None = None
    """Give every sequence a batch slot of its own."""
    oldest: SequenceStrategyOldest | None = None
    """Batch the oldest requests of all sequences."""
    max_sequence_idle_microseconds: UInt64 = 0
    """How long a sequence may be silent before it is given up; Triton's default is one second."""
    control_input: Annotated[tuple[SequenceControlInput, ...], Field(max_length=32)] = ()
    """Inputs that receive signals about the sequence."""
    state: Annotated[tuple[SequenceState, ...], Field(max_length=64)] = ()
    """Tensors that Triton keeps from one request of a sequence to the next."""
    iterative_sequence: bool = False
    """Whether one request is run step by step, rescheduled by the model itself."""


class EnsembleStep(ProtoMessage):
    """One member of an ensemble and how its tensors are wired."""

    rules = (
        Rule(
            cel="has(self.modelName) && size(self.modelName) > 0",
            message="modelName is missing: name the member",
            holds=lambda self: bool(self.model_name),
        ),
        Rule(
            cel="has(self.modelVersion) && (self.modelVersion == -1 || self.modelVersion > 0)",
            message="modelVersion must be -1 for the latest, or 1 or more: Triton takes 0 if it is"
            " left out, which no member has; set it to -1",
            holds=lambda self: self.model_version == -1 or self.model_version > 0,
        ),
    )

    model_name: Name = ""
    """Name of the member; it must be served by the same server."""
    model_version: Int64 = 0
    """Version of the member; -1 for the latest."""
    input_map: Annotated[Mapping[str, Name], Field(max_length=256)] = Field(default_factory=dict)
    """Tensor of the ensemble that feeds each input of the member."""
    output_map: Annotated[Mapping[str, Name], Field(max_length=256)] = Field(default_factory=dict)
    """Tensor of the ensemble that each output of the member becomes."""
    model_namespace: Name = ""
    """Namespace of the member; the operator's servers use none."""


class ModelEnsembling(ProtoMessage):
    """A pipeline of models that answers one request."""

    rules = (
        Rule(
            cel="has(self.step) && size(self.step) > 0",
            message="step must have an entry: name a member",
            holds=lambda self: bool(self.step),
        ),
    )

    step: Annotated[tuple[EnsembleStep, ...], Field(max_length=128)] = ()
    """The members; their order is made by their tensors."""
    max_inflight_requests: UInt32 = 0
    """Requests that one step may have under way when a member streams; 0 for no limit."""
