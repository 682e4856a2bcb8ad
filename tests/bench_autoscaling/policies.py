"""The policies that are compared, by the name in the table."""

from tests.bench_autoscaling.baselines import (
    Clairvoyant,
    Hpa,
    Keda,
    Knative,
    Static,
    mean_over_models,
    pending,
    queue_time,
    queue_to_compute,
    request_rate,
    server_load,
    utilisation,
)
from tests.bench_autoscaling.load import Counts
from tests.bench_autoscaling.ours import Operator
from tests.bench_autoscaling.trial import MakePolicy, Policy, Scenario
from triton_operator.api.autoscaling import Autoscaling

OURS = "ours"


def _ours(tail: float, target_factor: float = 1.0) -> MakePolicy:
    def make(scenario: Scenario, counts: Counts) -> Policy:
        spec = {
            "maxReplicas": scenario.most,
            "targetQueueTimeMilliseconds": round(1000 * scenario.target * target_factor),
            "tail": tail,
        }
        return Operator(Autoscaling.model_validate(spec))

    return make


def _hpa(metric, target: float) -> MakePolicy:
    return lambda scenario, counts: Hpa(metric, target)


def _keda(load: float) -> MakePolicy:
    def make(scenario: Scenario, counts: Counts) -> Policy:
        return Keda(request_rate, load * scenario.service.capacity)

    return make


def _static(size: int) -> MakePolicy:
    return lambda scenario, counts: Static(size)


def _clairvoyant(load: float) -> MakePolicy:
    return lambda scenario, counts: Clairvoyant(counts, load)


UNREAL = ("static", "clairvoyant")
"""Sizes and futures that nobody knows beforehand."""

POLICIES: dict[str, MakePolicy] = {
    f"{OURS}, tail 1 %": _ours(0.01),
    f"{OURS}, tail 5 % (default)": _ours(0.05),
    f"{OURS}, tail 10 %": _ours(0.1),
    "HPA, official chart (50 µs)": _hpa(mean_over_models, 50),
    "HPA, queue time 20 ms": _hpa(queue_time, 0.02),
    "HPA, queue time 100 ms": _hpa(queue_time, 0.1),
    "HPA, queue:compute 1": _hpa(queue_to_compute, 1.0),
    "HPA, pending 1 per pod": _hpa(pending, 1.0),
    "HPA, utilisation 30 %": _hpa(utilisation, 0.3),
    "HPA, utilisation 40 %": _hpa(utilisation, 0.4),
    "HPA, utilisation 50 %": _hpa(utilisation, 0.5),
    "HPA, utilisation 60 %": _hpa(utilisation, 0.6),
    "HPA, utilisation 80 %": _hpa(utilisation, 0.8),
    "Knative, concurrency 0.7": lambda scenario, counts: Knative(0.7),
    "Knative, concurrency 0.5": lambda scenario, counts: Knative(0.5),
    "KEDA, request rate 40 %": _keda(0.4),
    "KEDA, request rate 60 %": _keda(0.6),
    "KEDA, SuperSONIC's server load": lambda scenario, counts: Keda(server_load, 100.0),
    **{f"static, {size} pods": _static(size) for size in (4, 8, 12, 16, 24, 32, 48, 60)},
    "clairvoyant, 70 %": _clairvoyant(0.7),
}
