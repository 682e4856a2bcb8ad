"""What the operator tells of itself: a page of metrics, and a log with one line a piece of news."""

import json
import re
import subprocess
from collections.abc import Callable
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.support.installation import NAMESPACE, SELECTOR, Installation
from tests.cluster.support.kube import kubectl
from tests.cluster.support.manifests import adds, model, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World
from tests.unit.adapters.pages import families

pytestmark = pytest.mark.cluster


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
