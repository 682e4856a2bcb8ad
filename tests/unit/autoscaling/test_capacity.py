"""What a pod can carry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_operator.autoscaling.capacity import (
    Capacity,
    assess_capacity,
    fit_batches,
    highest_load,
    late_share,
)
from triton_operator.autoscaling.samples import Batches, ModelShape

loads = st.floats(0.01, 0.99)
services = st.floats(0.001, 10)
factors = st.floats(5, 500)


def executions(fixed: float, each: float, *sizes: int) -> list[Batches]:
    return [Batches(size, 10, 10 * (fixed + each * size) * 1e9) for size in sizes]


@given(loads, loads, services, factors)
def test_more_load_means_more_late_requests(
    one: float, other: float, service: float, factor: float
) -> None:
    capacity = Capacity(service, factor * service)
    low, high = sorted((one, other))

    assert 0 <= late_share(low, capacity, 0.5) <= late_share(high, capacity, 0.5) <= 1


@given(st.floats(0.0001, 0.5), services, factors, st.floats(0.03, 2))
def test_the_highest_load_keeps_the_tail_and_a_higher_one_does_not(
    tail: float, service: float, factor: float, variability: float
) -> None:
    capacity = Capacity(service, factor * service)

    load = highest_load(tail, capacity, variability)

    assert late_share(load, capacity, variability) <= tail
    assert load == 0.95 or late_share(load + 1e-6, capacity, variability) > tail


def test_the_tail_of_a_queue_with_random_arrivals_and_service() -> None:
    """M/M/1: P(W > t) = load·exp(-(1-load)·t/s), which is the formula at variability 1."""
    assert late_share(0.8, Capacity(0.1, 0.5), 1.0) == pytest.approx(0.8 * 2.718281828**-1.0)


def test_a_line_through_the_batches() -> None:
    fit = fit_batches(executions(0.010, 0.002, 1, 4, 8))

    assert fit is not None
    assert (fit.fixed, fit.each) == (pytest.approx(0.010), pytest.approx(0.002))


def test_one_size_of_batch_promises_nothing_of_others() -> None:
    fit = fit_batches(executions(0.010, 0.002, 4))

    assert fit is not None
    assert (fit.fixed, fit.each) == (0.0, pytest.approx(0.0045))
    assert fit_batches([]) is None


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(1, 1e4), st.floats(1e3, 1e12))))
def test_a_batch_is_never_quicker_than_a_smaller_one(rows: list[tuple[int, float, float]]) -> None:
    fit = fit_batches([Batches(*row) for row in rows])

    assert fit is None or (fit.each >= 0 and fit.fixed >= -1e-9 * fit.of(1))


def test_a_pod_is_credited_with_the_batches_that_it_would_form() -> None:
    fit = fit_batches(executions(0.020, 0.001, 1, 2, 4))
    shape = ModelShape(max_batch=8)

    capacity = assess_capacity(0.021, fit, largest_seen=4, shape=shape, target=0.5)

    assert capacity.service == pytest.approx(0.028 / 8)
    assert capacity.target == pytest.approx(0.5 - 0.028)


@pytest.mark.parametrize("inferences", [0.2, 8.0])
def test_batches_are_of_inferences_and_the_load_is_of_requests(inferences: float) -> None:
    fit = fit_batches(executions(0.020, 0.001, 1, 2, 4))
    shape = ModelShape(max_batch=8)

    one = assess_capacity(0.021, fit, 4, shape, 0.5)
    many = assess_capacity(0.021 * inferences, fit, 4, shape, 0.5, inferences=inferences)

    assert many.service == pytest.approx(one.service * inferences)
    assert many.behind == one.behind


@pytest.mark.parametrize(
    ("largest_seen", "max_batch", "target", "batch"),
    [(4, 64, 0.5, 8), (64, 16, 0.5, 16), (64, 64, 0.056, 8), (4, 1, 0.5, 1)],
    ids=[
        "twice the largest seen",
        "the config's largest",
        "twice within the target",
        "no batching",
    ],
)
def test_no_batch_is_assumed_that_would_not_be_formed(
    largest_seen: int, max_batch: int, target: float, batch: int
) -> None:
    fit = fit_batches(executions(0.020, 0.001, 1, 4))

    capacity = assess_capacity(0.021, fit, largest_seen, ModelShape(max_batch=max_batch), target)

    assert capacity.service == pytest.approx((0.020 + 0.001 * batch) / batch)


def test_a_target_below_five_service_times_is_raised_and_said() -> None:
    capacity = assess_capacity(0.1, None, 1, ModelShape(), target=0.2)

    assert (capacity.target, capacity.floored) == (pytest.approx(0.5), True)
    assert not assess_capacity(0.1, None, 1, ModelShape(), target=0.5).floored


def test_instances_of_a_pod_share_its_queue() -> None:
    capacity = assess_capacity(0.1, None, 1, ModelShape(instances=4), target=0.2)

    assert (capacity.service, capacity.floored) == (pytest.approx(0.025), False)


def test_a_pod_that_tells_of_enormous_batches_takes_no_time() -> None:
    """Sizes come from pods: a walk over all of them would stop the autoscaling of everybody."""
    fit = fit_batches([Batches(10**12, 1, 1.0)])
    shape = ModelShape(max_batch=10**15)
    assert assess_capacity(1e-21, fit, 10**12, shape, 0.1).behind == pytest.approx(2e-9)
