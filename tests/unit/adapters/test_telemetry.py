"""The page of metrics: what is counted, what is, and what is gone."""

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.adapters.pages import Page, conditions, exercise, families, full_page
from triton_operator import names
from triton_operator.adapters.telemetry import PREFIX
from triton_operator.ports import FailureReason

VISION = ("team", "vision")


@pytest.fixture
def page() -> Page:
    return full_page()


def test_conditions_are_told_by_their_exceptions(page: Page) -> None:
    assert page.series("model_ready") == {("team", "resnet", "vision"): 0}
    assert page.series("model_unmet_condition") == {
        ("team", "resnet", "vision", "Ready", "BlockedByFailedLoad"): 1
    }
    assert page.series("server_ready") == {VISION: 1}
    assert page.series("server_unmet_condition") == {(*VISION, "ScalingLimited", "LimitReached"): 1}


def test_a_model_is_of_the_server_that_serves_it(page: Page) -> None:
    page.put(
        names.KIND_MODEL,
        "moving",
        spec={"serverRef": {"name": "next"}},
        status={"server": "vision", "conditions": conditions(Ready="True Serving")},
    )
    page.put(names.KIND_MODEL, "new")
    assert page.value("model_ready", namespace="team", model="moving", server="vision") == 1
    assert page.value("model_ready", namespace="team", model="new", server="new") == 0


def test_a_spec_that_cannot_be_read_takes_nothing_else_along(page: Page) -> None:
    page.put(names.KIND_SERVER, "broken", spec={"autoscaling": {"maxReplicas": "many"}})
    assert page.series("server_ready") == {VISION: 1, ("team", "broken"): 0}
    assert page.series("autoscaling_max_replicas") == {VISION: 4}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("server_desired_replicas", 3),
        ("server_replicas", 3),
        ("server_ready_replicas", 2),
        ("autoscaling_min_replicas", 1),
        ("autoscaling_max_replicas", 4),
        ("autoscaling_target_queue_time_seconds", 0.02),
        ("autoscaling_desired_replicas", 3),
        ("autoscaling_queue_time_seconds", 0.012),
        ("autoscaling_expected_queue_time_seconds", 0.04),
        ("autoscaling_utilization_ratio", 0.75),
        ("autoscaling_pending_requests", 5),
        ("autoscaling_startup_seconds", 30),
    ],
)
def test_numbers_of_a_server(page: Page, name: str, value: float) -> None:
    assert page.series(name) == pytest.approx({VISION: value})


@pytest.mark.parametrize("acting", [True, False])
def test_the_page_says_whether_this_process_acts(page: Page, acting: bool) -> None:
    page.acting = acting
    assert page.series("acting") == {(): acting}


def test_arrivals_and_queues(page: Page) -> None:
    assert page.series("autoscaling_arrivals_per_second") == {(*VISION, "resnet"): 25}
    assert page.series("queue_length") == {("servers",): 2}
    assert page.series("queue_oldest_seconds") == {("servers",): 1.5}


def test_what_happens_is_counted(page: Page) -> None:
    exercise(page)

    assert page.value("queue_wait_seconds_sum", loop="servers") == 0.3
    assert page.value("pass_duration_seconds_count", loop="servers") == 2
    assert page.value("pass_errors_total", loop="servers", reason="ClusterError") == 1
    assert page.series("scrape_failures") == {(*VISION, "Timeout"): 1}
    assert page.series("autoscaling_decisions") == {(*VISION, "up"): 1}
    assert page.value("syncs_total", result="Done") == 1
    assert page.value("sync_duration_seconds_sum") == 4
    assert page.value("sync_bytes_total") == 1000
    assert page.value("loads_total", result="LoadFailed") == 1
    assert page.value("load_duration_seconds_sum") == 2
    assert page.value("api_requests_total", verb="get", resource="pods/log", code="none") == 1
    assert page.value("api_request_duration_seconds_count", verb="get") == 1
    assert page.value("scrape_duration_seconds_count") == 1
    event = {"kind": "TritonModel", "type": "Warning", "reason": "LoadFailed"}
    assert page.value("events_total", **event) == 1


def test_nothing_is_left_of_what_is_gone(page: Page) -> None:
    page.telemetry.decided(VISION, "up")
    page.telemetry.scrape_failed(VISION, FailureReason.TIMEOUT)
    page.telemetry.decided(("team", "other"), "down")
    other = page.put(names.KIND_SERVER, "other")
    page.statuses.clear()
    for kind, name in ((names.KIND_MODEL, "resnet"), (names.KIND_SERVER, "vision")):
        body = page.mirror.get(kind, "team", name)
        assert body is not None
        page.mirror.drop(body)

    text = page.text()
    assert "vision" not in text
    assert 'direction="down",namespace="team",server="other"' in text
    page.mirror.drop(other)
    assert "other" not in page.text()


def test_a_pass_or_a_load_more_makes_no_series_more(page: Page) -> None:
    def samples() -> int:
        return sum(len(each.samples) for each in page.telemetry.registry.collect())

    page.telemetry.loaded("Loaded", 1.0)
    page.telemetry.passed("servers", 1.0)
    before = samples()
    for seconds in range(1000):
        page.telemetry.loaded("Loaded", seconds)
        page.telemetry.passed("servers", seconds)
    assert samples() == before


def test_the_page_is_what_prometheus_reads(page: Page) -> None:
    read = {each.name for each in text_string_to_metric_families(page.text())}
    named = {name.removesuffix("_total") for name in families()}
    assert named <= read
    assert {"process_resident_memory_bytes", "python_info"} <= read


def test_names_have_our_prefix_and_their_unit(page: Page) -> None:
    of_every_python_program = ("process_", "python_")
    for each in page.telemetry.registry.collect():
        assert each.name.startswith((f"{PREFIX}_", *of_every_python_program)), each.name
    for name, family in families().items():
        assert family.documentation.endswith("."), name
        if family.type == "counter":
            assert name.endswith("_total")
        if family.type == "histogram":
            assert name.endswith("_seconds")
        assert "millisecond" not in name


def test_a_page_of_500_models_is_made_quickly(page: Page) -> None:
    """Whoever asks for it stops the event loop meanwhile."""
    status = page.statuses[VISION]
    for number in range(500):
        name = f"model-{number}"
        for kind in (names.KIND_MODEL, names.KIND_SERVER):
            found = page.mirror.get(kind, "team", "resnet" if "Model" in kind else "vision")
            assert found is not None
            page.put(kind, name, spec=found["spec"], status=found["status"])
        page.put("Deployment", name, spec={"replicas": 1}, status={"replicas": 1})
        page.statuses[("team", name)] = status
    page.text()  # parses what the passes of an operator have parsed long before

    taken = []
    for _ in range(3):
        begun = time.process_time()
        page.text()
        taken.append(time.process_time() - begun)
    assert min(taken) < 0.2
