"""What else scales a Triton: the autoscalers of Kubernetes, Knative and KEDA, as published."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np

from tests.bench_autoscaling.simulator import READY, Pool

SUCCESS, QUEUE, COMPUTE, EXECUTIONS, BUSY, REJECTED = range(6)


class Scraped:
    """What a Prometheus that scrapes every 5 s remembers of the last minute."""

    def __init__(self) -> None:
        self._pages: deque[tuple[float, np.ndarray, np.ndarray]] = deque(maxlen=13)

    def scrape(self, pool: Pool) -> None:
        generation = np.where(pool.state == READY, pool.generation, -1)
        self._pages.append((pool.now, generation, pool.counters.copy()))

    def increase(self, window: float) -> np.ndarray:
        """Return each ready pod's counters' increase in the window, one row per pod."""
        now, generation, counters = self._pages[-1]
        _, before, old = next(page for page in self._pages if page[0] >= now - window - 1e-9)
        known = (generation >= 0) & (before == generation)
        young = (generation >= 0) & ~known
        delta = np.where(known[:, None], counters - old, np.where(young[:, None], counters, 0))
        return delta[generation >= 0]

    @property
    def span(self) -> float:
        """Seconds that are remembered."""
        return max(self._pages[-1][0] - self._pages[0][0], 1.0)


def mean_over_models(scraped: Scraped, pool: Pool) -> np.ndarray:
    """µs; the rule of Triton's k8s-onprem chart, with one model on the pod."""
    delta = scraped.increase(30)
    return 1e6 * delta[:, QUEUE] / (1 + delta[:, SUCCESS])


def queue_time(scraped: Scraped, pool: Pool) -> np.ndarray:
    """Mean wait in seconds over 30 s."""
    delta = scraped.increase(30)
    return delta[:, QUEUE] / np.maximum(delta[:, SUCCESS], 1)


def queue_to_compute(scraped: Scraped, pool: Pool) -> np.ndarray:
    """Queue time over compute time in a minute, as in NVIDIA's guides."""
    delta = scraped.increase(60)
    return delta[:, QUEUE] / np.maximum(delta[:, COMPUTE], 1e-6)


def pending(scraped: Scraped, pool: Pool) -> np.ndarray:
    """Requests that wait, on each pod."""
    return pool.length[pool.state == READY].astype(float)


def utilisation(scraped: Scraped, pool: Pool) -> np.ndarray:
    """Share of 30 s that the instances were busy."""
    delta = scraped.increase(30)
    return delta[:, BUSY] / min(30.0, scraped.span) / pool.service.instances


class Hpa:
    """``autoscaling/v2`` with a Pods metric and the default behavior."""

    period = 15
    tolerance = 0.1
    stabilization = 300.0

    def __init__(self, metric: Callable[[Scraped, Pool], np.ndarray], target: float) -> None:
        self._metric, self._target = metric, target
        self._recommended: deque[tuple[float, int]] = deque()
        self._sizes: deque[tuple[float, int]] = deque()

    def tick(self, pool: Pool, scraped: Scraped) -> int:
        return self._behave(pool, self._replicas(pool, self._metric(scraped, pool)))

    def _replicas(self, pool: Pool, values: np.ndarray) -> int:
        """GetMetricReplicas: pods without a metric count as 0 upwards, as at target downwards."""
        current, have = pool.desired, len(values)
        if have == 0:
            return current
        ratio = float(values.mean()) / self._target
        missing = max(0, current - have)
        if missing == 0:
            return current if abs(1 - ratio) <= self.tolerance else ceil(ratio * have)
        fill = self._target if ratio < 1 else 0.0
        filled = (float(values.sum()) + fill * missing) / (have + missing) / self._target
        crossed = (ratio < 1) != (filled < 1)
        if abs(1 - filled) <= self.tolerance or crossed:
            return current
        return ceil(filled * (have + missing))

    def _behave(self, pool: Pool, wanted: int) -> int:
        now = pool.now
        self._recommended.append((now, wanted))
        while self._recommended[0][0] < now - self.stabilization:
            self._recommended.popleft()
        if wanted < pool.desired:
            wanted = min(pool.desired, max(each for _, each in self._recommended))
        return min(wanted, max(2 * pool.desired, pool.desired + 4))


class Keda(Hpa):
    """An external metric of type AverageValue: the sum over all pods, divided by the threshold."""

    def __init__(self, total: Callable[[Scraped, Pool], float], threshold: float) -> None:
        super().__init__(utilisation, threshold)
        self._total = total

    def tick(self, pool: Pool, scraped: Scraped) -> int:
        total = self._total(scraped, pool)
        ratio = total / (self._target * pool.desired)
        steady = abs(1 - ratio) <= self.tolerance
        return self._behave(pool, pool.desired if steady else ceil(total / self._target))


def request_rate(scraped: Scraped, pool: Pool) -> float:
    """Answers per second in the last minute."""
    return float(scraped.increase(60)[:, SUCCESS].sum()) / min(60.0, scraped.span)


def server_load(scraped: Scraped, pool: Pool) -> float:
    """ms; SuperSONIC's queue time per execution over 15 s."""
    delta = scraped.increase(15)
    return float(1e6 * delta[:, QUEUE].sum() / (1000 * delta[:, EXECUTIONS].sum() + 0.001))


class Knative:
    """The KPA on concurrency: stable window 60 s, panic window 6 s, panic at twice the pods."""

    period = 2

    def __init__(self, target: float) -> None:
        self._target = target
        self._seen: deque[tuple[float, float]] = deque()
        self._panic_since = -np.inf
        self._panic_pods = 0

    def tick(self, pool: Pool, scraped: Scraped) -> int:
        # A pod's concurrency counter starts again with the pod: keep the sum of increases.
        total = float(pool.concurrency.sum())
        pool.concurrency[:] = 0
        self._seen.append((pool.now, total))
        while self._seen[0][0] <= pool.now - 60:
            self._seen.popleft()
        ready = max(1, int(np.count_nonzero(pool.state == READY)))
        stable = self._wanted(60, pool.now, ready)
        panic = self._wanted(6, pool.now, ready)
        if panic / ready >= 2:
            self._panic_since = pool.now
        if pool.now - self._panic_since < 60:
            self._panic_pods = max(self._panic_pods, panic, ready)
            return self._panic_pods
        self._panic_pods = 0
        return stable

    def _wanted(self, window: float, now: float, ready: int) -> int:
        inside = [value for at, value in self._seen if at > now - window]
        average = sum(inside) / (len(inside) * self.period)
        return max(ceil(average / self._target), ready // 2, 1)


class Static:
    """So many, always."""

    period = 3600

    def __init__(self, size: int) -> None:
        self.size = size

    def tick(self, pool: Pool, scraped: Scraped) -> int:
        return self.size


@dataclass
class Clairvoyant:
    """Knows every arrival in advance, and starts each pod just in time."""

    counts: np.ndarray
    load: float
    """Share of their capacity at which the pods are to run in the busiest 5 s."""
    period: int = 5

    def tick(self, pool: Pool, scraped: Scraped) -> int:
        start = int(pool.now)
        ahead = self.counts[start : start + int(pool.startup * 1.1) + 15]
        if len(ahead) < 5:
            return pool.desired
        busiest = np.convolve(ahead, np.ones(5) / 5, "valid").max()
        return max(1, ceil(busiest / pool.service.capacity / self.load))
