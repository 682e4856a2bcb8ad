"""From two scrapes to what happened in between."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.autoscaling.pods import counters, sample
from triton_operator.autoscaling.samples import Batches, Counters, ModelShape, PodSample, Series
from triton_operator.autoscaling.signals import Signals, measure


def between(before: list[PodSample], now: list[PodSample]) -> dict[str, Signals]:
    return measure({each.uid: each for each in before}, now, {})


class TestTheCasesOfTritonPullRequest8980:
    """Queue time is a ratio of sums: never a mean over models, never over one request too many."""

    def test_an_idle_model_does_not_halve_the_queue_time(self) -> None:
        before = [sample({"busy": counters(0), "idle": counters(0)})]
        now = [sample({"busy": counters(100, 100_000), "idle": counters(0)}, at=30)]

        found = between(before, now)

        assert found["busy"].mean_wait == pytest.approx(0.001)  # the chart's rule says 495.05 µs
        assert found["idle"].mean_wait is None

    def test_unequal_traffic_is_weighted_by_requests(self) -> None:
        before = [sample({"m": counters(0)}, uid=uid) for uid in "ab"]
        now = [
            sample({"m": counters(900, 900 * 1000)}, uid="a", at=30),
            sample({"m": counters(100, 100 * 11_000)}, uid="b", at=30),
        ]

        assert between(before, now)["m"].mean_wait == pytest.approx(0.002)

    def test_no_request_has_no_queue_time(self) -> None:
        found = between([sample({"m": counters(7, 900)})], [sample({"m": counters(7, 900)}, at=30)])

        assert found["m"].mean_wait is None
        assert found["m"].arrivals == 0

    def test_one_request_is_divided_by_one(self) -> None:
        found = between([sample({"m": counters(0)})], [sample({"m": counters(1, 1000)}, at=30)])

        assert found["m"].mean_wait == pytest.approx(0.001)

    def test_a_counter_that_fell_has_started_again(self) -> None:
        before = [sample({"m": counters(1000, 5_000_000)})]
        now = [sample({"m": counters(10, 10_000)}, at=30)]

        found = between(before, now)["m"]

        assert (found.finished, found.mean_wait) == (10, pytest.approx(0.001))

    def test_separate_pods_are_added_up(self) -> None:
        before = [sample({"m": counters(0)}, uid=uid) for uid in "abc"]
        now = [sample({"m": counters(50, 50_000, pending=2)}, uid=uid, at=5) for uid in "abc"]

        found = between(before, now)["m"]

        assert (found.pods, found.finished, found.completions, found.pending) == (3, 150, 30, 6)

    def test_separate_models_are_kept_apart(self) -> None:
        before = [sample({"one": counters(0), "two": counters(0)})]
        now = [sample({"one": counters(10, 10_000), "two": counters(20, 400_000)}, at=5)]

        found = between(before, now)

        assert found["one"].mean_wait == pytest.approx(0.001)
        assert found["two"].mean_wait == pytest.approx(0.02)


def test_arrivals_are_seen_although_nothing_more_can_be_finished() -> None:
    before = [sample({"m": counters(100, pending=10)})]
    now = [sample({"m": counters(150, pending=110, REJECTED=25)}, at=5)]

    found = between(before, now)["m"]

    assert (found.completions, found.failures, found.arrivals) == (10, 5, 35)


def test_both_series_of_a_gpu_build_are_one_sum() -> None:
    def twins(success: float, rejected: float) -> dict[Series, Counters]:
        return {
            Series("m", "1", "GPU-1"): counters(success, 1000 * success),
            Series("m", "1"): counters(0, REJECTED=rejected, pending=rejected),
        }

    found = between([sample(twins(0, 0))], [sample(twins(50, 5), at=5)])["m"]

    assert (found.completions, found.failures, found.pending) == (10, 1, 5)
    assert found.mean_wait == pytest.approx(0.001)


def test_a_new_version_begins_at_zero_and_the_old_one_is_not_missed() -> None:
    before = [sample({Series("m", "1"): counters(1000)})]
    now = [sample({Series("m", "2"): counters(10)}, at=5)]

    assert between(before, now)["m"].finished == 10


def test_a_restarted_container_has_counted_from_zero() -> None:
    before = [sample({"m": counters(100)}, started=1)]
    now = [sample({"m": counters(500)}, started=2, at=5)]

    assert between(before, now)["m"].finished == 500


def test_a_pod_seen_first_only_tells_what_waits() -> None:
    found = between([], [sample({"m": counters(5000, 9e9, pending=3)}, at=5)])["m"]

    assert (found.pods, found.arrivals, found.finished, found.pending) == (0, 0, 0, 3)


def test_a_pod_that_vanished_takes_nothing_with_it() -> None:
    before = [sample({"m": counters(100, pending=50)}, uid=uid) for uid in "ab"]
    now = [sample({"m": counters(150, pending=50)}, uid="a", at=5)]

    assert between(before, now)["m"].arrivals == 10


def test_a_pod_that_missed_a_scrape_keeps_its_rate() -> None:
    before = [sample({"m": counters(0)}, uid="a", at=5), sample({"m": counters(0)}, uid="b", at=0)]
    now = [
        sample({"m": counters(50)}, uid="a", at=10),
        sample({"m": counters(100)}, uid="b", at=10),
    ]

    assert between(before, now)["m"].completions == pytest.approx(20)


@pytest.mark.parametrize("bad", [nan, inf, -5.0])
def test_what_is_missing_or_no_number_is_not_counted(bad: float) -> None:
    before = [sample({"m": counters(10, 10_000, pending=1)})]
    broken = Counters(success=20, failures={"OTHER": nan}, queue_us=bad, pending=bad)

    found = between(before, [sample({"m": broken}, at=5)])["m"]

    assert (found.finished, found.waited, found.pending, found.busy) == (10, 0, 0, 0)


def test_a_batch_of_eight_is_not_eight_times_the_load() -> None:
    """100 executions of 20 ms, each of 8 requests: 2 s busy, and not the 16 s of the counters."""
    one = counters(800, compute_us=800 * 20_000, executions=100)
    stats = {"m": (Batches(8, 100, 100 * 20e6),)}

    exact = between([sample({"m": counters(0)})], [sample({"m": one}, at=5, batches=stats)])["m"]
    rough = between([sample({"m": counters(0)})], [sample({"m": one}, at=5)])["m"]

    for found in (exact, rough):
        assert found.busy == pytest.approx(2.0)
        assert found.service == pytest.approx(0.0025)
        assert found.utilization == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("inferences", "executions", "size", "service"),
    [(800, 100, 8, 0.020), (20, 20, 1, 0.004)],
    ids=["each brings a batch of 8", "a cache answers 80 of 100"],
)
def test_the_load_is_that_of_requests_whatever_they_bring_or_a_cache_spares(
    inferences: float, executions: float, size: int, service: float
) -> None:
    """100 requests in 5 s; an execution takes 20 ms."""
    one = counters(
        100, compute_us=executions * 20_000, executions=executions, inferences=inferences
    )
    stats = {"m": (Batches(size, executions, executions * 20e6),)}
    start = [sample({"m": counters(0)})]

    exact = between(start, [sample({"m": one}, at=5, batches=stats)])["m"]
    rough = between(start, [sample({"m": one}, at=5)])["m"]

    for found in (exact, rough):
        assert found.arrivals == pytest.approx(20.0)
        assert found.service == pytest.approx(service)
        assert found.utilization == pytest.approx(found.arrivals * service)
        assert found.inferences == inferences


def test_the_fullest_pod_tells_what_the_next_request_waits_for() -> None:
    pods = [sample({"m": counters(pending=n)}, uid=str(n), at=5) for n in (1, 8, 2)]

    found = measure({}, pods, {"m": ModelShape(instances=2)})["m"]

    assert found.fullest == 4


def test_a_pod_where_requests_wait_and_none_is_finished_is_stuck() -> None:
    before = [sample({"m": counters(10)}, uid=uid) for uid in "ab"]
    now = [
        sample({"m": counters(10, pending=4)}, uid="a", at=5),
        sample({"m": counters(20, pending=4)}, uid="b", at=5),
    ]

    assert between(before, now)["m"].stuck == {"a"}


numbers = st.one_of(st.floats(0, 1e9), st.floats(allow_nan=True, allow_infinity=True))
any_counters = st.builds(
    Counters,
    success=numbers,
    failures=st.dictionaries(st.sampled_from(["REJECTED", "OTHER"]), st.floats()),
    inferences=numbers,
    executions=numbers,
    compute_us=numbers,
    queue_us=numbers,
    pending=numbers,
)
any_series = st.dictionaries(
    st.builds(Series, st.sampled_from("mn"), st.sampled_from("12")), any_counters, max_size=4
)


@given(any_series, any_series, st.sampled_from([1.0, 2.0]))
def test_whatever_a_page_says_no_signal_is_negative_or_no_number(
    old: dict[Series, Counters], new: dict[Series, Counters], started: float
) -> None:
    found = between([sample(old)], [sample(new, at=5, started=started)])

    for signals in found.values():
        for name in ("arrivals", "completions", "failures", "pending", "busy", "utilization"):
            assert getattr(signals, name) >= 0, name
