"""This operator's rules in the simulated pool, fed with what a scrape of Triton would say."""

import numpy as np

from tests.bench_autoscaling.baselines import (
    COMPUTE,
    EXECUTIONS,
    QUEUE,
    REJECTED,
    SUCCESS,
    Scraped,
)
from tests.bench_autoscaling.simulator import READY
from tests.bench_autoscaling.simulator import Pool as Simulated
from triton_operator.api.autoscaling import Autoscaling
from triton_operator.autoscaling.decision import Decision, Memory, Observed, Pool, decide
from triton_operator.autoscaling.samples import (
    Batches,
    Counters,
    ModelShape,
    PodSample,
    Series,
)

_MODEL = Series("model")


class Operator:
    """Decides every 5 s."""

    period = 5

    def __init__(self, spec: Autoscaling) -> None:
        self._spec = spec
        self._memory = Memory()
        self.decision: Decision | None = None

    def tick(self, pool: Simulated, scraped: Scraped) -> int:
        ready = np.flatnonzero(pool.state == READY)
        seen = Observed(
            at=pool.now,
            pool=Pool(pool.desired, len(ready), pool.startup),
            samples=[_sample(pool, int(each)) for each in ready],
            shapes={_MODEL.model: ModelShape(pool.service.instances, pool.service.max_batch)},
        )
        self.decision, self._memory = decide(self._spec, seen, self._memory)
        return self.decision.desired


def _sample(pool: Simulated, pod: int) -> PodSample:
    counters = pool.counters[pod]
    generation = int(pool.generation[pod])
    return PodSample(
        uid=f"{pod}/{generation}",
        started=generation,
        at=pool.now,
        series={
            _MODEL: Counters(
                success=float(counters[SUCCESS]),
                failures={"REJECTED": float(counters[REJECTED])},
                inferences=float(counters[SUCCESS]),
                executions=float(counters[EXECUTIONS]),
                compute_us=float(counters[COMPUTE]) * 1e6,
                queue_us=float(counters[QUEUE]) * 1e6,
                pending=float(pool.length[pod]),
            )
        },
        batches={_MODEL.model: _batches(pool, pod)},
    )


def _batches(pool: Simulated, pod: int) -> tuple[Batches, ...]:
    return tuple(
        Batches(size, float(pool.batches[pod, size, 0]), float(pool.batches[pod, size, 1]) * 1e9)
        for size in np.flatnonzero(pool.batches[pod, :, 0]).tolist()
    )
