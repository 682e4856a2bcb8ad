"""How many pods one model needs."""

from dataclasses import dataclass, replace
from math import ceil, sqrt

from triton_operator.autoscaling.capacity import (
    Capacity,
    assess_capacity,
    fit_batches,
)
from triton_operator.autoscaling.model_memory import (
    STEADY_VARIABILITY,
    ModelMemory,
    calibrate,
    count_stuck,
    remember,
)
from triton_operator.autoscaling.rehearsal import (
    Rule,
    Tick,
    choose_rule,
    keep_rule,
    rehearse,
)
from triton_operator.autoscaling.samples import ModelShape
from triton_operator.autoscaling.signals import Signals
from triton_operator.autoscaling.surge import Surge, size_for_surge

CONFIDENCE = 3.0
"""Standard deviations by which the arrivals of one tick count for less."""
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class ModelNeed:
    """How many pods one model needs, with the numbers that say so."""

    model: str
    signals: Signals
    arrivals: float
    """Requests per second, also those to pods whose rates are not known."""
    load: float | None
    """Pods that the arrivals keep busy; None while the service time is not known."""
    unseen: str = ""
    """Why its load cannot be seen, whatever arrives; empty if it can."""
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


@dataclass(frozen=True, slots=True)
class _Demand:
    """What clients ask of one model at a tick."""

    mean: float
    """Pods that the arrivals of the last seconds keep busy."""
    now: float
    """Those of this tick alone, as far as that is no chance; at least the mean."""
    waiting: float
    """Seconds that one pod would take to finish what waits."""


def assess_need(
    model: str,
    signals: Signals,
    shape: ModelShape,
    memory: ModelMemory,
    around: Circumstances,
) -> tuple[ModelNeed, ModelMemory]:
    """Return what one model needs now, and what to remember of it."""
    missing = max(1.0, around.ready / around.answering) if around.answering else 1.0
    arrivals = _arrivals(signals, missing, memory.told)
    memory = remember(replace(memory, told=arrivals), signals, around.at)
    stuck = count_stuck(memory, signals, around.at)
    pace = sum(memory.arrivals.values) / len(memory.arrivals.values) * missing
    service = memory.service
    if service is None:
        idle = pace == 0 and signals.pending == 0
        if idle:
            return ModelNeed(model, signals, arrivals, 0.0), memory
        # One more than those that do not get on; how many more, only finished requests tell.
        need = ModelNeed(model, signals, arrivals, None, surge=1 + stuck, stuck=stuck)
        return need, memory
    capacity = _measure(memory, service, shape, around.target)
    mean = pace * capacity.service
    now = max(mean, _surely(signals) * missing * capacity.service)
    demand = _Demand(mean, now, waiting=signals.pending * capacity.service)
    memory = _order(memory, signals, around, capacity, demand)
    load, surge = min(memory.loads.values), min(memory.surges.values)
    memory, variability = calibrate(memory, signals, capacity)
    counted = signals.arrivals * missing
    if around.patience > 0:
        counted = min(counted, load / capacity.service)  # shorter bursts do not count
    tick = Tick(
        around.at,
        signals.seconds,
        counted,
        load,
        max(load, min(demand.now, surge)),
        around.startup,
        around.least,
        around.most,
        around.stay,
    )
    lived = rehearse(memory.rehearsal, tick, capacity, variability)
    waits = demand.waiting > capacity.target * around.ready
    rehearsal, rule = (keep_rule(lived) if waits else None) or choose_rule(
        lived, around.tail, capacity, variability
    )
    # All floors above the bound fared alike; and no surge is waited for longer than the longest
    # window: an idle pool would keep its floor for good.
    floor = min(rule.floor, around.most, rehearsal.largest / rule.level)
    need = ModelNeed(
        model=model,
        signals=signals,
        arrivals=arrivals,
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


def _arrivals(signals: Signals, missing: float, before: float) -> float:
    """Return the requests per second, as near to those ``before`` as what is known allows.

    Pods that have just come took from none to as many as each of the others.
    """
    least = signals.arrivals * missing
    return min(max(before, least), least * (1 + signals.new / signals.pods))


def _measure(memory: ModelMemory, service: float, shape: ModelShape, target: float) -> Capacity:
    """Return what a pod can do, from what it has done; times in seconds."""
    largest = max((each.size for each in memory.batches if each.executions >= 1), default=1)
    return assess_capacity(
        service,
        fit_batches(memory.batches),
        largest,
        shape,
        target,
        inferences=memory.inferences / memory.finished,
    )


def _order(
    memory: ModelMemory,
    signals: Signals,
    around: Circumstances,
    capacity: Capacity,
    demand: _Demand,
) -> ModelMemory:
    """Return the memory with this tick's load, and the pods that it and what waits ask for."""
    pods = around.ready + around.starting
    # Since the last tick, which a pod that was silent for some of them knows nothing of.
    since = max((around.at - signals.seconds, *memory.ordered.times[-1:]))
    ordered = memory.ordered.grow(since, pods, around.startup + 2 * signals.seconds)
    surge = Surge(
        around.at,
        demand.now,
        around.startup,
        capacity.target,
        demand.waiting,
        around.ready,
        ordered,
    )
    return replace(
        memory,
        loads=memory.loads.grow(around.at, demand.mean, around.patience),
        surges=memory.surges.grow(around.at, float(size_for_surge(surge)), around.patience),
        ordered=ordered,
    )


def _surely(signals: Signals) -> float:
    """Return a rate that the last tick's arrivals exceed but for chance, if they are random."""
    number = signals.arrivals * signals.seconds
    return max(0.0, number - CONFIDENCE * sqrt(number)) / signals.seconds
