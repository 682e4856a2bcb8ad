"""How long pods take to become ready."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from triton_operator.autoscaling.startup import estimate_startup, measure_startups, recall_startups
from triton_operator.observed import Pod

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
TIMEOUT = 1200


def pod(uid: str, seconds: float | None, restarts: int = 0, waited: float = 0) -> Pod:
    """Return one that was ready some seconds after it was made, having waited for a node."""
    ready = BEGUN + timedelta(seconds=seconds) if seconds is not None else None
    return Pod(
        uid,
        uid=uid,
        created_at=BEGUN,
        ready=ready is not None,
        ready_since=ready,
        restarts=restarts,
        started_at=(BEGUN + timedelta(seconds=waited)).isoformat(),
    )


def measure(pods: Iterable[Pod], known: Mapping[str, float]) -> dict[str, float]:
    return measure_startups(pods, known, timeout_seconds=TIMEOUT)


def test_a_minute_is_assumed_until_a_pod_was_seen_to_start() -> None:
    assert estimate_startup(measure([pod("a", None)], {})) == 60


def test_one_odd_pod_changes_little() -> None:
    pods = [pod("first", 900), pod("b", 20), pod("c", 22)]
    assert estimate_startup(measure(pods, {})) == 22


def test_a_pod_counts_once_and_not_after_its_container_was_started_again() -> None:
    known = measure([pod("a", 20)], {})
    assert measure([pod("a", 500), pod("b", 700, restarts=1)], known) == {"a": 20}


def test_pods_that_are_gone_are_remembered_but_not_for_ever() -> None:
    known: dict[str, float] = {}
    for number in range(30):
        known = measure([pod(str(number), 20 + number)], known)
    assert len(known) < 15
    assert estimate_startup(known) > 40


def test_what_was_told_last_is_known_after_a_restart() -> None:
    assert estimate_startup(measure([], recall_startups(25.0))) == 25
    assert estimate_startup(recall_startups(None)) == 60


def test_what_was_told_last_is_outweighed_by_what_is_seen_since() -> None:
    known = measure([pod("odd", 300)], recall_startups(25.0))
    assert estimate_startup(known) == 25

    for number in range(12):
        known = measure([pod(str(number), 90)], known)
    assert estimate_startup(known) == 90
    assert 25.0 not in known.values()


def test_a_pod_that_was_ready_before_does_not_count() -> None:
    """As one whose node was not heard of, days after it was made."""
    days = timedelta(days=3).total_seconds()
    known = measure([pod("a", days), pod("b", days)], recall_startups(45.0))
    assert estimate_startup(known) == 45
    assert estimate_startup(measure([pod("a", days), pod("b", 30), pod("c", days)], {})) == 30


def test_the_time_until_a_node_has_it_counts_however_long() -> None:
    assert measure([pod("a", 2000, waited=900)], {}) == {"a": 2000}
    assert measure([pod("a", 2000, waited=700)], {}) == {}
