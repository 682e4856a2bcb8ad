"""From two scrapes of all pods to what happened in between, per model.

Every difference is taken within one series of one pod: a counter that fell has started again from
0, a series that was not there before began at 0, and what a page lacks or spells as NaN is not
counted. Rates are per pod and then added up, so that a pod which missed a scrape is not lost.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
    executed: float = 0.0
    """Requests that were executed (not answered by a cache), a number."""
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
    stuck: frozenset[str] = frozenset()
    """Pods where requests wait and none was finished."""

    @property
    def mean_wait(self) -> float | None:
        """W: mean wait of the finished requests."""
        return self.waited / self.finished if self.finished > 0 else None

    @property
    def service(self) -> float | None:
        """s: busy time of one instance that one request took."""
        return self.busy / self.executed if self.executed > 0 and self.busy > 0 else None


@dataclass(slots=True)
class _Sum:
    """Signals in the making."""

    success: float = 0.0
    failed: float = 0.0
    executed: float = 0.0
    executions: float = 0.0
    compute_us: float = 0.0
    queue_us: float = 0.0
    pending: float = 0.0
    growth: float = 0.0


def measure(
    before: Mapping[str, PodSample],
    now: Iterable[PodSample],
    shapes: Mapping[str, ModelShape],
) -> dict[str, Signals]:
    """Return what happened since ``before``, for each model that a pod reports.

    A pod without an earlier sample only adds to ``pending``: its counters' age is not known.
    """
    totals: dict[str, _Total] = {}
    for sample in now:
        old = before.get(sample.uid)
        restarted = old is None or old.started != sample.started
        seconds = sample.at - old.at if old is not None else 0.0
        pod: dict[str, _Sum] = {}
        for key, counters in sample.series.items():
            each = pod.get(key.model)
            if each is None:
                each = pod[key.model] = _Sum()
            earlier = None if old is None or restarted else old.series.get(key)
            _add(each, counters, earlier)
        for model, each in pod.items():
            total = totals.get(model)
            if total is None:
                total = totals[model] = _Total(shapes.get(model, ModelShape()))
            known = old is not None and seconds > 0
            batches = _batches(sample, None if restarted else old, model) if known else ()
            total.add(sample.uid, each, seconds if known else 0.0, batches)
    return {model: total.signals() for model, total in totals.items()}


def _add(total: _Sum, now: Counters, old: Counters | None) -> None:
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
    total.success += success
    total.executed += inferences if inferences < success else success
    total.executions += executions
    total.compute_us += compute_us
    total.queue_us += queue_us
    for reason, count in now.failures.items():
        total.failed += _increase(count, earlier.failures.get(reason, 0.0))
    pending = now.pending if 0 <= now.pending < inf else 0.0
    before = earlier.pending if 0 <= earlier.pending < inf else 0.0
    total.pending += pending
    total.growth += pending - before


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


@dataclass(slots=True)
class _Total:
    """The sum over pods of one model, in the making; the fields are those of ``Signals``."""

    shape: ModelShape
    seconds: float = 0.0
    arrivals: float = 0.0
    completions: float = 0.0
    failures: float = 0.0
    pending: float = 0.0
    finished: float = 0.0
    waited: float = 0.0
    executed: float = 0.0
    busy: float = 0.0
    utilization: float = 0.0
    fullest: float = 0.0
    pods: int = 0
    batches: dict[int, list[float]] = field(default_factory=dict)
    stuck: list[str] = field(default_factory=list)

    def add(self, uid: str, pod: _Sum, seconds: float, batches: tuple[Batches, ...]) -> None:
        """Add one pod; one without an earlier sample has 0 seconds."""
        self.pending += pod.pending
        self.fullest = max(self.fullest, pod.pending / self.shape.instances)
        if seconds <= 0:
            return
        self.pods += 1
        executed = sum(each.size * each.executions for each in batches)
        if executed > 0:
            busy = sum(each.busy_ns for each in batches) / 1e9
        else:
            # The counter adds a batch's time for each of its requests.
            executed = pod.executed
            share = min(1.0, pod.executions / executed) if executed > 0 else 0.0
            busy = pod.compute_us / 1e6 * share
        self.seconds = max(self.seconds, seconds)
        self.finished += pod.success
        self.waited += pod.queue_us / 1e6
        self.executed += executed
        self.busy += busy
        self.utilization += busy / seconds / self.shape.instances
        self.arrivals += (pod.success + pod.failed + pod.growth) / seconds
        self.completions += pod.success / seconds
        self.failures += pod.failed / seconds
        for each in batches:
            if each.executions > 0:
                entry = self.batches.setdefault(each.size, [0.0, 0.0])
                entry[0] += each.executions
                entry[1] += each.busy_ns
        if pod.pending > 0 and pod.success == 0 and pod.failed == 0:
            self.stuck.append(uid)

    def signals(self) -> Signals:
        return Signals(
            seconds=self.seconds,
            arrivals=max(0.0, self.arrivals),
            completions=self.completions,
            failures=self.failures,
            pending=self.pending,
            finished=self.finished,
            waited=self.waited,
            executed=self.executed,
            busy=self.busy,
            utilization=min(1.0, self.utilization / self.pods) if self.pods else 0.0,
            fullest=self.fullest,
            batches=tuple(Batches(size, *entry) for size, entry in sorted(self.batches.items())),
            pods=self.pods,
            stuck=frozenset(self.stuck),
        )
