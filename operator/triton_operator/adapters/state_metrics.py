"""What is, as Prometheus reads it: computed from what is known anyway, whenever the page is asked.

Nothing has to be told when it changes, and what is gone is on no page.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from triton_operator import names
from triton_operator.adapters.mirror import Mirror
from triton_operator.adapters.telemetry import PREFIX, PrometheusTelemetry
from triton_operator.api.autoscaling import Autoscaling, AutoscalingStatus
from triton_operator.api.conditions import Condition, ConditionType, find_condition
from triton_operator.desired.metadata import ChildNames
from triton_operator.observed import ModelRecord, ServerRecord, Workload
from triton_operator.ports import Backlog, Key

_SERVER = ("namespace", "server")
_SECONDS = 0.001
"""Of a millisecond."""


class StateMetrics(Collector):
    """The gauges of all models, servers and queues, and whether this process acts on them."""

    def __init__(
        self,
        mirror: Mirror,
        acting: Callable[[], bool],
        autoscaling: Callable[[], Mapping[Key, AutoscalingStatus]],
        backlogs: Callable[[], Mapping[str, Backlog]],
        telemetry: PrometheusTelemetry,
    ) -> None:
        self._mirror = mirror
        self._acting = acting
        self._autoscaling = autoscaling
        self._backlogs = backlogs
        self._telemetry = telemetry
        telemetry.registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the registry need not look at the cluster to know the names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every gauge, of what is there now."""
        models = [
            self._mirror.parsed(body, ModelRecord.parse)
            for body in self._mirror.of_kind(names.KIND_MODEL)
        ]
        servers = {
            record.key: record
            for record in (
                self._mirror.parsed(body, ServerRecord.parse)
                for body in self._mirror.of_kind(names.KIND_SERVER)
            )
        }
        acting = _gauge("acting", "1 where this process holds the Lease and has listed all.", ())
        acting.add_metric((), self._acting())
        yield acting
        yield from self._queues()
        yield from _models(models)
        yield from _servers(servers)
        yield from self._replicas(servers)
        yield from _bounds(servers)
        yield from _autoscaling(self._autoscaling())
        yield from self._telemetry.of_servers(servers)

    def _queues(self) -> Iterator[Metric]:
        length = _gauge("queue_length", "Servers or models with news that no pass has seen.", _LOOP)
        oldest = _gauge("queue_oldest_seconds", "For how long the first of them has waited.", _LOOP)
        for name, backlog in self._backlogs().items():
            length.add_metric((name,), backlog.length)
            oldest.add_metric((name,), backlog.oldest_seconds)
        yield from (length, oldest)

    def _replicas(self, servers: Iterable[Key]) -> Iterator[Metric]:
        desired = _gauge("server_desired_replicas", "Pods that the Deployment is to have.", _SERVER)
        present = _gauge("server_replicas", "Pods that it has.", _SERVER)
        ready = _gauge("server_ready_replicas", "Those of them that are ready.", _SERVER)
        for key in servers:
            body = self._mirror.get("Deployment", key[0], ChildNames(key[1]).deployment)
            workload = Workload.parse(body)
            if workload.exists:
                desired.add_metric(key, workload.desired)
                present.add_metric(key, workload.replicas)
                ready.add_metric(key, workload.ready)
        yield from (desired, present, ready)


_LOOP = ("loop",)


def _gauge(name: str, text: str, labels: Iterable[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=tuple(labels))


def _models(models: Iterable[ModelRecord]) -> Iterator[Metric]:
    labels = ("namespace", "model", "server")
    ready = _gauge("model_ready", "1 where every ready pod serves the TritonModel.", labels)
    unmet = _gauge(
        "model_unmet_condition",
        "1 for every condition of a TritonModel that does not hold.",
        (*labels, "condition", "reason"),
    )
    for record in models:
        key = (*record.key, record.status.server or record.server_name)
        ready.add_metric(key, _is_ready(record.status.conditions))
        for each in filter(_is_unmet, record.status.conditions):
            unmet.add_metric((*key, each.type.value, each.reason), 1.0)
    yield from (ready, unmet)


def _servers(servers: Mapping[Key, ServerRecord]) -> Iterator[Metric]:
    ready = _gauge("server_ready", "1 where all pods of the TritonServer are up.", _SERVER)
    unmet = _gauge(
        "server_unmet_condition",
        "1 for every condition of a TritonServer that does not hold, and for ScalingLimited.",
        (*_SERVER, "condition", "reason"),
    )
    for key, record in servers.items():
        ready.add_metric(key, _is_ready(record.status.conditions))
        for each in filter(_is_unmet, record.status.conditions):
            unmet.add_metric((*key, each.type.value, each.reason), 1.0)
    yield from (ready, unmet)


def _is_ready(conditions: Iterable[Condition]) -> float:
    ready = find_condition(conditions, ConditionType.READY)
    return float(ready is not None and ready.status == "True")


def _is_unmet(condition: Condition) -> bool:
    match condition.type:
        case ConditionType.PROGRESSING:
            return False
        case ConditionType.SCALING_LIMITED:
            return condition.status == "True"
    return condition.status != "True"


_BOUNDS: tuple[tuple[str, str, Callable[[Autoscaling], float]], ...] = (
    ("min_replicas", "Fewest pods that the spec allows.", lambda spec: spec.min_replicas),
    ("max_replicas", "Most pods that it allows.", lambda spec: spec.max_replicas),
    (
        "target_queue_time_seconds",
        "How long a request may wait, by the spec.",
        lambda spec: spec.target_queue_time_milliseconds * _SECONDS,
    ),
)


def _bounds(servers: Mapping[Key, ServerRecord]) -> Iterator[Metric]:
    specs = {
        key: record.spec.spec.autoscaling
        for key, record in servers.items()
        if record.spec is not None and record.spec.spec.autoscaling is not None
    }
    for name, text, read in _BOUNDS:
        found = _gauge(f"autoscaling_{name}", text, _SERVER)
        for key, spec in specs.items():
            found.add_metric(key, read(spec))
        yield found


_SEEN: tuple[tuple[str, str, Callable[[AutoscalingStatus], float | None]], ...] = (
    (
        "desired_replicas",
        "Pods that the autoscaler wants, also where it only observes.",
        lambda status: status.desired,
    ),
    (
        "queue_time_seconds",
        "Mean time that the requests finished last have waited.",
        lambda status: _seconds(status.queue_time_milliseconds),
    ),
    (
        "expected_queue_time_seconds",
        "How long the next request will wait on the fullest pod.",
        lambda status: _seconds(status.expected_queue_time_milliseconds),
    ),
    (
        "utilization_ratio",
        "Busy share of the instances of the busiest model.",
        lambda status: status.utilization,
    ),
    ("pending_requests", "Requests that wait now, on all pods.", lambda status: status.pending),
    (
        "startup_seconds",
        "How long new pods take to become ready.",
        lambda status: status.startup_seconds,
    ),
)


def _autoscaling(statuses: Mapping[Key, AutoscalingStatus]) -> Iterator[Metric]:
    """Yield the numbers of ``status.autoscaling``, as of the last tick."""
    for name, text, read in _SEEN:
        found = _gauge(f"autoscaling_{name}", text, _SERVER)
        for key, status in statuses.items():
            if (value := read(status)) is not None:
                found.add_metric(key, value)
        yield found
    arrivals = _gauge(
        "autoscaling_arrivals_per_second",
        "Requests that arrive, of the 20 models that need most pods.",
        (*_SERVER, "model"),
    )
    for key, status in statuses.items():
        for each in status.models:
            arrivals.add_metric((*key, each.name), each.arrivals_per_second)
    yield arrivals


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds * _SECONDS
