"""How long pods take to become ready."""

from datetime import UTC, datetime, timedelta

from triton_operator.autoscaling.startup import estimate_startup, measure_startups, recall_startups
from triton_operator.observed import Pod

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


def pod(uid: str, seconds: float | None, restarts: int = 0) -> Pod:
    ready = BEGUN + timedelta(seconds=seconds) if seconds is not None else None
    return Pod(
        uid,
        uid=uid,
        created_at=BEGUN,
        ready=ready is not None,
        ready_since=ready,
        restarts=restarts,
    )


def test_a_minute_is_assumed_until_a_pod_was_seen_to_start() -> None:
    assert estimate_startup(measure_startups([pod("a", None)], {})) == 60


def test_one_odd_pod_changes_little() -> None:
    pods = [pod("first", 900), pod("b", 20), pod("c", 22)]
    assert estimate_startup(measure_startups(pods, {})) == 22


def test_a_pod_counts_once_and_not_after_its_container_was_started_again() -> None:
    known = measure_startups([pod("a", 20)], {})
    assert measure_startups([pod("a", 500), pod("b", 700, restarts=1)], known) == {"a": 20}


def test_pods_that_are_gone_are_remembered_but_not_for_ever() -> None:
    known: dict[str, float] = {}
    for number in range(30):
        known = measure_startups([pod(str(number), 20 + number)], known)
    assert len(known) < 15
    assert estimate_startup(known) > 40


def test_what_was_told_last_is_known_after_a_restart() -> None:
    assert estimate_startup(measure_startups([], recall_startups(25.0))) == 25
    assert estimate_startup(recall_startups(None)) == 60


def test_what_was_told_last_is_outweighed_by_what_is_seen_since() -> None:
    known = measure_startups([pod("odd", 300)], recall_startups(25.0))
    assert estimate_startup(known) == 25

    for number in range(12):
        known = measure_startups([pod(str(number), 90)], known)
    assert estimate_startup(known) == 90
    assert 25.0 not in known.values()
