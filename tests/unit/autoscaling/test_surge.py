"""Pods for what will wait."""

import numpy as np
import pytest

from triton_operator.autoscaling.surge import Surge, size_for_surge
from triton_operator.autoscaling.trail import Trail


def size(load: float, ready: float, *ordered: tuple[float, float], waiting: float = 0.0) -> float:
    """At 100 s, with pods that need 60 s; ``ordered`` has when and how many pods in total."""
    trail: Trail[float] = Trail(
        tuple(at for at, _ in ordered), tuple(number for _, number in ordered)
    )
    return float(size_for_surge(Surge(100.0, load, 60.0, 0.5, waiting, ready, trail)))


def test_without_a_backlog_it_is_the_load_alone() -> None:
    assert size(3.8, 5, (0, 5)) == pytest.approx(4.0)


def test_what_piles_up_until_the_pods_are_ready_is_ordered_for_before_it_has() -> None:
    # 60 s of 5 busy pods too many, to be done in 15 s
    assert size(10, 5, (0, 5)) == pytest.approx((10 + 5 * 60 / 15) / 0.95)


def test_what_was_ordered_counts_for_the_time_that_it_will_be_there() -> None:
    # 5 more, ordered 20 s ago, will work for 20 of the next 60 s.
    assert size(10, 5, (0, 5), (80, 10), waiting=0) == pytest.approx((10 + 200 / 15) / 0.95)


def test_a_steady_surge_is_not_ordered_for_twice() -> None:
    """While the pods come, what they will do grows as quickly as what waits."""
    first = size(10, 5, (0, 5))
    later = [size(10, 5, (0, 5), (100 - t, first), waiting=5.0 * t) for t in (5, 20, 40)]

    assert all(each <= first * (1 + 1e-9) for each in later)


def test_pods_that_came_for_a_backlog_stay_until_it_is_gone() -> None:
    ordered = (0, 30.0)

    assert size(10, 30, ordered, waiting=300) == pytest.approx(30)
    assert size(10, 30, ordered, waiting=10) == pytest.approx(10 / 0.95)


def test_what_was_asked_for_before_the_trail_began_is_what_is_ready() -> None:
    assert size(5, 5, (95, 5)) == pytest.approx(5 / 0.95)


def test_many_pools_are_sized_as_one() -> None:
    trail = Trail((0.0, 80.0), (np.array([5.0, 8.0]), np.array([10.0, 8.0])))
    waiting, ready = np.array([0.0, 30.0]), np.array([5.0, 8.0])

    both = size_for_surge(Surge(100.0, 10.0, 60.0, 0.5, waiting, ready, trail))

    assert both[0] == pytest.approx(size(10, 5, (0, 5), (80, 10)))
    assert both[1] == pytest.approx(size(10, 8, (0, 8), (80, 8), waiting=30))
