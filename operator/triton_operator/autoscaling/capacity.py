"""What a pod can carry: service time, with batching, and the load at which the target is kept."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

from triton_operator.autoscaling.samples import Batches, ModelShape

SERVICE_TIMES_IN_TARGET = 5.0
"""A shorter wait than so many service times cannot be kept at any sensible load."""
HIGHEST_LOAD = 0.95


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """``s(b) = fixed + each·b``: seconds that an execution of b inferences takes."""

    fixed: float
    each: float

    def of(self, batch: float) -> float:
        """Return the seconds of one execution."""
        return self.fixed + self.each * batch


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one pod can carry of one model."""

    service: float
    """Seconds between two requests of a pod at full load: s(b)/(b·instances)."""
    target: float
    """Wait to keep, in seconds: what was asked for, less the batch in front, or the floor."""
    behind: float = 0.0
    """Seconds of the batch in front, which the target has been shortened by."""
    floored: bool = False
    """Whether the target asked for is too short to be kept."""


def fit_batches(batches: Sequence[Batches]) -> ServiceTime | None:
    """Return the least-squares line through the executions, None without any.

    One size of batch says nothing about others: then a batch is taken to gain nothing.
    """
    seen = [each for each in batches if each.executions > 0 and each.size > 0]
    if not seen:
        return None
    weight = sum(each.executions for each in seen)
    mean_size = sum(each.size * each.executions for each in seen) / weight
    mean_time = sum(each.busy_ns for each in seen) / weight / 1e9
    spread = sum(each.executions * (each.size - mean_size) ** 2 for each in seen)
    if spread <= 0:
        return ServiceTime(0.0, mean_time / mean_size)
    together = sum(
        each.executions * (each.size - mean_size) * (each.busy_ns / each.executions / 1e9)
        for each in seen
    )
    # Neither a larger batch that is quicker nor a batch that gains more than everything.
    slope = min(max(together / spread, 0.0), mean_time / mean_size)
    return ServiceTime(mean_time - slope * mean_size, slope)


def assess_capacity(
    service: float,
    fit: ServiceTime | None,
    largest_seen: int,
    shape: ModelShape,
    target: float,
    *,
    inferences: float = 1.0,
) -> Capacity:
    """Return what a pod can carry if the wait is to stay under ``target`` seconds.

    ``service`` is the measured busy time per request, which has so many ``inferences`` executed.
    With batching, the pod is credited with the batches that it would form under load: no larger
    than its config allows, than twice the largest seen, and than fits twice into the target.
    """
    batch = 1
    per_request = service
    if fit is not None and shape.max_batch > 1:
        # By halves: both numbers come from pods, and a walk over all sizes might never end.
        sizes = range(2, min(shape.max_batch, 2 * largest_seen) + 1)
        batch += bisect_right(sizes, target / 2, key=fit.of)
        per_request = min(service, inferences * fit.of(batch) / batch)
    behind = fit.of(batch) if fit is not None and batch > 1 else 0.0
    interval = per_request / shape.instances
    floor = SERVICE_TIMES_IN_TARGET * interval
    return Capacity(
        service=interval,
        target=max(target - behind, floor),
        behind=behind,
        floored=target < 0.999 * floor,
    )


def late_share(load: float, capacity: Capacity, variability: float) -> float:
    """Return P(wait > target) of a queue in equilibrium at a load of 0 to 1 (Kingman's tail)."""
    if load >= 1.0:
        return 1.0
    return load * exp(-(1.0 - load) * capacity.target / (capacity.service * variability))


def highest_load(tail: float, capacity: Capacity, variability: float) -> float:
    """Return the highest load at which no more than ``tail`` of the requests wait too long."""
    low, high = 0.0, HIGHEST_LOAD
    if late_share(high, capacity, variability) <= tail:
        return high
    for _ in range(30):
        middle = (low + high) / 2
        if late_share(middle, capacity, variability) <= tail:
            low = middle
        else:
            high = middle
    return low
