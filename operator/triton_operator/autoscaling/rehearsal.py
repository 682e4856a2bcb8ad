"""Which headroom the load calls for: every rule replayed on what arrived, the cheapest kept.

A rule sizes the pool for ``load/level`` pods, keeps for ``window`` seconds what was needed once,
and never has fewer than ``floor`` pods. What each rule would have done is simulated along with the
real pool, as a fluid queue: its pods are ready only after the measured start-up time, what they
cannot take waits, and a surge is answered as the real pool answers it. So bursts, steps and
surges, which no formula of a steady queue knows, have their price in requests that wait too long.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from triton_operator.autoscaling.capacity import Capacity, highest_load, late_share
from triton_operator.autoscaling.surge import KEEP_SECONDS, Surge, size_for_surge
from triton_operator.autoscaling.trail import NO_TRAIL, Trail

LEVELS = (0.95, 0.85, 0.75, 0.65, 0.55, 0.45, 0.35, 0.25, 0.18)
"""Loads of 0 to 1 that are tried, falling."""
FLOORS = tuple(2 ** (half / 2) for half in range(2, 21))
"""Least numbers of pods that are tried, 2 to 1024."""
MEMORY_SECONDS = 4 * 3600.0
"""An hour ago counts e^(-1/4) of now."""
PRIOR_SECONDS = 600.0
"""How much load the formula of the steady queue stands for, until there is a record."""
NO_BETTER = 1.1
"""Where no rule keeps the tail, the cheapest that comes within this factor of the best."""
WORTH_A_CHANGE = 0.95
FLOOR_TAX = 1.3
"""A floor must be cheaper by this factor: it is fitted to surges that need not return."""
_SMALLEST = 1e-9

Record = NDArray[np.float64]
"""A number for every habit and level."""


@dataclass(frozen=True, slots=True)
class Habit:
    """What a rule keeps besides its headroom."""

    window: float
    """Seconds that the largest need is kept for."""
    floor: float = 0.0
    """Pods that there are at least."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How to size a pool."""

    level: float
    """Busy share of the pods that is planned for, 0 to 1."""
    window: float
    """Seconds that the largest need is kept for."""
    floor: float = 0.0
    """Pods that there are at least."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """All rules on the load of one model. Loads are in pods that are busy all the time."""

    habits: tuple[Habit, ...]
    orders: Trail[Record] = NO_TRAIL
    """Pods that each rule asked for, for as long as a pod takes to start."""
    surges: Trail[Record] = NO_TRAIL
    backlog: Record | float = 0.0
    """Requests that wait with each rule."""
    late: Record | float = 0.0
    """Requests that waited too long."""
    pods: Record | float = 0.0
    """Pods times seconds."""
    loads: Trail[float] = NO_TRAIL
    requests: float = 0.0
    seconds: float = 0.0
    """What the record is of, both fading."""
    chosen: int = 0
    """Index of the habit that is in use."""
    level: float | None = None
    """The level in use, None before the first choice."""

    @property
    def kept(self) -> float:
        """The largest load within the window in use."""
        if not self.loads.times:
            return 0.0
        return max(self.loads.since(self.loads.times[-1] - self.habits[self.chosen].window))

    @property
    def largest(self) -> float:
        """The largest load within the longest window."""
        return max(self.loads.values, default=0.0)


def begin_rehearsal(shortest: float, longest: float) -> Rehearsal:
    """Return a rehearsal that has seen nothing; windows of 1, 3 and 12 times the shortest."""
    lengths = sorted({min(shortest * factor, max(longest, shortest)) for factor in (1, 3, 12)})
    windows = tuple(Habit(each) for each in lengths)
    return Rehearsal((*windows, *(Habit(lengths[0], floor) for floor in FLOORS)))


@dataclass(frozen=True, slots=True)
class Tick:
    """What happened to one model since the last tick."""

    at: float
    seconds: float
    arrivals: float
    """Requests per second."""
    load: float
    """Pods that the arrivals keep busy, averaged over some seconds."""
    now: float
    """The same, or more if the arrivals of this tick are more than chance explains."""
    startup: float
    """Seconds that a pod takes to become ready."""
    least: int
    most: int
    """Bounds of the number of pods."""
    stay: float = 0.0
    """Share of the pods that must be left after a second of taking pods away."""


def rehearse(rehearsal: Rehearsal, tick: Tick, capacity: Capacity, variability: float) -> Rehearsal:
    """Let every rule live through the tick."""
    longest = max(habit.window for habit in rehearsal.habits)
    loads = rehearsal.loads.grow(tick.at, tick.load, longest)
    wanted = np.clip(_calm(rehearsal.habits, loads, tick.at), tick.least, tick.most)
    orders = rehearsal.orders
    if not orders.times:
        orders = orders.grow(tick.at - tick.seconds, wanted, 0.0)
    # A pod is ready a start-up time after it was asked for, if it was wanted ever since.
    ready = np.min(orders.valid_since(tick.at - tick.startup).values, axis=0)
    # Parts of pods: to round up would make a level seem better than it is.
    requests = tick.arrivals * tick.seconds
    rate = ready / capacity.service
    backlog = np.maximum(0.0, rehearsal.backlog + requests - rate * tick.seconds)
    share = _late(
        tick.arrivals / rate, rehearsal.backlog / rate, backlog / rate, capacity, variability
    )
    waiting = backlog * capacity.service
    surge = Surge(tick.at, tick.now, tick.startup, capacity.target, waiting, ready, orders)
    surges = rehearsal.surges.grow(tick.at, size_for_surge(surge), KEEP_SECONDS)
    wanted = np.maximum(wanted, np.max(surges.values, axis=0))
    wanted = np.maximum(wanted, orders.values[-1] * tick.stay**tick.seconds)
    wanted = np.clip(wanted, tick.least, tick.most)
    fade = exp(-tick.seconds / MEMORY_SECONDS)
    return replace(
        rehearsal,
        orders=orders.grow(tick.at, wanted, tick.startup + 2 * tick.seconds),
        surges=surges,
        backlog=backlog,
        late=rehearsal.late * fade + requests * share,
        pods=rehearsal.pods * fade + wanted * tick.seconds,
        loads=loads,
        requests=rehearsal.requests * fade + requests,
        seconds=rehearsal.seconds * fade + tick.seconds,
    )


def _calm(habits: tuple[Habit, ...], loads: Trail[float], at: float) -> Record:
    """Return the pods of every rule without a surge."""
    largest = {window: max(loads.since(at - window)) for window in {h.window for h in habits}}
    kept = np.array([[largest[habit.window]] for habit in habits])
    floors = np.array([[habit.floor] for habit in habits])
    pods: Record = np.maximum(kept / np.array(LEVELS), floors)
    return pods


def _late(
    load: Record, before: Record, after: Record, capacity: Capacity, variability: float
) -> Record:
    """Return the share of a tick's requests that wait too long behind a backlog in seconds."""
    low, high = np.minimum(before, after), np.maximum(before, after)
    load = np.minimum(load, 0.99)
    left = (1.0 - load) * np.maximum(0.0, capacity.target - high)
    steady = load * np.exp(-left / (capacity.service * variability))
    part = (high - capacity.target) / np.maximum(high - low, _SMALLEST)
    share = np.where(high > capacity.target, part, steady)
    return np.where(low >= capacity.target, 1.0, share)


def choose_rule(
    rehearsal: Rehearsal, tail: float, capacity: Capacity, variability: float
) -> tuple[Rehearsal, Rule]:
    """Return the cheapest rule that keeps the tail, and the rehearsal that remembers it.

    Between two levels the pods and the logarithm of the share of late requests are linear.
    """
    if rehearsal.seconds <= 0 or rehearsal.requests <= 0:
        level = highest_load(tail, capacity, variability)
        return _use(rehearsal, rehearsal.chosen, level)
    prior = rehearsal.requests / rehearsal.seconds * PRIOR_SECONDS
    steady = np.array([late_share(level, capacity, variability) for level in LEVELS])
    shares = (rehearsal.late + prior * steady) / (rehearsal.requests + prior)
    best = float(shares.min())
    goal = tail if best <= tail else best * NO_BETTER
    # Plain numbers from here on: a row is too short for arrays to pay.
    rows = zip(rehearsal.habits, shares.tolist(), np.asarray(rehearsal.pods).tolist(), strict=True)
    options = [
        (cost * (FLOOR_TAX if habit.floor else 1.0), index, level)
        for index, (habit, late, pods) in enumerate(rows)
        for cost, level in _cheapest(late, pods, goal)
    ]
    cost, index, level = min(options)
    for option in options:
        if option[1] == rehearsal.chosen and cost > WORTH_A_CHANGE * option[0]:
            cost, index, level = option
    return _use(rehearsal, index, level)


def keep_rule(rehearsal: Rehearsal) -> tuple[Rehearsal, Rule] | None:
    """Return the rule in use, None before the first choice.

    What goes wrong now is a lesson for the next time: more headroom, asked for while requests
    wait, would come when the surge is over.
    """
    if rehearsal.level is None:
        return None
    return _use(rehearsal, rehearsal.chosen, rehearsal.level)


def _use(rehearsal: Rehearsal, index: int, level: float) -> tuple[Rehearsal, Rule]:
    habit = rehearsal.habits[index]
    rule = Rule(level, habit.window, habit.floor)
    return replace(rehearsal, chosen=index, level=level), rule


def _cheapest(
    shares: Sequence[float], pods: Sequence[float], goal: float
) -> list[tuple[float, float]]:
    """Return the cost and level at which the share meets the goal; nothing if none does."""
    below = next((index for index, share in enumerate(shares) if share <= goal), None)
    if below is None:
        return []
    if below == 0:
        return [(pods[0], LEVELS[0])]
    above = below - 1
    part = log(shares[above] / goal) / log(shares[above] / max(shares[below], _SMALLEST))
    cost = pods[above] + part * (pods[below] - pods[above])
    return [(cost, LEVELS[above] + part * (LEVELS[below] - LEVELS[above]))]
