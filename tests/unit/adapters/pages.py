"""The operator's metrics page, of a mirror without a cluster."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Metric, generate_latest

from triton_operator import names
from triton_operator.adapters.mirror import Mirror
from triton_operator.adapters.state_metrics import StateMetrics
from triton_operator.adapters.telemetry import PREFIX, PrometheusTelemetry
from triton_operator.api.autoscaling import AutoscalingStatus
from triton_operator.plan.events import Event
from triton_operator.ports import Backlog, FailureReason, Key

_SUFFIXES = {"counter": ("_total",), "info": ("_info",), "gauge": ("",)}
_SUFFIXES["histogram"] = ("_bucket", "_count", "_sum")


@dataclass
class Page:
    """What the page is made from."""

    mirror: Mirror = field(default_factory=Mirror)
    telemetry: PrometheusTelemetry = field(default_factory=PrometheusTelemetry)
    statuses: dict[Key, AutoscalingStatus] = field(default_factory=dict)
    backlogs: dict[str, Backlog] = field(default_factory=dict)
    acting: bool = True

    def __post_init__(self) -> None:
        StateMetrics(
            self.mirror,
            lambda: self.acting,
            lambda: self.statuses,
            lambda: self.backlogs,
            self.telemetry,
        )

    def put(self, kind: str, name: str, **body: Any) -> dict[str, Any]:
        meta = {"name": name, "namespace": "team", "uid": f"{kind} {name}", "generation": 1}
        found = {"kind": kind, "metadata": meta, "spec": {}} | body
        self.mirror.put(found)
        return found

    def value(self, name: str, **labels: str) -> float | None:
        return self.telemetry.registry.get_sample_value(f"{PREFIX}_{name}", labels)

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the values of a family by the values of its labels."""
        (family,) = [m for m in self.telemetry.registry.collect() if m.name == f"{PREFIX}_{name}"]
        return {tuple(each.labels.values()): each.value for each in family.samples}

    def text(self) -> str:
        return generate_latest(self.telemetry.registry).decode()


def families() -> Mapping[str, Metric]:
    """Return every family of ours, by its name on the page without a histogram's suffix."""
    found = Page().telemetry.registry.collect()
    ours = (each for each in found if each.name.startswith(f"{PREFIX}_"))
    return {
        each.name + ("" if each.type == "histogram" else _SUFFIXES[each.type][0]): each
        for each in ours
    }


def labels_of_families() -> Mapping[str, set[str]]:
    """Return the labels of every family, but for the bounds of a histogram's buckets."""
    page = full_page()
    exercise(page)
    found = {each.name: each for each in page.telemetry.registry.collect()}
    return {
        name: {label for each in found[family.name].samples for label in each.labels} - {"le"}
        for name, family in families().items()
    }


def sample_names() -> set[str]:
    """Return every name that a query can use."""
    return {each.name + end for each in families().values() for end in _SUFFIXES[each.type]}


def conditions(**wanted: str) -> list[dict[str, Any]]:
    """Return conditions, each given as ``True Reason``."""
    return [
        {
            "type": kind,
            "status": text.split()[0],
            "reason": text.split()[1],
            "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        for kind, text in wanted.items()
    ]


def full_page() -> Page:
    """Return a page that has a series of every family."""
    page = Page(
        statuses={
            ("team", "vision"): AutoscalingStatus.model_validate(
                {
                    "desired": 3,
                    "queueTimeMilliseconds": 12.0,
                    "expectedQueueTimeMilliseconds": 40.0,
                    "utilization": 0.75,
                    "pending": 5,
                    "startupSeconds": 30,
                    "models": [{"name": "resnet", "arrivalsPerSecond": 25.0}],
                }
            )
        },
        backlogs={"servers": Backlog(2, 1.5)},
    )
    page.put(
        names.KIND_MODEL,
        "resnet",
        spec={"serverRef": {"name": "vision"}},
        status={"conditions": conditions(Ready="False BlockedByFailedLoad", Synced="True Synced")},
    )
    page.put(
        names.KIND_SERVER,
        "vision",
        spec={"autoscaling": {"maxReplicas": 4, "targetQueueTimeMilliseconds": 20}},
        status={
            "conditions": conditions(
                Ready="True AllPodsReady",
                Progressing="False Complete",
                ScalingLimited="True LimitReached",
            )
        },
    )
    page.put(
        "Deployment",
        "vision",
        spec={"replicas": 3},
        status={"replicas": 3, "readyReplicas": 2},
    )
    return page


def exercise(page: Page) -> None:
    """Have everything happen once that is counted."""
    telemetry = page.telemetry
    telemetry.waited("servers", 0.3)
    telemetry.passed("servers", 0.2)
    telemetry.passed("servers", 0.2, "ClusterError")
    telemetry.scrape_failed(("team", "vision"), FailureReason.TIMEOUT)
    telemetry.decided(("team", "vision"), "up")
    telemetry.synced("Done", 4.0, 1000)
    telemetry.loaded("LoadFailed", 2.0)
    telemetry.requested("get", "pods/log", None, 1.0)
    telemetry.scraped(0.1)
    telemetry.told(names.KIND_MODEL, Event("Warning", "LoadFailed", "why"))
