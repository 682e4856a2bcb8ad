"""Conditions before they are dated: what holds of an object, and why."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from triton_operator.api.conditions import Condition, ConditionType, merge_conditions
from triton_operator.observed import ModelRecord, ServerRecord


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition before it is dated."""

    type: ConditionType
    holds: bool
    reason: str
    message: str = ""


def date_findings(
    record: ModelRecord | ServerRecord,
    findings: Iterable[Finding],
    *,
    kept: Iterable[Condition] = (),
    now: datetime,
) -> tuple[Condition, ...]:
    """Return the conditions of an object: those that are kept, and what was found.

    A condition whose status is as before has the time of that.
    """
    conditions = (
        Condition(
            type=finding.type,
            status="True" if finding.holds else "False",
            reason=finding.reason,
            message=finding.message,
            observed_generation=record.meta.generation,
            last_transition_time=now,
        )
        for finding in findings
    )
    return merge_conditions(record.status.conditions, (*kept, *conditions), now=now)
