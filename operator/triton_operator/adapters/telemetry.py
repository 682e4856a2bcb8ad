"""`triton_operator.ports.Telemetry` by Prometheus' client: what is counted and timed as it happens.

What can be read off at any moment is in :mod:`state_metrics`. Only decisions and scrapes carry the
name of a server, and lose it with the server; histograms carry no object, since a dozen series for
each of hundreds would cost more than they tell.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram, Info, Metric
from prometheus_client.aiohttp import make_aiohttp_handler

from triton_operator.adapters.http_server import serve
from triton_operator.plan.events import Event
from triton_operator.ports import Direction, FailureReason, Key

PREFIX = "triton_operator"

_QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds, of what is to be over at once."""
_LONG = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0)
"""Seconds, of what depends on the size of a model."""

# A series more for each counter, which says when it was first counted: nothing reads it.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class PrometheusTelemetry:
    """All that the operator's process has counted since it began."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._servers: set[Key] = set()
        """Those whose name a series has."""
        prometheus_client.ProcessCollector(registry=self.registry)
        prometheus_client.PlatformCollector(registry=self.registry)
        prometheus_client.GCCollector(registry=self.registry)
        build = Info("build", "Version of the operator.", namespace=PREFIX, registry=self.registry)
        build.info({"version": version("triton-operator")})
        self._passes = self._histogram(
            "pass_duration_seconds",
            "Passes over one server or one model, and ticks of the autoscaler over all servers.",
            ("loop",),
        )
        self._errors = self._counter(
            "pass_errors", "Passes that failed, by the reason in the status.", ("loop", "reason")
        )
        self._waits = self._histogram(
            "queue_wait_seconds", "Time from news of an object to the pass over it.", ("loop",)
        )
        self._requests = self._counter(
            "api_requests",
            "Requests to the Kubernetes API but for watches; code is none without an answer.",
            ("verb", "resource", "code"),
        )
        self._request_seconds = self._histogram(
            "api_request_duration_seconds", "The same, in time.", ("verb",)
        )
        self._scrapes = self._histogram(
            "scrape_duration_seconds", "Questions of the autoscaler to one pod, also failed ones."
        )
        self._scrape_failures = Counter(
            f"{PREFIX}_scrape_failures",
            "Pods that were ready and did not tell their load.",
            ("namespace", "server", "reason"),
            registry=None,
        )
        self._decisions = Counter(
            f"{PREFIX}_autoscaling_decisions",
            "Changes of the number of pods that the autoscaler wants.",
            ("namespace", "server", "direction"),
            registry=None,
        )
        self._syncs = self._counter(
            "syncs", "Sync Jobs that ended; Done, Incomplete or why they failed.", ("result",)
        )
        self._sync_seconds = self._histogram(
            "sync_duration_seconds", "The same, in time from the Job to its end.", buckets=_LONG
        )
        self._sync_bytes = self._counter("sync_bytes", "Bytes that they fetched.")
        self._loads = self._counter(
            "loads",
            "Loads of one model on one pod; Loaded, Unclear or why it is not served.",
            ("result",),
        )
        self._load_seconds = self._histogram(
            "load_duration_seconds", "The same, in time.", buckets=_LONG
        )
        self._events = self._counter(
            "events", "News of models and servers, as in their Events.", ("kind", "type", "reason")
        )

    # ---- ports.Telemetry ------------------------------------------------------------------

    def waited(self, loop: str, seconds: float) -> None:
        """Count the time from news to the pass that takes them in."""
        self._waits.labels(loop).observe(seconds)

    def passed(self, loop: str, seconds: float, error: str = "") -> None:
        """Count a pass, and the reason for which it failed."""
        self._passes.labels(loop).observe(seconds)
        if error:
            self._errors.labels(loop, error).inc()

    def scrape_failed(self, server: Key, reason: FailureReason) -> None:
        """Count a pod of a server that did not tell its load."""
        self._servers.add(server)
        self._scrape_failures.labels(*server, reason.value).inc()

    def decided(self, server: Key, direction: Direction) -> None:
        """Count a decision for more or fewer pods."""
        self._servers.add(server)
        self._decisions.labels(*server, direction).inc()

    def synced(self, result: str, seconds: float, copied: int) -> None:
        """Count a sync Job that ended, and the bytes that it fetched."""
        self._syncs.labels(result).inc()
        self._sync_seconds.observe(seconds)
        self._sync_bytes.inc(copied)

    def loaded(self, result: str, seconds: float) -> None:
        """Count a load."""
        self._loads.labels(result).inc()
        self._load_seconds.observe(seconds)

    # ---- of adapters ----------------------------------------------------------------------

    def requested(self, verb: str, resource: str, code: int | None, seconds: float) -> None:
        """Count a request to the Kubernetes API; verbs and resources are those of RBAC."""
        self._requests.labels(verb, resource, "none" if code is None else code).inc()
        self._request_seconds.labels(verb).observe(seconds)

    def scraped(self, seconds: float) -> None:
        """Count a pod that was asked for its load."""
        self._scrapes.observe(seconds)

    def told(self, kind: str, event: Event) -> None:
        """Count a piece of news."""
        self._events.labels(kind, event.type, event.reason).inc()

    # ---- the page -------------------------------------------------------------------------

    def of_servers(self, servers: Collection[Key]) -> Iterator[Metric]:
        """Yield what carries the name of a server; those that are gone are forgotten before."""
        gone = self._servers.difference(servers)
        for namespace, server in gone:
            for family in (self._scrape_failures, self._decisions):
                family.remove_by_labels({"namespace": namespace, "server": server})
        self._servers -= gone
        yield from self._scrape_failures.collect()
        yield from self._decisions.collect()

    def serve(self, port: int, host: str = "") -> AbstractAsyncContextManager[int]:
        """Answer ``/metrics`` until the block ends, on all addresses or on one; gives the port."""
        return serve({"/metrics": make_aiohttp_handler(self.registry)}, port, host)

    # ---- making them ----------------------------------------------------------------------

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, text, labels, namespace=PREFIX, registry=self.registry)

    def _histogram(
        self, name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] = _QUICK
    ) -> Histogram:
        return Histogram(
            name, text, labels, namespace=PREFIX, registry=self.registry, buckets=buckets
        )
