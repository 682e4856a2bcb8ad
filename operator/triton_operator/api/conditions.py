"""Status conditions, with the transition rules of Kubernetes' ``meta.SetStatusCondition``."""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from triton_operator.api.meta import Observed
from triton_operator.api.rules import Schema


class ConditionType(StrEnum):
    """The conditions of a model or a server; True is the good answer but for three.

    ``PROGRESSING`` and ``SCALING_LIMITED`` report what is going on rather than a state to reach.
    ``STALLED`` is there only while it is true: tools that know kstatus take it for failed.
    """

    ACCEPTED = "Accepted"
    SYNCED = "Synced"
    LOADED = "Loaded"
    READY = "Ready"
    AVAILABLE = "Available"
    PROGRESSING = "Progressing"
    SCALING_LIMITED = "ScalingLimited"
    CLAIM_READY = "ClaimReady"
    STALLED = "Stalled"


class Condition(Observed):
    """One entry of ``status.conditions``."""

    type: ConditionType
    """What the condition is about."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Field(max_length=256)]
    """Why, as one CamelCase word for programs."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, and what to do about it, for people."""
    observed_generation: int
    """The generation of the object that this was said about."""
    last_transition_time: datetime
    """When the status last changed."""


Conditions = Annotated[
    tuple[Condition, ...],
    Field(max_length=16),
    Schema({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]
"""``status.conditions``, at most one of each type."""


def find_condition(conditions: Iterable[Condition], kind: ConditionType) -> Condition | None:
    """Return the condition of a type, None where nobody has said anything of it."""
    return next((each for each in conditions if each.type == kind), None)


def merge_conditions(
    old: Iterable[Condition], new: Iterable[Condition], *, now: datetime
) -> tuple[Condition, ...]:
    """Return ``new``, keeping the transition time of every status that did not change.

    The result is sorted by type, so that an unchanged state serialises to unchanged JSON
    and writes nothing.
    """
    before = {condition.type: condition for condition in old}
    merged = []
    for condition in new:
        known = before.get(condition.type)
        unchanged = known is not None and known.status == condition.status
        since = known.last_transition_time if known and unchanged else now.astimezone(UTC)
        merged.append(condition.model_copy(update={"last_transition_time": since}))
    return tuple(sorted(merged, key=lambda condition: condition.type))
