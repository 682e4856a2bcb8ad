"""Which headroom the load calls for: every rule replayed on what arrived, the cheapest kept.

A rule sizes the pool for ``load/level`` pods and keeps for ``window`` seconds what was needed
once. What each rule would have done is simulated along with the real pool, as a fluid queue: its
pods are ready only after the measured start-up time, and what they cannot take waits. So bursts,
steps and surges, which no formula of a steady queue knows, have their price in requests that wait
too long.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp, log

from triton_operator.autoscaling.capacity import Capacity, highest_load, late_share

LEVELS = (0.95, 0.85, 0.75, 0.65, 0.55, 0.45, 0.35, 0.25, 0.18)
"""Loads of 0 to 1 that are tried, falling."""
MEMORY_SECONDS = 4 * 3600.0
"""An hour ago counts e^(-1/4) of now."""
PRIOR_SECONDS = 3600.0
"""How much load the formula of the steady queue stands for, until there is a record."""
NO_BETTER = 1.1
"""Where no rule keeps the tail, the cheapest that comes within this factor of the best."""
WORTH_A_CHANGE = 0.95
_SMALLEST = 1e-9


@dataclass(frozen=True, slots=True)
class Trail:
    """A quantity over time, oldest first."""

    times: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    def grow(self, at: float, value: float, keep: float) -> "Trail":
        """Add a value, and forget what is older than ``keep`` seconds."""
        first = bisect_left(self.times, at - keep)
        return Trail((*self.times[first:], at), (*self.values[first:], value))

    def since(self, at: float) -> tuple[float, ...]:
        """Return the values from ``at`` on."""
        return self.values[bisect_left(self.times, at) :]


NO_TRAIL = Trail()


@dataclass(frozen=True, slots=True)
class Rule:
    """How to size a pool."""

    level: float
    """Busy share of the pods that is planned for, 0 to 1."""
    window: float
    """Seconds that the largest need is kept for."""


@dataclass(frozen=True, slots=True)
class Window:
    """One window of the rehearsal: what it kept, and how each level fared with it."""

    seconds: float
    kept: Trail
    """Largest load within the window, for as long as a pod takes to start."""
    backlog: tuple[float, ...] = (0.0,) * len(LEVELS)
    """Requests that wait, at each level."""
    late: tuple[float, ...] = (0.0,) * len(LEVELS)
    """Requests that waited too long."""
    pods: tuple[float, ...] = (0.0,) * len(LEVELS)
    """Pods times seconds."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """All rules on the load of one model. Loads are in pods that are busy all the time."""

    windows: tuple[Window, ...]
    chosen: int = 0
    """Index of the window that is in use."""
    level: float | None = None
    """The level that is in use; None before the first choice."""
    loads: Trail = NO_TRAIL
    requests: float = 0.0
    seconds: float = 0.0

    @property
    def window(self) -> Window:
        """The window that is in use."""
        return self.windows[self.chosen]

    @property
    def kept(self) -> float:
        """The largest load within the window in use."""
        return self.window.kept.values[-1] if self.window.kept.values else 0.0


def begin_rehearsal(shortest: float, longest: float) -> Rehearsal:
    """Return a rehearsal that has seen nothing; windows of 1, 3 and 12 times the shortest."""
    lengths = {min(shortest * factor, max(longest, shortest)) for factor in (1, 3, 12)}
    return Rehearsal(tuple(Window(each, Trail()) for each in sorted(lengths)))


@dataclass(frozen=True, slots=True)
class Tick:
    """What happened to one model since the last tick."""

    at: float
    seconds: float
    arrivals: float
    """Requests per second."""
    load: float
    """Pods that the arrivals keep busy, averaged over some seconds."""
    startup: float
    """Seconds that a pod takes to become ready."""
    least: int
    most: int
    """Bounds of the number of pods."""


def rehearse(rehearsal: Rehearsal, tick: Tick, capacity: Capacity, variability: float) -> Rehearsal:
    """Let every rule live through the tick."""
    keep = max(window.seconds for window in rehearsal.windows)
    loads = rehearsal.loads.grow(tick.at, tick.load, keep)
    fade = exp(-tick.seconds / MEMORY_SECONDS)
    return replace(
        rehearsal,
        windows=tuple(
            _live(window, max(loads.since(tick.at - window.seconds)), tick, capacity, variability)
            for window in rehearsal.windows
        ),
        loads=loads,
        requests=rehearsal.requests * fade + tick.arrivals * tick.seconds,
        seconds=rehearsal.seconds * fade + tick.seconds,
    )


def _live(
    window: Window, largest: float, tick: Tick, capacity: Capacity, variability: float
) -> Window:
    kept = window.kept.grow(tick.at, largest, tick.startup + 2 * tick.seconds)
    # A pod is ready a start-up time after it was asked for, if it was wanted ever since.
    first = max(0, bisect_right(kept.times, tick.at - tick.startup) - 1)
    ready = min(kept.values[first:])
    fade = exp(-tick.seconds / MEMORY_SECONDS)
    requests = tick.arrivals * tick.seconds
    demand = tick.arrivals * capacity.service
    backlog, late, pods = [], [], []
    for index, level in enumerate(LEVELS):
        # Parts of pods: to round up would make a level seem better than it is.
        size = min(max(ready / level, tick.least), tick.most)
        rate = size / capacity.service
        before = window.backlog[index]
        after = max(0.0, before + requests - rate * tick.seconds)
        share = _late(demand / size, before / rate, after / rate, capacity, variability)
        backlog.append(after)
        late.append(window.late[index] * fade + requests * share)
        wanted = min(max(largest / level, tick.least), tick.most)
        pods.append(window.pods[index] * fade + wanted * tick.seconds)
    return Window(window.seconds, kept, tuple(backlog), tuple(late), tuple(pods))


def _late(
    load: float, before: float, after: float, capacity: Capacity, variability: float
) -> float:
    """Return the share of a tick's requests that wait too long behind a backlog in seconds."""
    low, high = min(before, after), max(before, after)
    if low >= capacity.target:
        return 1.0
    if high > capacity.target:
        return (high - capacity.target) / (high - low)
    load = min(load, 0.99)
    left = (1.0 - load) * (capacity.target - high)
    return load * exp(-left / (capacity.service * variability))


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
    steady = tuple(late_share(level, capacity, variability) for level in LEVELS)
    shares = [
        [
            (late + prior * expected) / (rehearsal.requests + prior)
            for late, expected in zip(window.late, steady, strict=True)
        ]
        for window in rehearsal.windows
    ]
    best = min(min(each) for each in shares)
    goal = tail if best <= tail else best * NO_BETTER
    options = [
        (cost, index, level)
        for index, (window, share) in enumerate(zip(rehearsal.windows, shares, strict=True))
        for cost, level in _cheapest(share, window.pods, goal)
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
    rule = Rule(level, rehearsal.windows[index].seconds)
    return replace(rehearsal, chosen=index, level=level), rule


def _cheapest(
    shares: list[float], pods: tuple[float, ...], goal: float
) -> Iterator[tuple[float, float]]:
    """Yield the cost and level at which the share meets the goal; nothing if none does."""
    if shares[0] <= goal:
        yield pods[0], LEVELS[0]
        return
    for above, below in pairwise(range(len(LEVELS))):
        if shares[below] <= goal:
            part = log(shares[above] / goal) / log(shares[above] / max(shares[below], _SMALLEST))
            yield (
                pods[above] + part * (pods[below] - pods[above]),
                LEVELS[above] + part * (LEVELS[below] - LEVELS[above]),
            )
            return
