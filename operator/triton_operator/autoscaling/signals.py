"""From two scrapes of all pods to what happened in between, per model.

Every difference is taken within one series of one pod: a counter that fell has started again from
0, a series that was not there before began at 0, and what a page lacks or spells as NaN is not
counted. Rates are per pod and then added up, so that a pod which missed a scrape is not lost.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from triton_operator.autoscaling.samples import Batches, Counters, ModelShape, PodSample


@dataclass(frozen=True, slots=True)
class Signals:
    """One model over all pods, between two scrapes. Times in seconds, rates per second."""

    seconds: float
    arrivals: float = 0.0
    """λ: rate of requests that arrived, also of those that still wait or were turned away."""
    completions: float = 0.0
    """X: rate of successful requests."""
    failures: float = 0.0
    """F: rate of failed and rejected requests."""
    pending: float = 0.0
    """Q: requests that wait now."""
    finished: float = 0.0
    """Successful requests, a number."""
    waited: float = 0.0
    """Time that the finished requests waited, in total."""
    inferences: float = 0.0
    """What was executed, a number: a request may bring several, and none if a cache answers it."""
    busy: float = 0.0
    """Time that instances were busy, in total."""
    utilization: float = 0.0
    """Busy share of all instances, 0 to 1."""
    fullest: float = 0.0
    """Requests that wait for each instance of the fullest pod."""
    batches: tuple[Batches, ...] = ()
    """Executions by batch size."""
    pods: int = 0
    """Pods that the numbers are of."""
    new: int = 0
    """Pods that only ``pending`` is known of."""
    stuck: frozenset[str] = frozenset()
    """Pods where requests wait and none was finished."""

    @property
    def mean_wait(self) -> float | None:
        """W: mean wait of the finished requests."""
        return self.waited / self.finished if self.finished > 0 else None

    @property
    def service(self) -> float | None:
        """s: busy time of one instance that one request took, those from a cache among them."""
        return self.busy / self.finished if self.finished > 0 and self.busy > 0 else None


@dataclass(slots=True)
class _Pod:
    """One model on one pod, between two scrapes."""

    uid: str
    seconds: float
    """0 where there is no earlier sample: then only ``pending`` is known."""
    success: float = 0.0
    failed: float = 0.0
    inferences: float = 0.0
    executions: float = 0.0
    compute_us: float = 0.0
    queue_us: float = 0.0
    pending: float = 0.0
    growth: float = 0.0
    busy: float = 0.0
    """Time that instances were busy, in seconds."""
    batches: tuple[Batches, ...] = ()


def measure(
    before: Mapping[str, PodSample],
    now: Iterable[PodSample],
    shapes: Mapping[str, ModelShape],
) -> dict[str, Signals]:
    """Return what happened since ``before``, for each model that a pod reports.

    A pod without an earlier sample only adds to ``pending``: its counters' age is not known.
    """
    pods: dict[str, list[_Pod]] = {}
    for sample in now:
        old = before.get(sample.uid)
        restarted = old is None or old.started != sample.started
        seconds = max(0.0, sample.at - old.at) if old is not None else 0.0
        found: dict[str, _Pod] = {}
        for key, counters in sample.series.items():
            pod = found.get(key.model)
            if pod is None:
                pod = found[key.model] = _Pod(sample.uid, seconds)
            earlier = None if old is None or restarted else old.series.get(key)
            _add(pod, counters, earlier)
        for model, pod in found.items():
            if seconds > 0:
                pod.batches = _batches(sample, None if restarted else old, model)
                _find_busy(pod)
            pods.setdefault(model, []).append(pod)
    return {
        model: _combine(each, max(1, shapes.get(model, ModelShape()).instances))
        for model, each in pods.items()
    }


def _add(pod: _Pod, now: Counters, old: Counters | None) -> None:
    """Add the increase of one series; ``old`` is None for one that began after the last scrape."""
    earlier = old if old is not None else _NOTHING
    success = now.success - earlier.success
    inferences = now.inferences - earlier.inferences
    executions = now.executions - earlier.executions
    compute_us = now.compute_us - earlier.compute_us
    queue_us = now.queue_us - earlier.queue_us
    least = min(success, inferences, executions, compute_us, queue_us)
    if not (least >= 0 and success + inferences + executions + compute_us + queue_us < inf):
        # A counter that has started again, is missing or is no number: one by one.
        success = _increase(now.success, earlier.success)
        inferences = _increase(now.inferences, earlier.inferences)
        executions = _increase(now.executions, earlier.executions)
        compute_us = _increase(now.compute_us, earlier.compute_us)
        queue_us = _increase(now.queue_us, earlier.queue_us)
    pod.success += success
    pod.inferences += inferences
    pod.executions += executions
    pod.compute_us += compute_us
    pod.queue_us += queue_us
    for reason, count in now.failures.items():
        pod.failed += _increase(count, earlier.failures.get(reason, 0.0))
    pending = now.pending if 0 <= now.pending < inf else 0.0
    before = earlier.pending if 0 <= earlier.pending < inf else 0.0
    pod.pending += pending
    pod.growth += pending - before


_NOTHING = Counters(success=0, inferences=0, executions=0, compute_us=0, queue_us=0, pending=0)
"""A series that is new has counted from 0."""


def _increase(now: float, old: float) -> float:
    if not (0 <= now < inf and 0 <= old < inf):
        return 0.0
    return now - old if now >= old else now


def _batches(sample: PodSample, old: PodSample | None, model: str) -> tuple[Batches, ...]:
    if not sample.batches:
        return ()
    earlier = {each.size: each for each in old.batches.get(model, ())} if old is not None else {}
    return tuple(
        Batches(
            now.size,
            _increase(now.executions, was.executions if was else 0.0),
            _increase(now.busy_ns, was.busy_ns if was else 0.0),
        )
        for now in sample.batches.get(model, ())
        for was in (earlier.get(now.size),)
    )


def _find_busy(pod: _Pod) -> None:
    """Set how long instances were busy and with how many inferences: as exactly as is told."""
    inferences = sum(each.size * each.executions for each in pod.batches)
    if inferences > 0:
        pod.inferences = inferences
        pod.busy = sum(each.busy_ns for each in pod.batches) / 1e9
    else:
        # The counter adds a batch's time for each of its requests; a cache's are not among them.
        requests = min(pod.inferences, pod.success)
        share = min(1.0, pod.executions / requests) if requests > 0 else 0.0
        pod.busy = pod.compute_us / 1e6 * share


def _combine(pods: Sequence[_Pod], instances: int) -> Signals:
    """Return the sum over all pods of one model, with so many instances on each."""
    known = [pod for pod in pods if pod.seconds > 0]
    arrivals = sum((pod.success + pod.failed + pod.growth) / pod.seconds for pod in known)
    busy_instances = sum(pod.busy / pod.seconds for pod in known)
    sizes: dict[int, list[float]] = {}
    for each in (each for pod in known for each in pod.batches if each.executions > 0):
        entry = sizes.setdefault(each.size, [0.0, 0.0])
        entry[0] += each.executions
        entry[1] += each.busy_ns
    return Signals(
        seconds=max((pod.seconds for pod in known), default=0.0),
        arrivals=max(0.0, arrivals),
        completions=sum(pod.success / pod.seconds for pod in known),
        failures=sum(pod.failed / pod.seconds for pod in known),
        pending=sum(pod.pending for pod in pods),
        finished=sum(pod.success for pod in known),
        waited=sum(pod.queue_us for pod in known) / 1e6,
        inferences=sum(pod.inferences for pod in known),
        busy=sum(pod.busy for pod in known),
        utilization=min(1.0, busy_instances / instances / len(known)) if known else 0.0,
        fullest=max(pod.pending for pod in pods) / instances,
        batches=tuple(Batches(size, *entry) for size, entry in sorted(sizes.items())),
        pods=len(known),
        new=len(pods) - len(known),
        stuck=frozenset(
            pod.uid for pod in known if pod.pending > 0 and pod.success == 0 and pod.failed == 0
        ),
    )
