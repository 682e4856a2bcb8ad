"""Which pods go first."""

from tests.unit.autoscaling.pods import counters, sample
from triton_operator.autoscaling.idleness import order_by_idleness


def test_silent_pods_go_first_then_those_with_least_waiting_then_the_slowest() -> None:
    before = {uid: sample({"m": counters(success=100)}, uid) for uid in "abc"}
    now = [
        sample({"m": counters(success=110, pending=4)}, "a", at=5),
        sample({"m": counters(success=190)}, "b", at=5),
        sample({"m": counters(success=120)}, "c", at=5),
    ]
    assert order_by_idleness("abcd", before, now) == ("d", "c", "b", "a")


def test_a_pod_that_started_again_counts_as_one_that_did_nothing() -> None:
    before = {"a": sample({"m": counters(success=900)}, "a"), "b": sample({"m": counters()}, "b")}
    now = [
        sample({"m": counters(success=950)}, "a", at=5, started=2.0),
        sample({"m": counters(success=1)}, "b", at=5),
    ]
    assert order_by_idleness("ab", before, now) == ("a", "b")
