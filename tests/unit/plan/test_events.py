"""Which changes of a status are news."""

from typing import Any

import pytest

from tests.unit.plan.values import NOW
from triton_operator.api.conditions import Condition
from triton_operator.api.model import TritonModelStatus
from triton_operator.plan.events import Event, find_events, is_passing


def status(said: str, message: str = "", generation: int = 1) -> TritonModelStatus:
    if not said:
        return TritonModelStatus()
    value, reason = said.split()
    condition: dict[str, Any] = {
        "type": "Ready",
        "status": value,
        "reason": reason,
        "message": message,
        "observed_generation": generation,
        "last_transition_time": NOW,
    }
    return TritonModelStatus(conditions=(Condition(**condition),))


@pytest.mark.parametrize(
    ("before", "after", "news"),
    [
        ("", "False Syncing", ""),
        ("False Syncing", "False Loading", ""),
        ("False Loading", "True Serving", "Normal"),
        ("", "True Serving", "Normal"),
        ("True Serving", "True Serving", ""),
        ("True Serving", "False NoReadyPods", ""),
        ("True Serving", "False LoadFailed", "Warning"),
        ("False Loading", "False LoadFailed", "Warning"),
        ("False LoadFailed", "False LoadFailed", ""),
        ("False LoadFailed", "False BlockedByFailedLoad", "Warning"),
        ("", "False InvalidEnsemble", "Warning"),
        ("", "False ServerNotFound", ""),
        ("True Serving", "", ""),
    ],
)
def test_a_transition_is_one_event_and_a_passing_state_none(
    before: str, after: str, news: str
) -> None:
    reason = after.rsplit(maxsplit=1)[-1] if news else ""
    expected = (Event(news, reason, "why"),) if news else ()  # type: ignore[arg-type]

    assert find_events(status(before), status(after, "why")) == expected


def test_another_message_is_no_news() -> None:
    assert find_events(status("False LoadFailed", "a"), status("False LoadFailed", "b")) == ()
    assert find_events(status("True Serving", "1 of 1"), status("True Serving", "2 of 2")) == ()


@pytest.mark.parametrize(
    ("said", "transition", "news"),
    [
        ("False LoadFailed", "BlockedByFailedLoad", 1),
        ("False NoReadyPods", "UpToDate", 0),
        ("True Serving", "UpToDate", 0),
    ],
)
def test_the_same_refusal_of_another_try_is_news(said: str, transition: str, news: int) -> None:
    before = status(said).model_copy(update={"transition": transition})
    after = before.model_copy(update={"retry": "monday"})

    assert len(find_events(before, after)) == news


def test_the_same_refusal_of_another_spec_is_news() -> None:
    before, after = status("False InvalidSpec"), status("False InvalidSpec", generation=2)

    assert len(find_events(before, after)) == 1


def waiting(reason: str, **fields: Any) -> TritonModelStatus:
    said = status("True Serving" if reason == "Serving" else f"False {reason}")
    return said.model_copy(update=fields)


@pytest.mark.parametrize(
    ("before", "after", "passing"),
    [
        (waiting("Syncing"), waiting("NoReadyPods"), True),
        (waiting("Syncing"), waiting("Loading"), False),
        (waiting("Syncing"), waiting("Serving"), False),
        (waiting("SyncBlocked"), waiting("NoReadyPods"), False),
        (waiting("NoReadyPods"), waiting("Syncing"), False),
        (waiting("Syncing"), waiting("NoReadyPods", observed_generation=2), False),
        (waiting("Syncing"), waiting("NoReadyPods", server="other"), False),
        (TritonModelStatus(), waiting("NoReadyPods"), False),
    ],
)
def test_only_the_wait_for_a_pod_after_that_for_files_is_passing(
    before: TritonModelStatus, after: TritonModelStatus, passing: bool
) -> None:
    assert is_passing(before, after) is passing
