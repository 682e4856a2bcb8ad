"""How the requests of a sequence are kept together."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from triton_operator.api.model_config.message import (
    BatchSizes,
    Dims,
    Float,
    Int32,
    Name,
    ProtoMessage,
    RelativePath,
    Sizes,
    UInt64,
    filled,
)
from triton_operator.api.model_config.tensors import DataType
from triton_operator.api.rules import Rule

ControlKind = Literal[
    "CONTROL_SEQUENCE_START",
    "CONTROL_SEQUENCE_READY",
    "CONTROL_SEQUENCE_END",
    "CONTROL_SEQUENCE_CORRID",
]
_IDS = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")
_IS_ID = "(has(self.kind) && self.kind == 'CONTROL_SEQUENCE_CORRID')"
_VALUES = "[{}]".format(
    ", ".join(
        f"has(self.{name}) ? size(self.{name}) : 0"
        for name in ("int32FalseTrue", "fp32FalseTrue", "boolFalseTrue")
    )
)


class SequenceControl(ProtoMessage):
    """A signal to the model about where a sequence begins, ends or runs."""

    rules = (
        Rule(
            cel=f"{_IS_ID} || ({_VALUES}.exists(count, count == 2)"
            f" && {_VALUES}.filter(count, count > 0).size() == 1)",
            message="one of int32FalseTrue, fp32FalseTrue and boolFalseTrue must have two entries,"
            " the value for false and that for true, and the others none: correct them",
            holds=lambda self: self.tells_id or sorted(self.counts) == [0, 0, 2],
        ),
        Rule(
            cel=f"!({_IS_ID}) || (has(self.dataType) && self.dataType in {list(_IDS)}"
            f" && {_VALUES}.all(count, count == 0))",
            message="CONTROL_SEQUENCE_CORRID needs a dataType, a 32 or 64 bit integer or"
            " TYPE_STRING, and no values for false and true: set it and remove them",
            holds=lambda self: (
                not self.tells_id or (self.data_type in _IDS and not any(self.counts))
            ),
        ),
    )

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

    @property
    def tells_id(self) -> bool:
        """Whether the correlation ID is signalled, which has no false and true."""
        return self.kind == "CONTROL_SEQUENCE_CORRID"

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many values each of the three types has."""
        return len(self.int32_false_true), len(self.fp32_false_true), len(self.bool_false_true)


class SequenceControlInput(ProtoMessage):
    """An input of the model that receives signals about its sequence."""

    rules = (filled("name", "name is missing: name the input"),)

    name: Name = ""
    """Name of the input."""
    control: Annotated[tuple[SequenceControl, ...], Field(max_length=8)] = ()
    """The signals that it carries."""


class SequenceInitialState(ProtoMessage):
    """What a state holds when its sequence begins."""

    rules = (
        filled("name", "name is missing: name this initial state"),
        Rule(
            cel="has(self.zeroData) || has(self.dataFile)",
            message="zeroData or dataFile must say what the state holds: set one",
            holds=lambda self: self.zero_data is not None or self.data_file is not None,
        ),
    )

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
    initial_state: Annotated[tuple[SequenceInitialState, ...], Field(max_length=1)] = ()
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
