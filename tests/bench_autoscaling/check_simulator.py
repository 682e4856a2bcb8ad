"""The simulator against what queueing theory knows. `make bench-autoscaling` runs it first."""

from math import exp

import numpy as np
import pytest

from tests.bench_autoscaling.simulator import READY, Pool, Routing, Service


def simulate(service: Service, load: float, pods: int = 1, seconds: int = 20_000, **fields) -> Pool:
    fields = {"routing": Routing.RANDOM, "target": 0.3, **fields}
    pool = Pool(service, startup=60, seed=7, initial=pods, **fields)
    for arrivals in np.random.default_rng(7).poisson(load * pods * service.capacity, seconds):
        pool.advance(int(arrivals))
    return pool


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("variation", [0.0, 1.0])
def test_the_mean_wait_is_that_of_pollaczek_and_khinchine(load: float, variation: float) -> None:
    pool = simulate(Service(variation=variation), load, pods=4)

    expected = 0.1 * load / (1 - load) * (1 + variation**2) / 2
    assert pool.totals[2] / pool.totals[0] == pytest.approx(expected, rel=0.1)


def test_the_tail_of_exponential_service_is_exponential() -> None:
    pool = simulate(Service(variation=1.0), 0.7, pods=4)

    assert pool.totals[1] / pool.totals[0] == pytest.approx(0.7 * exp(-0.3 * 3), rel=0.1)


def test_a_common_choice_of_the_least_loaded_waits_less_than_random_ones() -> None:
    late = [
        simulate(Service(), 0.8, pods=8, seconds=3000, routing=routing).totals[2]
        for routing in (Routing.RANDOM, Routing.POWER_OF_TWO, Routing.LEAST_PENDING)
    ]

    assert late == sorted(late, reverse=True)


def test_counters_move_at_completion_and_add_a_batch_for_each_of_its_requests() -> None:
    service = Service(fixed=0.04, each=0.008, max_batch=8)
    pool = simulate(service, 0.9, pods=2, seconds=600)
    success, _, compute, executions, busy, _ = pool.counters[pool.state == READY].sum(axis=0)
    sizes = pool.batches[pool.state == READY].sum(axis=0)

    started = pool.totals[0]
    assert started - 16 <= success <= started  # the rest is being executed
    assert executions == sizes[:, 0].sum()
    assert success == (sizes[:, 0] * np.arange(len(sizes))).sum()
    assert busy == pytest.approx(sizes[:, 1].sum())
    assert compute == pytest.approx((sizes[:, 1] * np.arange(len(sizes))).sum())
    assert compute > 2 * busy


def test_a_pod_takes_its_time_to_start_and_finishes_what_it_has_when_it_leaves() -> None:
    pool = Pool(Service(), Routing.RANDOM, 60, 0.5, 7, initial=1)
    pool.scale(3)
    for _ in range(50):
        pool.advance(5)
    assert np.count_nonzero(pool.state == READY) == 1

    for _ in range(20):
        pool.advance(5)
    assert np.count_nonzero(pool.state == READY) == 3

    pool.scale(1)
    for _ in range(30):
        pool.advance(5)
    assert np.count_nonzero(pool.state) == 1
    assert pool.totals[0] == 100 * 5
