"""Which headroom a load calls for."""

from collections.abc import Iterable

import pytest

from triton_operator.autoscaling.capacity import Capacity, highest_load
from triton_operator.autoscaling.rehearsal import (
    Rehearsal,
    Rule,
    Tick,
    begin_rehearsal,
    choose_rule,
    rehearse,
)

CAPACITY = Capacity(service=0.1, target=0.5)
TAIL = 0.05


def live(
    loads: Iterable[float], *, startup: float = 60, rehearsal: Rehearsal | None = None
) -> tuple[Rehearsal, Rule]:
    """Let ticks of 5 s go by, each with so many busy pods' worth of requests."""
    now = rehearsal or begin_rehearsal(300, 3600)
    rule = choose_rule(now, TAIL, CAPACITY, 0.5)[1]
    for index, load in enumerate(loads):
        tick = Tick(5.0 * index, 5.0, load / CAPACITY.service, load, load, startup, 1, 60)
        now, rule = choose_rule(rehearse(now, tick, CAPACITY, 0.5), TAIL, CAPACITY, 0.5)
    return now, rule


def steps(every: float, times: int) -> list[float]:
    ticks = int(every / 5)
    return ([2.0] * ticks + [8.0] * ticks) * times


def test_a_steady_load_has_the_headroom_of_the_formula() -> None:
    expected = highest_load(TAIL, CAPACITY, 0.5)

    _, first = live([])
    _, later = live([4.0] * 720)

    assert first == Rule(expected, 300)
    assert later.window == 300
    assert abs(later.level - expected) < 0.1


def pods(rule: Rule, load: float) -> float:
    """What the rule has ready for a load that has lasted for a while."""
    return max(load / rule.level, rule.floor)


def test_bursts_that_pods_come_too_late_for_call_for_more_headroom() -> None:
    _, calm = live([4.0] * 1440, rehearsal=begin_rehearsal(300, 300))
    _, bursts = live(([4.0] * 80 + [9.0] * 6) * 17, rehearsal=begin_rehearsal(300, 300))

    assert pods(bursts, 4.0) > pods(calm, 4.0)
    assert pods(bursts, 4.0) * 0.95 > 9.0  # the burst is over before a pod has started


def test_a_surge_that_returns_later_than_the_window_has_a_floor() -> None:
    """It is cheaper than a low level, which would buy headroom for the high load, too."""
    _, rule = live(steps(every=900, times=8), rehearsal=begin_rehearsal(300, 300))

    assert pods(rule, 2.0) > 6.0
    assert pods(rule, 8.0) < 2 * 8.0


def test_the_first_surge_counts_as_if_its_pods_had_been_there() -> None:
    """A floor is a number of pods, so that it needs no surge before to be rehearsed on one."""
    _, rule = live([2.0] * 180 + [8.0] * 60 + [2.0] * 180)

    assert rule.floor > 4.0


def test_a_load_that_returns_is_waited_for() -> None:
    _, rule = live(steps(every=600, times=12))

    assert rule.window > 300


def test_a_fixed_window_stays() -> None:
    fixed = begin_rehearsal(300, 300)

    _, rule = live(steps(every=600, times=12), rehearsal=fixed)

    assert rule.window == 300


@pytest.mark.exhaustive
def test_pods_that_start_slowly_call_for_more_pods() -> None:
    waves = [4.0 + 3.0 * ((index // 24) % 2) for index in range(1440)]

    def cost(startup: float) -> float:
        rehearsal, rule = live(waves, startup=startup)
        return rehearsal.kept / rule.level

    assert cost(300) > cost(10)


@pytest.mark.exhaustive
def test_a_burst_is_forgotten_in_the_end() -> None:
    burst, rule = live([4.0] * 200 + [30.0] * 30)
    steady = 4.0 / highest_load(TAIL, CAPACITY, 0.5)
    assert pods(rule, 4.0) > 2 * steady

    late = 230 * 5.0
    for index in range(3 * 3600):
        tick = Tick(late + 5.0 * index, 5.0, 40.0, 4.0, 4.0, 60, 1, 60)
        burst = rehearse(burst, tick, CAPACITY, 0.5)

    _, later = choose_rule(burst, TAIL, CAPACITY, 0.5)
    assert pods(later, 4.0) < 1.1 * steady
