"""The chart's alerts and dashboard in a real Prometheus that scrapes the operator's page."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
import pytest_asyncio

from tests.unit.adapters.pages import Page, conditions, exercise, full_page
from tests.unit.chart.monitoring import (
    Query,
    alerts,
    dashboard,
    fill,
    queries,
    render_monitoring,
    variables,
)
from tests.unit.chart.rendering import NAMESPACE, Manifest, only
from tests.wire.prometheus import Prometheus, prometheus
from triton_operator import names
from triton_operator.plan.events import Event
from triton_operator.ports import FailureReason

pytestmark = pytest.mark.asyncio(loop_scope="module")

T = TypeVar("T")

SECONDS = 60
"""For Prometheus to scrape and judge a few times; it does so twice a second."""
INTERVAL = "2s"
"""Grafana's: four scrapes."""


@pytest.fixture(scope="module")
def objects() -> list[Manifest]:
    return render_monitoring()


@pytest.fixture(scope="module")
def page() -> Page:
    page = full_page()
    page.put(
        names.KIND_MODEL,
        "bert",
        spec={"serverRef": {"name": "vision"}},
        status={"conditions": conditions(Ready="True Serving", Loaded="False BlockedByFailedLoad")},
    )
    return page


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def judge(
    objects: list[Manifest], page: Page, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Prometheus]:
    """A Prometheus that scrapes the page as the PodMonitor has it, with the chart's alerts."""
    rules = only("PrometheusRule", objects)["spec"]
    async with page.telemetry.serve(0, "127.0.0.1") as port:
        target = {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": NAMESPACE}}
        scrape = {"job_name": "operator", "honor_labels": True, "static_configs": [target]}
        # It takes five seconds to begin, which is why the tests share it.
        with prometheus(tmp_path_factory.mktemp("prometheus"), scrape, rules=rules) as running:
            yield running


@asynccontextmanager
async def busy(page: Page) -> AsyncIterator[None]:
    """Have everything happen that is counted, again and again until the block ends."""

    async def happen() -> None:
        while True:
            exercise(page)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(happen())
    try:
        yield
    finally:
        task.cancel()


async def becomes(wanted: T, read: Callable[[], T]) -> None:
    """Read, while Prometheus scrapes, until it is what is wanted."""
    deadline = time.monotonic() + SECONDS
    while (found := await asyncio.to_thread(read)) != wanted:
        if time.monotonic() > deadline:
            assert found == wanted
        await asyncio.sleep(0.1)


async def test_every_panel_and_variable_of_the_dashboard_has_an_answer(
    objects: list[Manifest], page: Page, judge: Prometheus
) -> None:
    board = dashboard(objects)
    here = {"namespace": "team", "server": "vision"}
    asked = {each: fill(each.expr, __rate_interval=INTERVAL, **here) for each in queries(board)}
    assert len(asked) > 30

    def silent() -> list[Query]:
        return [each for each, filled in asked.items() if not judge.plot(filled)]

    def offered() -> dict[str, list[str]]:
        return {
            name: judge.label_values(fill(series, **here), label)
            for name, (series, label) in variables(board).items()
        }

    async with busy(page):
        await becomes([], silent)
    await becomes({name: [value] for name, value in here.items()}, offered)


async def test_what_happens_for_the_first_time_is_on_its_panel(
    objects: list[Manifest], page: Page, judge: Prometheus
) -> None:
    """The increase of a counter whose series is new is none."""
    here = {"namespace": "team", "server": "vision"}
    counts = [each for each in queries(dashboard(objects)) if "increase(" in each.expr]
    assert {each.panel for each in counts} == {"Decisions", "Syncs", "Loads", "News"}
    asked = [fill(each.expr, __rate_interval=INTERVAL, **here) for each in counts]
    new = {"down", FailureReason.UNREACHABLE.value, "Odd"}

    def most() -> list[float]:
        return [
            max(float(value) for _, value in series["values"])
            for filled in asked
            for series in judge.plot(filled)
            if new & set(series["metric"].values())
        ]

    await becomes(1, lambda: len(judge.plot("triton_operator_build_info")))
    assert most() == []
    page.telemetry.decided(("team", "vision"), "down")
    page.telemetry.scrape_failed(("team", "vision"), FailureReason.UNREACHABLE)
    page.telemetry.synced("Odd", 1.0, 0)
    page.telemetry.loaded("Odd", 1.0)
    page.telemetry.told(names.KIND_MODEL, Event("Warning", "Odd", ""))
    await becomes([1.0] * len(asked), most)


async def test_every_alert_is_judged_and_those_come_that_the_page_calls_for(
    objects: list[Manifest], page: Page, judge: Prometheus
) -> None:
    wrong = {
        "TritonOperatorPassesFail",
        "TritonModelNotReady",
        "TritonModelBlockedByFailedLoad",
        "TritonServerScalingLimited",
        "TritonScrapesFail",
    }
    known = [each["alert"] for each in alerts(only("PrometheusRule", objects)["spec"])]
    told = {each: ("ok", "pending" if each in wrong else "inactive") for each in known}

    def judged() -> dict[str, tuple[str, str]]:
        return {each["name"]: (each["health"], each["state"]) for each in judge.rules()}

    async with busy(page):
        await becomes(told, judged)
    (rule,) = [each for each in judge.rules() if each["name"] == "TritonModelNotReady"]
    (alert,) = rule["alerts"]
    assert alert["annotations"]["summary"] == "TritonModel team/resnet is not ready."
