"""What the operator tells of itself: a page of metrics, and a log with one line a piece of news."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.support import triton
from tests.cluster.support.installation import NAMESPACE, SELECTOR, Installation
from tests.cluster.support.kube import kubectl
from tests.cluster.support.manifests import adds, model, server, version
from tests.cluster.support.scraping import build_scrape
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World
from tests.unit.adapters.pages import families
from tests.unit.chart.monitoring import Query, dashboard, fill, queries, render_monitoring
from tests.unit.chart.rendering import only
from tests.wire.prometheus import prometheus

pytestmark = pytest.mark.cluster

MAY_BE_SILENT = "_autoscaling_decisions_total|_scrape_failures_total|_pass_errors_total"
"""A server that keeps its pods has no decision, and no test wants a failure to be there."""


def read_page(operator: Installation) -> str:
    """Return the page as a pod of the cluster would get it."""
    (pod,) = operator.kube.all("Pod", NAMESPACE, SELECTOR)
    (port,) = [
        each["containerPort"]
        for each in pod["spec"]["containers"][0]["ports"]
        if each["name"] == "metrics"
    ]
    with urlopen(f"http://{pod['status']['podIP']}:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def value(operator: Installation, name: str, **labels: str) -> float:
    """Return the sum of all samples of a name that have these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(read_page(operator))
        for sample in family.samples
        if sample.name == f"triton_operator_{name}" and sample.labels.items() >= labels.items()
    )


def test_a_model_is_on_the_page_from_its_first_sync_to_its_end(
    world: World, operator: Installation, figure: Callable[[str], None]
) -> None:
    def told(name: str, **labels: str) -> float:
        return value(operator, name, **labels)

    ours = {"namespace": world.namespace}
    syncs, loads = told("syncs_total", result="Done"), told("loads_total", result="Loaded")
    world.apply(model("seen", version(1, adds(1))))
    world.wait_ready("seen")

    wait_for("the model is ready on the page", lambda: told("model_ready", **ours) == 1, 10)
    assert told("server_ready_replicas", server="seen", **ours) == 1
    assert told("syncs_total", result="Done") >= syncs + 1
    assert told("pass_duration_seconds_count", loop="servers") > 0
    assert told("queue_wait_seconds_count", loop="models") > 0
    assert told("api_requests_total", verb="patch", resource="tritonmodels/status", code="200") > 0
    assert told("events_total", kind="TritonModel", reason="Serving") > 0

    world.apply(model("seen", version(1, adds(2))))
    world.wait_ready("seen")
    wait_for("a load is counted", lambda: told("loads_total", result="Loaded") > loads, 10)

    page = read_page(operator)
    known = {each.name for each in text_string_to_metric_families(page)}
    assert {name.removesuffix("_total") for name in families()} <= known
    samples = [line for line in page.splitlines() if not line.startswith("#")]
    figure(f"the operator's page of metrics: {len(samples)} samples, {len(page)} bytes")
    lint = subprocess.run(
        ["promtool", "check", "metrics"],
        input="\n".join(re.findall(r"^(?:# \w+ )?triton_operator_.*$", page, re.M)) + "\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr

    world.delete("TritonModel", "seen")
    wait_for("the page forgets the model", lambda: world.namespace not in read_page(operator), 60)


def test_a_prometheus_finds_all_pods_and_fills_the_dashboard(
    world: World, operator: Installation, tmp_path: Path
) -> None:
    world.apply(
        server("watched", autoscaling={"maxReplicas": 2}),
        model("watched", version(1, adds(1)), on="watched"),
        model("lost", version(1, adds(1)), on="no-such-server"),
    )
    world.wait_ready("watched")
    (pod,) = world.wait_pods("watched", 1)
    objects = render_monitoring(operator.release, operator.namespace)
    monitors = [each for each in objects if each["kind"] == "PodMonitor"]
    scrapes = [build_scrape(each, os.environ["KUBECONFIG"]) for each in monitors]
    here = {"namespace": world.namespace, "server": ".*"}
    asked = {
        each: fill(each.expr, __rate_interval="2s", **here) for each in queries(dashboard(objects))
    }

    with prometheus(tmp_path, *scrapes, rules=only("PrometheusRule", objects)["spec"]) as judge:
        wait_for("a scrape", lambda: judge.plot("triton_operator_build_info"), 30)
        # From now on it sees what happens: a sync, a load, and requests.
        world.apply(model("watched", version(1, adds(2)), on="watched"))

        def silent() -> list[Query]:
            triton.number(pod.ip, "watched")
            quiet = [each for each, filled in asked.items() if not judge.plot(filled)]
            return [each for each in quiet if not re.search(MAY_BE_SILENT, each.expr)]

        wait_for("every panel shows something", lambda: not silent(), 60, seen=silent)
        labels = f'namespace="{world.namespace}",server="watched",pod="{pod.name}"'
        served = f'nv_inference_request_success{{model="watched",{labels}}} > 0'
        wait_for("Triton's own metrics of the model", lambda: judge.plot(served), 30)

        def judged() -> bool:
            rules = {each["name"]: each for each in judge.rules()}
            not_ready = [each["labels"] for each in rules["TritonModelNotReady"]["alerts"]]
            lost = {"namespace": world.namespace, "model": "lost", "server": "no-such-server"}
            return (
                {each["health"] for each in rules.values()} == {"ok"}
                and rules["TritonOperatorDown"]["state"] == "inactive"
                and any(each.items() >= lost.items() for each in not_ready)
            )

        wait_for("the alerts are judged by what is scraped", judged, 30, seen=judge.rules)


def test_the_log_has_one_line_of_json_for_a_piece_of_news(world: World) -> None:
    world.apply(model("logged", version(1, adds(1))))
    world.wait_ready("logged")
    about = {"kind": "TritonModel", "namespace": world.namespace, "name": "logged"}

    def serving() -> list[dict[str, object]]:
        log = kubectl("logs", "--namespace", NAMESPACE, "--selector", SELECTOR, "--tail=-1")
        lines = [json.loads(line) for line in log.stdout.splitlines()]
        assert all({"message", "timestamp", "severity"} <= set(line) for line in lines)
        found = [line for line in lines if line.get("object") == about]
        return [line for line in found if line["reason"] == "Serving"]

    (line,) = wait_for("the log says that the model is served", serving, 10)
    assert line["severity"] == "info"
    assert str(line["message"]).startswith(f"TritonModel {world.namespace}/logged: Serving: ")
