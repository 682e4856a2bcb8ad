"""One load on one pool under one policy."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Protocol

import numpy as np

from tests.bench_autoscaling.baselines import Scraped
from tests.bench_autoscaling.load import Counts
from tests.bench_autoscaling.simulator import Pool, Routing, Service

SCRAPE_SECONDS = 5
REACTION_LIMIT = 300


SINGLE = Service()
"""100 ms for each request."""


@dataclass(frozen=True)
class Scenario:
    """What is served, and how."""

    load: str
    routing: Routing = Routing.RANDOM
    service: Service = SINGLE
    startup: float = 60.0
    target: float = 0.5
    """Seconds that a request may wait."""
    most: int = 60
    factor: float = 1.0
    """Generated loads are multiplied by it."""

    @property
    def name(self) -> str:
        batching = ", batches" if self.service.max_batch > 1 else ""
        return f"{self.load}, {self.routing.name.lower().replace('_', ' ')}{batching}"


class Policy(Protocol):
    """Something that scales."""

    period: int
    """Seconds between two looks."""

    def tick(self, pool: Pool, scraped: Scraped) -> int: ...


MakePolicy = Callable[[Scenario, Counts], Policy]


@dataclass(frozen=True)
class Outcome:
    """What a policy made of a load."""

    late: float
    """Share of requests that waited longer than the target."""
    pod_hours: float
    turns: int
    """Changes from growing to shrinking or back."""
    reaction: float
    """Median seconds from a rise in load to asking for enough pods; NaN without any rise."""
    pods: np.ndarray
    """Pods asked for, in each second."""


def run_trial(make: MakePolicy, scenario: Scenario, counts: Counts, seed: int) -> Outcome:
    """Let the requests arrive; the pool starts with 60 % load in the first five minutes."""
    busy = counts[:300].mean() / scenario.service.capacity
    policy = make(scenario, counts)
    initial = getattr(policy, "size", max(1, min(scenario.most, ceil(busy / 0.6))))
    pool = Pool(
        scenario.service,
        scenario.routing,
        scenario.startup,
        scenario.target,
        seed,
        initial,
        scenario.most,
    )
    scraped = Scraped()
    scraped.scrape(pool)
    pods = np.empty(len(counts), np.int64)
    turns = direction = 0
    for second, arrivals in enumerate(counts, start=1):
        pool.advance(int(arrivals))
        if second % SCRAPE_SECONDS == 0:
            scraped.scrape(pool)
        if second % policy.period == 0:
            wanted = max(1, min(scenario.most, policy.tick(pool, scraped)))
            if wanted != pool.desired:
                now = 1 if wanted > pool.desired else -1
                turns += now == -direction
                direction = now
                pool.scale(wanted)
        pods[second - 1] = pool.desired
    pool.finish()
    return Outcome(
        late=float(pool.totals[1] / max(pool.totals[0], 1)),
        pod_hours=pool.pod_seconds / 3600,
        turns=turns,
        reaction=_reaction(counts, pods, scenario),
        pods=pods,
    )


def _reaction(counts: Counts, pods: np.ndarray, scenario: Scenario) -> float:
    """Find each rise by half within 30 s that the pods at hand cannot carry."""
    if len(counts) < 100:
        return float("nan")
    before = np.convolve(counts, np.ones(60) / 60, "valid")[:-30]  # of the 60 s before k + 60
    after = np.convolve(counts, np.ones(30) / 30, "valid")[60:]
    needed = np.ceil(after / scenario.service.capacity)
    needed = np.minimum(needed, scenario.most)
    short = (after > 1.5 * before) & (needed > pods[59 : 59 + len(after)])
    times = []
    k = 0
    while k < len(after):
        if not short[k]:
            k += 1
            continue
        ahead = pods[60 + k : 60 + k + REACTION_LIMIT] >= needed[k]
        times.append(int(np.argmax(ahead)) + 1 if ahead.any() else REACTION_LIMIT)
        k += REACTION_LIMIT
    return float(np.median(times)) if times else float("nan")
