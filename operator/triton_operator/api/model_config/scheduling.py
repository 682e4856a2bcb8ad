"""How requests are queued, batched and routed: the ``scheduling_choice`` of a config."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from triton_operator.api.model_config.message import (
    BatchSizes,
    Int64,
    Name,
    ProtoMessage,
    UInt32,
    UInt64,
    filled,
)
from triton_operator.api.rules import Rule

TimeoutAction = Literal["REJECT", "DELAY"]

_NO_LEVELS = "!has(self.priorityLevels) || self.priorityLevels == 0"


def _delays(policy: str) -> str:
    """CEL for whether the policy of that name serves late requests after the others."""
    return (
        f"has({policy}.timeoutAction) && {policy}.timeoutAction == 'DELAY'"
        f" && has({policy}.defaultTimeoutMicroseconds)"
        f" && {policy}.defaultTimeoutMicroseconds > 0"
    )


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

    @property
    def delays(self) -> bool:
        """Whether requests that waited too long are served after the others."""
        return self.timeout_action == "DELAY" and self.default_timeout_microseconds > 0


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
        Rule(
            cel="!has(self.preserveOrdering) || !self.preserveOrdering ||"
            f" (!(has(self.defaultQueuePolicy) && {_delays('self.defaultQueuePolicy')}) &&"
            " !(has(self.priorityQueuePolicy) && self.priorityQueuePolicy.exists(level,"
            f" {_delays('self.priorityQueuePolicy[level]')})))",
            message="preserveOrdering allows no queue policy that has a timeout and the action"
            " DELAY: remove preserveOrdering, or REJECT",
            holds=lambda self: (
                not self.preserve_ordering
                or not any(
                    policy.delays
                    for policy in (self.default_queue_policy, *self.priority_queue_policy.values())
                    if policy is not None
                )
            ),
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


class EnsembleStep(ProtoMessage):
    """One member of an ensemble and how its tensors are wired."""

    rules = (
        filled("model_name", "modelName is missing: name the member"),
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

    rules = (filled("step", "step must have an entry: name a member"),)

    step: Annotated[tuple[EnsembleStep, ...], Field(max_length=128)] = ()
    """The members; their order is made by their tensors."""
    max_inflight_requests: UInt32 = 0
    """Requests that one step may have under way when a member streams; 0 for no limit."""
