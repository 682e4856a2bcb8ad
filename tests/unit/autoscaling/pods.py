"""Pods as scrapes show them, and a pool of them that serves a steady stream."""

from dataclasses import dataclass, field

from triton_operator.api.autoscaling import Autoscaling
from triton_operator.autoscaling.decision import Decision, Memory, Observed, Pool, decide
from triton_operator.autoscaling.samples import (
    Batches,
    Counters,
    ModelShape,
    PodSample,
    Series,
)

SECONDS = 5.0


def spec(**fields: object) -> Autoscaling:
    return Autoscaling.model_validate(
        {"maxReplicas": 50, "targetQueueTimeMilliseconds": 500, **fields}
    )


def counters(
    success: float = 0,
    queue_us: float = 0,
    compute_us: float | None = None,
    pending: float = 0,
    executions: float | None = None,
    inferences: float | None = None,
    **failures: float,
) -> Counters:
    """One request per execution of 100 ms, unless the test says otherwise."""
    return Counters(
        success=success,
        failures=failures,
        inferences=success if inferences is None else inferences,
        executions=success if executions is None else executions,
        compute_us=1e5 * success if compute_us is None else compute_us,
        queue_us=queue_us,
        pending=pending,
    )


def sample(
    models: dict[str, Counters] | dict[Series, Counters],
    uid: str = "a",
    at: float = 0.0,
    started: float = 1.0,
    batches: dict[str, tuple[Batches, ...]] | None = None,
) -> PodSample:
    series = {
        key if isinstance(key, Series) else Series(key): value for key, value in models.items()
    }
    return PodSample(uid, started, at, series, batches or {})


@dataclass
class Served:
    """One pod's queue and counters, as a fluid."""

    uid: str
    ready_at: float
    success: float = 0.0
    queue_us: float = 0.0
    pending: float = 0.0
    stuck: bool = False


@dataclass
class Plant:
    """A pool in which the decisions are carried out, tick by tick."""

    spec: Autoscaling
    service: float = 0.1
    startup: float = 60.0
    pods: list[Served] = field(default_factory=lambda: [Served("pod-0", 0.0)])
    memory: Memory = field(default_factory=Memory)
    now: float = 0.0
    decisions: list[Decision] = field(default_factory=list)
    unschedulable: int = 0
    rolling_out: bool = False
    silent: int = 0
    """Ready pods that do not answer."""
    most: int | None = None

    @property
    def ready(self) -> list[Served]:
        return [pod for pod in self.pods if pod.ready_at <= self.now]

    @property
    def changes(self) -> list[tuple[int, int]]:
        return [(d.previous, d.desired) for d in self.decisions if d.previous != d.desired]

    def start(self, number: int) -> None:
        """Have that many ready pods."""
        self.pods = [Served(f"pod-{index}", 0.0) for index in range(number)]

    def run(self, arrivals: float, seconds: float) -> Decision:
        """Let so many requests per second arrive for a while."""
        end = self.now + seconds
        while self.now < end:
            self._serve(arrivals)
            self.decisions.append(self._tick())
        return self.decisions[-1]

    def _serve(self, arrivals: float) -> None:
        ready = self.ready
        for pod in ready:
            come = arrivals * SECONDS / len(ready)
            most = 0.0 if pod.stuck else SECONDS / self.service
            done = min(pod.pending + come, most)
            waited = pod.pending
            pod.pending += come - done
            pod.success += done
            # What piles up, and what random arrivals make wait in a queue that does not (M/D/1).
            load = min(come / SECONDS * self.service, 0.99)
            steady = done * self.service * load / (1 - load) / 2
            pod.queue_us += 1e6 * ((waited + pod.pending) / 2 * SECONDS + steady)
        self.now += SECONDS

    def _tick(self) -> Decision:
        ready = self.ready
        samples = [
            sample(
                {"m": counters(pod.success, pod.queue_us, pending=pod.pending)},
                uid=pod.uid,
                at=self.now,
            )
            for pod in ready[self.silent :]
        ]
        pool = Pool(
            desired=len(self.pods),
            ready=len(ready),
            startup_seconds=self.startup,
            unschedulable=self.unschedulable,
            rolling_out=self.rolling_out,
            most=self.most,
        )
        seen = Observed(self.now, pool, samples, {"m": ModelShape()})
        decision, self.memory = decide(self.spec, seen, self.memory)
        self._scale(decision.desired)
        return decision

    def _scale(self, desired: int) -> None:
        while len(self.pods) < desired:
            name = f"pod-{self.now:.0f}-{len(self.pods)}"
            self.pods.append(Served(name, self.now + self.startup))
        del self.pods[desired:]
