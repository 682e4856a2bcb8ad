"""The rules by which conditions change."""

from datetime import UTC, datetime, timedelta

from triton_operator.api.conditions import Condition, ConditionType, merge_conditions

THEN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = THEN + timedelta(hours=1)


def condition(kind: ConditionType, status: str, reason: str = "Any") -> Condition:
    return Condition.model_validate(
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "observedGeneration": 1,
            "lastTransitionTime": THEN,
        }
    )


def test_the_time_of_an_unchanged_status_is_kept() -> None:
    old = condition(ConditionType.READY, "True")
    new = condition(ConditionType.READY, "True", "OtherReason")
    (merged,) = merge_conditions([old], [new], now=NOW)

    assert (merged.reason, merged.last_transition_time) == ("OtherReason", THEN)


def test_a_changed_or_new_status_gets_the_time_of_now() -> None:
    old = condition(ConditionType.READY, "True")
    new = [condition(ConditionType.READY, "False"), condition(ConditionType.ACCEPTED, "True")]

    merged = merge_conditions([old], new, now=NOW)
    assert {each.last_transition_time for each in merged} == {NOW}


def test_conditions_are_sorted_so_that_an_unchanged_state_writes_nothing() -> None:
    both = [condition(ConditionType.READY, "True"), condition(ConditionType.ACCEPTED, "True")]

    once = merge_conditions(both, both, now=NOW)
    assert once == merge_conditions(once, reversed(both), now=NOW)
    assert [each.type for each in once] == ["Accepted", "Ready"]


def test_a_condition_that_is_no_longer_reported_goes() -> None:
    assert merge_conditions([condition(ConditionType.LOADED, "True")], [], now=NOW) == ()
