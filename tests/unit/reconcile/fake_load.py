"""Requests that reach the pods of a server, and what Triton's counters say of them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tests.unit.reconcile.fake_triton import FakeTriton
from triton_operator.autoscaling.samples import Batches, Counters, ModelShape, PodSample, Series
from triton_operator.autoscaling.shapes import ShapeKey, Shapes
from triton_operator.observed import Pod, Served
from triton_operator.ports import FailureReason, ScrapeFailure

SERVICE_SECONDS = 0.1


@dataclass
class _Queue:
    """The requests of one pod: what is finished, and what waits, as a fluid."""

    at: float
    finished: float = 0.0
    waiting: float = 0.0
    waited: float = 0.0

    def go_on(self, at: float, arriving: float, *, stuck: bool) -> None:
        work = self.waiting + arriving
        done = 0.0 if stuck else min(work, (at - self.at) / SERVICE_SECONDS)
        self.waited += done * self.waiting * SERVICE_SECONDS
        self.finished += done
        self.waiting = work - done
        self.at = at


class FakeLoad:
    """``ports.PodScraper``: load by server, spread evenly over the pods that are asked."""

    def __init__(self, triton: FakeTriton, clock: Callable[[], float]) -> None:
        self._triton = triton
        self._now = clock
        self._queues: dict[str, _Queue] = {}
        self.arrivals: dict[str, float] = {}
        """Requests per second by server."""
        self.only: dict[str, str] = {}
        """The one pod that all requests of a server reach."""
        self.stuck: set[str] = set()
        """Servers whose pods finish no request."""
        self.instances = 1
        """Of every model on a pod, as its config says."""
        self.decoupled: set[str] = set()
        """Models that are."""
        self.scraped: set[str] = set()
        """Names of pods that were asked."""

    async def scrape(self, pods: Iterable[Pod]) -> dict[Pod, PodSample | ScrapeFailure]:
        asked, now = tuple(pods), self._now()
        self.scraped |= {pod.name for pod in asked}
        of = {pod: self._triton.processes[pod.uid].server for pod in asked}
        found: dict[Pod, PodSample | ScrapeFailure] = {}
        for pod in asked:
            if pod.name in self._triton.deaf:
                found[pod] = ScrapeFailure(FailureReason.TIMEOUT, "no answer in 2 s")
                continue
            queue = self._queues.setdefault(pod.uid, _Queue(now))
            sharing = [each for each, server in of.items() if server == of[pod]]
            only = self.only.get(of[pod])
            share = 1 / len(sharing) if only is None else float(pod.name == only)
            rate = self.arrivals.get(of[pod], 0.0) * share
            queue.go_on(now, rate * (now - queue.at), stuck=of[pod] in self.stuck)
            found[pod] = self._sample(pod, queue)
        return found

    def _sample(self, pod: Pod, queue: _Queue) -> PodSample:
        busy = queue.finished * SERVICE_SECONDS
        models = self._triton.processes[pod.uid].loaded
        counters = Counters(
            success=queue.finished,
            inferences=queue.finished,
            executions=queue.finished,
            compute_us=busy * 1e6,
            queue_us=queue.waited * 1e6,
            pending=round(queue.waiting),
        )
        return PodSample(
            uid=pod.uid,
            started=0.0,
            at=queue.at,
            series={Series(model): counters for model in models},
            batches={model: (Batches(1, queue.finished, busy * 1e9),) for model in models},
        )

    async def shapes(self, pods: Mapping[Pod, Served], known: Shapes) -> Shapes:
        return {
            ShapeKey(pod.uid, pod.started_at, model, each.config_hash): ModelShape(
                instances=self.instances, decoupled=model in self.decoupled
            )
            for pod, served in pods.items()
            for model, each in served.items()
        }
