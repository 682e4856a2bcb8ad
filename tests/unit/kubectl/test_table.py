"""What ``kubectl triton top`` shows of what pods said."""

from tests.unit.kubectl.fleets import SERVING, VISION, fleet, model, render, server
from triton_operator.autoscaling.samples import Counters, ModelShape, PodSample, Series
from triton_operator.autoscaling.signals import measure
from triton_operator.kubectl.table import Load, build_rows, build_table, rows_from_status

KEY = ("team", "vision")


def sample(uid: str, at: float, **counters: float) -> PodSample:
    zero = {"success": 0.0, "inferences": 0.0, "executions": 0.0, "compute_us": 0.0}
    values = Counters(**{**zero, "queue_us": 0.0, "pending": 0.0, **counters})  # type: ignore[arg-type]
    return PodSample(uid, 0.0, at, {Series("yolo"): values})


def test_what_two_looks_at_two_pods_say():
    before = {uid: sample(uid, 0.0) for uid in "ab"}
    busy = {"success": 100.0, "inferences": 100.0, "executions": 100.0, "compute_us": 5e5}
    now = [
        sample("a", 2.0, **busy, queue_us=1e6, pending=4.0),
        sample("b", 2.0, **busy, queue_us=3e6, pending=0.0),
    ]
    load = Load(measure(before, now, {"yolo": ModelShape()}), answering=2, asked=3)

    text = render(build_table(build_rows(VISION, {KEY: load}), namespaces=False))

    assert text == (
        "MODEL  SERVER   REQ/S  FAIL/S  QUEUE MS  BUSY  PENDING  PODS  DESIRED\n"
        "lost   nowhere      -       -         -     -        -   0/0\n"
        "yolo   vision     102       0        20   25%        4   2/3        3\n"
        "draw   vision       -       -         -     -        -   2/3        3"
    )


def test_of_a_decoupled_model_only_rates_are_known():
    before = {"a": sample("a", 0.0)}
    now = [sample("a", 2.0, success=100.0, inferences=100.0, executions=100.0, compute_us=1e4)]
    shapes = {"yolo": ModelShape(decoupled=True)}
    load = Load(measure(before, now, shapes), answering=1, asked=1, shapes=shapes)

    row = next(each for each in build_rows(VISION, {KEY: load}) if each.model == "yolo")

    assert (row.arrivals, row.failures) == (50.0, 0.0)
    assert (row.queue_ms, row.utilization, row.pending) == (None, None, None)


def test_an_ensemble_has_requests_and_is_never_busy():
    before = {"a": sample("a", 0.0)}
    now = [sample("a", 2.0, success=100.0, inferences=100.0, executions=100.0, compute_us=1e6)]
    shapes = {"yolo": ModelShape(instances=0)}
    load = Load(measure(before, now, shapes), answering=1, asked=1, shapes=shapes)

    row = next(each for each in build_rows(VISION, {KEY: load}) if each.model == "yolo")

    assert (row.arrivals, row.pending) == (50.0, 0.0)
    assert row.utilization is None


def test_the_first_look_has_no_rates():
    load = Load(measure({}, [sample("a", 0.0, pending=4.0)], {}), answering=1, asked=1)

    row = next(each for each in build_rows(VISION, {KEY: load}) if each.model == "yolo")

    assert (row.arrivals, row.queue_ms, row.utilization, row.pending) == (None, None, None, 4.0)


def test_a_column_of_namespaces_and_a_pod_that_is_silent():
    table = build_table(build_rows(VISION, {}), namespaces=True, caption="a pod did not answer: x")

    head, *_, last = render(table).splitlines()
    assert head.split()[0] == "NAMESPACE"
    assert last == "a pod did not answer: x"


def test_what_the_autoscaler_wrote():
    load = {
        "name": "yolo",
        "arrivalsPerSecond": 8.5,
        "pending": 2,
        "queueTimeMilliseconds": 31.0,
    }
    status = {"desired": 4, "utilization": 0.95, "podsAnswering": "2/2", "models": [load]}
    found = fleet(
        [server("vision", autoscaling=status), server("plain", ready="1/1")],
        [model("yolo", "vision", **SERVING), model("other", "plain", **SERVING)],
        {},
    )

    assert render(build_table(rows_from_status(found), namespaces=False)) == (
        "MODEL  SERVER  REQ/S  FAIL/S  QUEUE MS  BUSY  PENDING  PODS  DESIRED\n"
        "other  plain       -       -         -     -        -              1\n"
        "yolo   vision    8.5       -        31   95%        2   2/2        4"
    )
