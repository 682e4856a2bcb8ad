"""Which changes of a status are news: one Event a transition, none for what stays as it is."""

from dataclasses import dataclass
from typing import Literal

from triton_operator.api.autoscaling import ScalingDecision
from triton_operator.api.conditions import Condition, ConditionType, find_condition
from triton_operator.api.model import TritonModelStatus
from triton_operator.api.server import TritonServerStatus
from triton_operator.plan.server_status import BESIDES, FOREIGN_AUTOSCALER

Status = TritonModelStatus | TritonServerStatus

SERVER_NOT_FOUND = "ServerNotFound"
"""What a model says that came before its server. Only if that stays away is there an Event, which
is for the model's pass to make."""

_PASSING = frozenset(
    {
        "Syncing",
        "Loading",
        "NoReadyPods",
        "PodsStarting",
        "ReplacingInPlace",
        "Complete",
        SERVER_NOT_FOUND,
    }
)
"""Reasons of a condition that is simply on its way."""


@dataclass(frozen=True, slots=True)
class Event:
    """One piece of news about an object."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def find_events(before: Status, after: Status) -> tuple[Event, ...]:
    """Return what is new: Ready that came or went, answered requests, numbers of pods, rivals."""
    return (
        *_ready_events(before, after),
        *_repair_events(before, after),
        *_rotation_events(before, after),
        *_scaling_events(before, after),
        *_rival_events(before, after),
    )


def _scaling_events(before: Status, after: Status) -> tuple[Event, ...]:
    told, made = ({*_decisions(each)} for each in (before, after))
    return tuple(
        Event("Normal", "Scaled", f"from {each.previous} to {each.desired}: {each.reason}")
        for each in sorted(made - told, key=lambda each: each.time)
    )


def _rival_events(before: Status, after: Status) -> tuple[Event, ...]:
    told, found = (_rival(each) for each in (before, after))
    return (Event("Warning", FOREIGN_AUTOSCALER, found),) if found not in ("", told) else ()


def _rival(status: Status) -> str:
    """Return who else scales a server, without what limits it besides, which comes and goes."""
    found = find_condition(status.conditions, ConditionType.SCALING_LIMITED)
    if found is None or found.reason != FOREIGN_AUTOSCALER:
        return ""
    return found.message.partition(BESIDES)[0]


def _decisions(status: Status) -> tuple[ScalingDecision, ...]:
    if not isinstance(status, TritonServerStatus) or status.autoscaling is None:
        return ()
    return status.autoscaling.decisions


def _repair_events(before: Status, after: Status) -> tuple[Event, ...]:
    done = after.repair if isinstance(after, TritonServerStatus) else None
    if done is None or (isinstance(before, TritonServerStatus) and before.repair == done):
        return ()
    mended = ", ".join(done.mended) or "nothing; all files are as they should be"
    return (Event("Normal", "Repaired", f"request {done.request!r}: mended {mended}"),)


def _rotation_events(before: Status, after: Status) -> tuple[Event, ...]:
    done = after.control_key if isinstance(after, TritonServerStatus) else None
    if done is None or (isinstance(before, TritonServerStatus) and before.control_key == done):
        return ()
    message = f"request {done.request!r}: all pods have the new control key; older ones are deleted"
    return (Event("Normal", "ControlKeyRotated", message),)


def _ready_events(before: Status, after: Status) -> tuple[Event, ...]:
    old, new = _ready(before), _ready(after)
    if new is None or (_same(old, new) and not _is_refused_again(before, after)):
        return ()
    if new.status == "True":
        return (Event("Normal", new.reason, new.message),)
    if new.reason in _PASSING:
        return ()
    return (Event("Warning", new.reason, new.message),)


def _is_refused_again(before: Status, after: Status) -> bool:
    """Return whether another try, which its user had asked for, has come to no better end."""
    match before, after:
        case TritonModelStatus(retry=old), TritonModelStatus(
            retry=new, transition="BlockedByFailedLoad"
        ):
            return old != new
    return False


def is_passing(before: TritonModelStatus, after: TritonModelStatus) -> bool:
    """Return whether all that is new is that a model waits for a pod, no more for its files."""
    waits = tuple(ready.reason if (ready := _ready(each)) else "" for each in (before, after))
    news = {"conditions": after.conditions, "sync": after.sync, "artifacts": after.artifacts}
    return waits == ("Syncing", "NoReadyPods") and before.model_copy(update=news) == after


def _ready(status: Status) -> Condition | None:
    return find_condition(status.conditions, ConditionType.READY)


def _same(old: Condition | None, new: Condition) -> bool:
    if old is None or old.status != new.status:
        return False
    if new.status == "True":
        return True
    return (old.reason, old.observed_generation) == (new.reason, new.observed_generation)
