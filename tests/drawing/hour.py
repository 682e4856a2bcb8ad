"""An hour of the operator's metrics page.

Autoscaling is what the operator's own rules make of two loads in the simulator of
tests/bench_autoscaling, a recorded one and crowds that come and go. What else is counted comes at
random, about as often as on a small cluster.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from tests.bench_autoscaling.baselines import Scraped
from tests.bench_autoscaling.load import build_counts
from tests.bench_autoscaling.ours import Operator
from tests.bench_autoscaling.simulator import READY, Pool, Routing, Service
from tests.unit.adapters.pages import Page, conditions
from triton_operator import names
from triton_operator.api.autoscaling import Autoscaling
from triton_operator.autoscaling.status import build_status
from triton_operator.plan.events import Event
from triton_operator.ports import Backlog

SECONDS = 3420
"""As long as the recorded load."""
SCRAPE = 30
"""Seconds between two pages: the chart's default."""
SPEC = Autoscaling(max_replicas=20, target_queue_time_milliseconds=200)
STARTUP = 60.0
LABELS = 'instance="10.0.0.7:8080",pod="triton-operator-6c9f7d9c4-x2x8p"'


@dataclass
class Server:
    """One of the page, with a pool of pods and its load."""

    page: Page
    name: str
    load: str
    seed: int
    operator: Operator = field(default_factory=lambda: Operator(SPEC))

    def __post_init__(self) -> None:
        self.counts = build_counts(self.load, self.seed, SECONDS)
        initial = max(1, int(self.counts[:300].mean() / 10))
        service, routing, most = Service(0.05), Routing.LEAST_PENDING, SPEC.max_replicas
        self.pool = Pool(service, routing, STARTUP, 0.2, self.seed, initial, most)
        spec = SPEC.model_dump(mode="json", by_alias=True, exclude_none=True)
        ready = {"conditions": conditions(Ready="True AllPodsReady")}
        self.page.put(names.KIND_SERVER, self.name, spec={"autoscaling": spec}, status=ready)
        put_model(self.page, f"{self.name}-model", self.name, Ready="True Serving")

    def advance(self, second: int) -> None:
        """Let a second pass."""
        self.pool.advance(int(self.counts[second - 1]))
        if second % self.operator.period == 0:
            self.decide()
        ready = int(np.count_nonzero(self.pool.state == READY))
        asked = self.pool.desired
        status = {"replicas": asked, "readyReplicas": ready}
        self.page.put("Deployment", self.name, spec={"replicas": asked}, status=status)

    def decide(self) -> None:
        key, before = ("team", self.name), self.pool.desired
        self.pool.scale(self.operator.tick(self.pool, Scraped()))
        if self.pool.desired != before:
            self.page.telemetry.decided(key, "up" if self.pool.desired > before else "down")
        decision = self.operator.decision
        assert decision is not None
        self.page.statuses[key] = build_status(decision, None, STARTUP, datetime.now(UTC))


def put_model(page: Page, name: str, server: str, **wanted: str) -> None:
    status = {"conditions": conditions(**wanted)}
    page.put(names.KIND_MODEL, name, spec={"serverRef": {"name": server}}, status=status)


def write_hour(start: int) -> Iterator[str]:
    """Yield the lines of every page, with their times, in the format of OpenMetrics."""
    page, random = Page(), np.random.default_rng(7)
    servers = [Server(page, "chat", "conv", 1), Server(page, "vision", "flash", 3)]
    put_model(page, "bert", "vision", Ready="True Serving", Loaded="False BlockedByFailedLoad")
    put_model(page, "whisper", "speech", Ready="False ServerNotFound")
    for second in range(1, SECONDS + 1):
        for each in servers:
            each.advance(second)
        happen(page, second, random)
        if second % SCRAPE == 0:
            for line in page.text().splitlines():
                if not line.startswith("#"):
                    series, value = line.rsplit(" ", 1)
                    name, _, labels = series.partition("{")
                    yield f"{name}{{{LABELS},{labels or '}'} {value} {start + second}\n"
    yield "# EOF\n"


def happen(page: Page, second: int, random: np.random.Generator) -> None:
    """Have counted what a second brings; one update fails after 40 minutes."""
    telemetry = page.telemetry
    page.backlogs["servers"] = Backlog(int(random.poisson(0.2)), 0.0)
    if second % Operator.period == 0:
        telemetry.passed("autoscaling", random.gamma(4, 0.005))
        telemetry.scraped(random.gamma(3, 0.002))
    for _ in range(random.poisson(0.3)):
        telemetry.waited("servers", random.gamma(2, 0.01))
        telemetry.passed("servers", random.gamma(3, 0.02))
        telemetry.requested("get", "deployments", 200, random.gamma(2, 0.004))
        telemetry.requested("patch", "tritonservers/status", 200, random.gamma(2, 0.008))
    failed = second == 2400
    if failed or random.random() < 1 / 600:
        size, result = int(random.integers(10**7, 4 * 10**9)), "LoadFailed" if failed else "Loaded"
        telemetry.synced("Done", size / 8e7, size)
        telemetry.loaded(result, random.gamma(4, 2))
        kind = "Warning" if failed else "Normal"
        telemetry.told(names.KIND_MODEL, Event(kind, result, ""))
