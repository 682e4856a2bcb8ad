"""How many pods one model needs, and what is remembered of it from tick to tick."""

from dataclasses import dataclass, field, replace
from heapq import nlargest
from math import ceil, exp, sqrt

from triton_operator.autoscaling.capacity import (
    Capacity,
    assess_capacity,
    fit_batches,
)
from triton_operator.autoscaling.rehearsal import (
    Rehearsal,
    Rule,
    Tick,
    choose_rule,
    keep_rule,
    rehearse,
)
from triton_operator.autoscaling.samples import Batches, ModelShape
from triton_operator.autoscaling.signals import Signals
from triton_operator.autoscaling.surge import Surge, size_for_surge
from triton_operator.autoscaling.trail import NO_TRAIL, Trail

ARRIVAL_SECONDS = 15.0
"""Arrivals are averaged over so long."""
CONFIDENCE = 3.0
"""Standard deviations by which the arrivals of one tick count for less."""
SERVICE_SECONDS = 120.0
"""Service times are averaged over so long, and batches over five times that."""
VARIABILITY_SECONDS = 1800.0
STEADY_VARIABILITY = 0.5
"""Random arrivals, constant service times."""
PRIOR_REQUESTS = 500.0
"""Requests that the assumed variability counts for."""
SHORTEST_STALL = 10.0
UNKNOWN_STALL = 30.0
"""How long nothing may be finished before a pod is stuck: 5 service times, and at least that."""
MOST_BATCHES = 1000
"""Sizes that are remembered: they come from pods, and there is no end of numbers."""
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class ModelMemory:
    """What is known of one model."""

    rehearsal: Rehearsal
    arrivals: Trail[float] = NO_TRAIL
    loads: Trail[float] = NO_TRAIL
    surges: Trail[float] = NO_TRAIL
    """Load, and pods for it and what waits, for as long as scaleUp's window."""
    ordered: Trail[float] = NO_TRAIL
    """Pods that were asked for, for as long as a pod takes to start."""
    busy: float = 0.0
    finished: float = 0.0
    """Busy seconds and finished requests, both fading; their ratio is the service time."""
    inferences: float = 0.0
    """What these requests had executed, fading like them."""
    batches: tuple[Batches, ...] = ()
    waited: float = 0.0
    expected: float = 0.0
    """Seconds waited, and what Kingman's formula expects at variability 1, both fading."""
    stuck_since: dict[str, float] = field(default_factory=dict)

    @property
    def service(self) -> float | None:
        """Busy seconds of an instance per request; None before the first was executed."""
        return self.busy / self.finished if self.finished > 0 and self.busy > 0 else None


@dataclass(frozen=True, slots=True)
class ModelNeed:
    """How many pods one model needs, with the numbers that say so."""

    model: str
    signals: Signals
    load: float | None
    """Pods that the arrivals keep busy; None while the service time is not known."""
    service: float | None = None
    """Busy seconds of an instance per request."""
    capacity: Capacity | None = None
    variability: float = STEADY_VARIABILITY
    rule: Rule | None = None
    kept: float = 0.0
    """The largest load within the rule's window."""
    floor: float = 0.0
    """Pods that the rule keeps for surges, whatever the load."""
    steady: int = 0
    """Pods for that load at the rule's level, or that floor."""
    surge: int = 0
    """Pods that also drain what will wait when they are ready, and replace stuck ones."""
    stuck: int = 0

    @property
    def pods(self) -> int:
        """The need."""
        return max(self.steady, self.surge)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a need depends on besides the model's own signals. Times in seconds."""

    at: float
    target: float
    tail: float
    ready: int
    answering: int
    starting: int
    startup: float
    patience: float
    """For how long more pods must have been needed."""
    least: int
    most: int
    stay: float
    """Share of the pods that must be left after a second of taking pods away."""


def assess_need(
    model: str,
    signals: Signals,
    shape: ModelShape,
    memory: ModelMemory,
    around: Circumstances,
) -> tuple[ModelNeed, ModelMemory]:
    """Return what one model needs now, and what to remember of it."""
    missing = max(1.0, around.ready / around.answering) if around.answering else 1.0
    memory = _remember(memory, signals, around.at)
    stuck = _count_stuck(memory, around, signals)
    pace = sum(memory.arrivals.values) / len(memory.arrivals.values) * missing
    service = memory.service
    if service is None:
        idle = pace == 0 and signals.pending == 0
        if idle:
            return ModelNeed(model, signals, 0.0), memory
        # One more than those that do not get on; how many more, only finished requests tell.
        return ModelNeed(model, signals, None, surge=1 + stuck, stuck=stuck), memory
    largest = max((each.size for each in memory.batches if each.executions >= 1), default=1)
    capacity = assess_capacity(
        service,
        fit_batches(memory.batches),
        largest,
        shape,
        around.target,
        inferences=memory.inferences / memory.finished,
    )
    load = pace * capacity.service
    now = max(load, _surely(signals) * missing * capacity.service)
    waiting = signals.pending * capacity.service
    pods = around.ready + around.starting
    # Since the last tick, which a pod that was silent for some of them knows nothing of.
    since = max((around.at - signals.seconds, *memory.ordered.times[-1:]))
    ordered = memory.ordered.grow(since, pods, around.startup + 2 * signals.seconds)
    surge = float(
        size_for_surge(
            Surge(around.at, now, around.startup, capacity.target, waiting, around.ready, ordered)
        )
    )
    memory = replace(
        memory,
        loads=memory.loads.grow(around.at, load, around.patience),
        surges=memory.surges.grow(around.at, surge, around.patience),
        ordered=ordered,
    )
    load, surge = min(memory.loads.values), min(memory.surges.values)
    memory, variability = _calibrate(memory, signals, capacity)
    arrivals = signals.arrivals * missing
    if around.patience > 0:
        arrivals = min(arrivals, load / capacity.service)  # shorter bursts do not count
    tick = Tick(
        around.at,
        signals.seconds,
        arrivals,
        load,
        max(load, min(now, surge)),
        around.startup,
        around.least,
        around.most,
        around.stay,
    )
    lived = rehearse(memory.rehearsal, tick, capacity, variability)
    waits = waiting > capacity.target * around.ready
    rehearsal, rule = (keep_rule(lived) if waits else None) or choose_rule(
        lived, around.tail, capacity, variability
    )
    # All floors above the bound fared alike; and no surge is waited for longer than the longest
    # window: an idle pool would keep its floor for good.
    floor = min(rule.floor, around.most, rehearsal.largest / rule.level)
    need = ModelNeed(
        model=model,
        signals=signals,
        load=load,
        service=service,
        capacity=capacity,
        variability=variability,
        rule=rule,
        kept=rehearsal.kept,
        floor=floor,
        steady=ceil(max(rehearsal.kept / rule.level, floor) - _EPSILON),
        surge=ceil(surge - _EPSILON) + stuck,
        stuck=stuck,
    )
    return need, replace(memory, rehearsal=rehearsal)


def _remember(memory: ModelMemory, signals: Signals, at: float) -> ModelMemory:
    fade = exp(-signals.seconds / SERVICE_SECONDS)
    slow = exp(-signals.seconds / (5 * SERVICE_SECONDS))
    finished = memory.finished * fade + signals.finished
    keeps = finished >= 1 or signals.finished > 0
    merged = {each.size: [each.executions * slow, each.busy_ns * slow] for each in memory.batches}
    for each in signals.batches:
        entry = merged.setdefault(each.size, [0.0, 0.0])
        entry[0] += each.executions
        entry[1] += each.busy_ns
    kept = [Batches(size, *entry) for size, entry in merged.items()]
    if len(kept) > MOST_BATCHES:
        kept = nlargest(MOST_BATCHES, kept, key=lambda each: each.executions)
    return replace(
        memory,
        arrivals=memory.arrivals.grow(at, signals.arrivals, ARRIVAL_SECONDS - signals.seconds / 2),
        # What was learned does not fade away while nothing is finished.
        busy=memory.busy * fade + signals.busy if keeps else memory.busy,
        finished=finished if keeps else memory.finished,
        inferences=memory.inferences * fade + signals.inferences if keeps else memory.inferences,
        batches=tuple(kept) if signals.inferences > 0 else memory.batches,
        stuck_since={uid: memory.stuck_since.get(uid, at) for uid in signals.stuck},
    )


def _surely(signals: Signals) -> float:
    """Return a rate that the last tick's arrivals exceed but for chance, if they are random."""
    number = signals.arrivals * signals.seconds
    return max(0.0, number - CONFIDENCE * sqrt(number)) / signals.seconds


def _count_stuck(memory: ModelMemory, around: Circumstances, signals: Signals) -> int:
    """Return how many pods count as lost: where all are stuck, more of the same do not help."""
    service = memory.service
    patience = max(SHORTEST_STALL, 5 * service) if service is not None else UNKNOWN_STALL
    stuck = sum(around.at - since >= patience for since in memory.stuck_since.values())
    return min(stuck, max(1, signals.pods - stuck)) if stuck else 0


def _calibrate(
    memory: ModelMemory, signals: Signals, capacity: Capacity
) -> tuple[ModelMemory, float]:
    """Return the variability (ca²+cs²)/2 that explains the waits of quiet times.

    It also holds how requests are spread over pods: less where the least loaded pod is taken, more
    where clients stay with a pod.
    """
    fade = exp(-signals.seconds / VARIABILITY_SECONDS)
    load = signals.completions * capacity.service / signals.pods if signals.pods else 0.0
    waited, expected = memory.waited * fade, memory.expected * fade
    # A full pod's queue tells of the overload, not of the randomness; so do those who left it.
    overload = (
        signals.pending > 2 * signals.pods or signals.waited > signals.finished * capacity.target
    )
    if 0.1 < load < 0.8 and not overload:  # noqa: PLR2004
        waited += max(0.0, signals.waited - signals.finished * capacity.behind)
        expected += signals.finished * capacity.service * load / (1 - load)
    prior = PRIOR_REQUESTS * capacity.service
    variability = (waited + STEADY_VARIABILITY * prior) / (expected + prior)
    return replace(memory, waited=waited, expected=expected), min(max(variability, 0.03), 2.0)
