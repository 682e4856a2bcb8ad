"""The loads of the cluster tests and benches: how many requests, and when."""

from itertools import pairwise

import pytest

from tests import bench_cluster_day
from tests.cluster.support.manifests import sleeps
from tests.cluster.support.perf_analyzer import Stage


@pytest.mark.parametrize(("seconds", "rate"), [(15, 10.0), (110, 30.0), (46, 3.0), (0.5, 8.0)])
def test_a_stage_takes_its_time(seconds, rate):
    intervals = Stage(seconds, rate).intervals()

    assert len(intervals) == seconds * rate
    assert sum(intervals) / 1e6 == pytest.approx(seconds, rel=1e-3)


def test_requests_of_the_day_come_at_random_at_the_rate_of_the_hour():
    rate, seconds, _ = bench_cluster_day.LOADS["day"]
    times = bench_cluster_day.arrivals(rate, seconds, seed=1)

    for begin, end in ((0, 100), (260, 300), (401, 419)):
        due = sum(rate(begin + step / 10) / 10 for step in range(10 * (end - begin)))
        found = sum(begin <= at < end for at in times)
        assert found == pytest.approx(due, abs=4 * due**0.5)
    gaps = [b - a for a, b in pairwise(times)]
    assert min(gaps) >= 0
    assert min(gaps) < 0.001
    assert max(gaps) > 0.2


def test_the_sleeping_model_is_python():
    compile(sleeps(), "model.py", "exec")
