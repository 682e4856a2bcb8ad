"""What is remembered of one model from tick to tick."""

from dataclasses import dataclass, field, replace
from heapq import nlargest
from math import exp

from triton_operator.autoscaling.capacity import Capacity
from triton_operator.autoscaling.rehearsal import Rehearsal
from triton_operator.autoscaling.samples import Batches
from triton_operator.autoscaling.signals import Signals
from triton_operator.autoscaling.trail import NO_TRAIL, Trail

ARRIVAL_SECONDS = 15.0
"""Arrivals are averaged over so long."""
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


@dataclass(frozen=True, slots=True)
class ModelMemory:
    """What is known of one model."""

    rehearsal: Rehearsal
    told: float = 0.0
    """Requests per second, as told last."""
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


def remember(memory: ModelMemory, signals: Signals, at: float) -> ModelMemory:
    """Return what is known of a model after one more tick, apart from what it needs."""
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


def count_stuck(memory: ModelMemory, signals: Signals, at: float) -> int:
    """Return how many pods count as lost: where all are stuck, more of the same do not help."""
    service = memory.service
    patience = max(SHORTEST_STALL, 5 * service) if service is not None else UNKNOWN_STALL
    stuck = sum(at - since >= patience for since in memory.stuck_since.values())
    return min(stuck, max(1, signals.pods - stuck)) if stuck else 0


def calibrate(
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
