"""What one decision costs the operator."""

from time import process_time

from triton_operator.api.autoscaling import Autoscaling
from triton_operator.autoscaling.decision import Memory, Observed, Pool, decide
from triton_operator.autoscaling.samples import Counters, ModelShape, PodSample, Series


def measure_cost(pods: int = 1000, models: int = 3, ticks: int = 50) -> float:
    """Return the CPU seconds of one decision, the median over ticks."""
    spec = Autoscaling.model_validate({"maxReplicas": 1000})
    shapes = {f"m{index}": ModelShape() for index in range(models)}
    memory = Memory()
    times = []
    for tick in range(ticks):
        samples = [_sample(f"pod-{index}", 5.0 * tick, models) for index in range(pods)]
        seen = Observed(5.0 * tick, Pool(pods, pods), samples, shapes)
        start = process_time()
        _, memory = decide(spec, seen, memory)
        times.append(process_time() - start)
    return sorted(times)[ticks // 2]


def _sample(uid: str, at: float, models: int) -> PodSample:
    done = 5 * at
    counters = Counters(done, {"REJECTED": 0.0}, done, done, 1e5 * done, 1e4 * done, 1.0)
    return PodSample(uid, 1.0, at, {Series(f"m{index}"): counters for index in range(models)})
