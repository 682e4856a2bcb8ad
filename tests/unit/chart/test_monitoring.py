"""What reads the metrics: monitors, alerts and the dashboard know what the code tells."""

import json
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.unit.adapters.pages import full_page, sample_names
from tests.unit.chart.monitoring import (
    ALL,
    alerts,
    dashboard,
    fill,
    queries,
    render_monitoring,
    variables,
)
from tests.unit.chart.rendering import (
    NAME,
    NAMESPACE,
    REPOSITORY,
    Manifest,
    only,
    render,
    run_program,
)
from tests.unit.desired.servers import KEY, server
from triton_operator import names, plan
from triton_operator.adapters.telemetry import PREFIX
from triton_operator.desired.deployment import build_deployment
from triton_operator.errors import InvalidSpecError
from triton_operator.settings import Settings

TESTS = Path(__file__).with_name("alerts_test.yaml")
TRITONS_PAGE = REPOSITORY / "tests/unit/adapters/recorded/metrics.txt"


@pytest.fixture(scope="module")
def objects() -> list[Manifest]:
    return render_monitoring()


@pytest.fixture(scope="module")
def rules(objects: list[Manifest]) -> Manifest:
    return dict(only("PrometheusRule", objects)["spec"])


def expressions(board: Manifest) -> Iterator[str]:
    yield from (each.expr for each in queries(board))
    yield from (series for series, _ in variables(board).values())


def test_by_default_nothing_needs_more_than_kubernetes() -> None:
    groups = {each["apiVersion"].partition("/")[0] for each in render()}
    assert "monitoring.coreos.com" not in groups
    assert not [each for each in render() if each["kind"] == "ConfigMap"]


def test_labels_of_the_user_are_on_what_is_selected_by_them(objects: list[Manifest]) -> None:
    kinds = ("PodMonitor", "PrometheusRule", "ConfigMap")
    found = [each for each in objects if each["kind"] in kinds]
    assert len(found) == len(ALL)
    assert all(each["metadata"]["labels"]["team"] == "ml" for each in found)
    default = render(metrics={"dashboard": {"enabled": True}})
    assert only("ConfigMap", default)["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_the_operators_pods_are_scraped_where_they_answer(objects: list[Manifest]) -> None:
    workload = only("Deployment", objects)
    pod = workload["spec"]["template"]
    (port,) = [each for each in pod["spec"]["containers"][0]["ports"] if each["name"] == "metrics"]
    assert port["containerPort"] == Settings().metrics_port
    service = only("Service", objects)["spec"]
    monitor = only("PodMonitor", objects, name=NAME)["spec"]
    assert pod["metadata"]["labels"].items() >= service["selector"].items()
    assert service["selector"] == monitor["selector"]["matchLabels"]
    assert service["ports"][0]["targetPort"] == monitor["podMetricsEndpoints"][0]["port"]
    # Without it Prometheus would call the namespace of a model `exported_namespace`.
    assert monitor["podMetricsEndpoints"][0]["honorLabels"] is True


def test_the_pods_of_servers_are_scraped_where_triton_answers() -> None:
    def monitor(**values: Any) -> Manifest:
        values["metrics"] = {"serverPodMonitor": {"enabled": True}}
        return dict(only("PodMonitor", render(**values))["spec"])

    made = build_deployment(
        server("vision"), image="t", replicas=1, control_key=KEY, probe_model=None
    )["spec"]["template"]
    selector = monitor()["selector"]["matchLabels"]
    assert made["metadata"]["labels"].items() >= selector.items()
    (endpoint,) = monitor()["podMetricsEndpoints"]
    assert endpoint["port"] in {each["name"] for each in made["spec"]["containers"][0]["ports"]}
    label = re.sub(r"[^a-z]", "_", names.LABEL_SERVER)
    assert endpoint["relabelings"] == [
        {"sourceLabels": [f"__meta_kubernetes_pod_label_{label}"], "targetLabel": "server"}
    ]
    assert monitor()["namespaceSelector"] == {"any": True}
    assert monitor(watchNamespaces=["a"])["namespaceSelector"] == {"matchNames": ["a"]}


# ---- alerts -------------------------------------------------------------------------------


def test_alerts_and_dashboard_ask_for_what_there_is(
    objects: list[Manifest], rules: Manifest
) -> None:
    tritons = set(re.findall(r"^nv_\w+", TRITONS_PAGE.read_text(), re.M))
    known = sample_names() | tritons
    asked = [*(each["expr"] for each in alerts(rules)), *expressions(dashboard(objects))]
    assert len(asked) > 30
    for expression in asked:
        used = set(re.findall(rf"\b(?:{PREFIX}|nv)_\w+", expression))
        assert used
        assert used <= known, expression


def test_the_dashboard_shows_every_metric_of_ours(objects: list[Manifest]) -> None:
    text = "\n".join(expressions(dashboard(objects)))
    shown = {name for name in sample_names() if re.search(rf"{name}\b", text)}
    families = {each.name for each in full_page().telemetry.registry.collect()}
    missing = {
        family
        for family in families
        if family.startswith(f"{PREFIX}_") and not any(name.startswith(family) for name in shown)
    }
    # What a spec allows at least, and the time to start, are on no panel.
    assert missing == {
        f"{PREFIX}_autoscaling_min_replicas",
        f"{PREFIX}_autoscaling_startup_seconds",
        f"{PREFIX}_server_replicas",
    }


def test_grafana_knows_every_field_of_the_dashboard(objects: list[Manifest]) -> None:
    """Its own classes drop what they do not know, and add defaults."""

    def known(ours: Any, theirs: Any) -> Any:
        match ours, theirs:
            case dict(), dict():
                return {name: known(ours[name], theirs[name]) for name in ours.keys() & theirs}
            case list(), list():
                return [known(*pair) for pair in zip(ours, theirs, strict=True)]
        return theirs

    register_default_plugins()
    board = dashboard(objects)
    read = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert known(board, read) == board


def test_all_means_also_what_is_on_a_server_that_is_not_there(objects: list[Manifest]) -> None:
    """Grafana's own All is the list of the servers that there are."""
    for each in dashboard(objects)["templating"]["list"]:
        assert each["type"] == "datasource" or each["allValue"] == ".*"


@pytest.mark.parametrize("interval", ["30s", "2m"])
def test_rates_cover_as_many_scrapes_as_grafana_means_them_to(interval: str) -> None:
    """It takes four of the target's interval; without one, of 15 s, whatever the PodMonitor has."""
    metrics = {
        "podMonitor": {"enabled": True, "interval": interval},
        "dashboard": {"enabled": True},
    }
    objects = render(metrics=metrics)
    (endpoint,) = only("PodMonitor", objects)["spec"]["podMetricsEndpoints"]
    assert endpoint["interval"] == interval
    rates = [
        target
        for panel in dashboard(objects)["panels"]
        for target in panel.get("targets", ())
        if "$__rate_interval" in target["expr"]
    ]
    assert len(rates) > 10
    assert {each.get("interval") for each in rates} == {interval}


def test_a_number_is_not_red_for_being_large(objects: list[Manifest]) -> None:
    """As it would be from 80 on, without thresholds of its own."""
    stats = [each for each in dashboard(objects)["panels"] if each["type"] == "stat"]
    assert len(stats) == 2
    for each in stats:
        (step,) = each["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert step == {"value": None, "color": "green"}


def test_panels_lie_side_by_side(objects: list[Manifest]) -> None:
    panels = dashboard(objects)["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_every_alert_leads_to_its_section(rules: Manifest) -> None:
    page = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
    sections = re.findall(r"^### (Triton\w+)$", page, re.M)
    assert sections == [each["alert"] for each in alerts(rules)]
    for each in alerts(rules):
        assert each["annotations"]["runbook"] == (
            f"docs/troubleshooting.md#{each['alert'].lower()}"
        )
        assert each["labels"]["severity"] in ("warning", "critical")


def test_what_a_user_has_to_mend_is_no_failure_of_the_operator(rules: Manifest) -> None:
    (rule,) = [each for each in alerts(rules) if each["alert"] == "TritonOperatorPassesFail"]
    left_out = re.search(r'reason!~"([\w|]+)"', rule["expr"])
    assert left_out is not None
    # A class is known once its module is imported.
    for module in pkgutil.iter_modules(plan.__path__, f"{plan.__name__}."):
        import_module(module.name)

    def reasons(kind: type[InvalidSpecError]) -> Iterator[str]:
        yield kind.reason
        for each in kind.__subclasses__():
            yield from reasons(each)

    assert sorted(set(reasons(InvalidSpecError))) == left_out[1].split("|")


def test_the_alert_of_an_operator_that_is_gone_means_this_one(rules: Manifest) -> None:
    (rule,) = [each for each in alerts(rules) if each["alert"] == "TritonOperatorDown"]
    assert f'namespace="{NAMESPACE}"' in rule["expr"]


def test_prometheus_understands_the_rules_and_alerts_when_it_should(
    rules: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(rules))
    (tmp_path / "test.yaml").write_text(TESTS.read_text())
    checked = run_program("promtool", "check", "rules", "--lint=all", tmp_path / "alerts.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = run_program("promtool", "test", "rules", tmp_path / "test.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_is_tested(rules: Manifest) -> None:
    tests = yaml.safe_load(TESTS.read_text())["tests"]
    told = {
        (case["alertname"], bool(case.get("exp_alerts")))
        for test in tests
        for case in test["alert_rule_test"]
    }
    assert told == {(each["alert"], fires) for each in alerts(rules) for fires in (True, False)}


def test_prometheus_understands_the_queries_of_the_dashboard(
    objects: list[Manifest], tmp_path: Path
) -> None:
    """Each as a rule: promtool has no check of its own for single queries."""
    asked = [
        fill(each, __rate_interval="5m", namespace=".*", server=".*")
        for each in expressions(dashboard(objects))
    ]
    recorded = [{"record": f"query:{n}", "expr": each} for n, each in enumerate(asked)]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    checked = run_program("promtool", "check", "rules", path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(asked)} rules found" in checked.stdout


def test_prometheus_has_nothing_to_complain_about_the_page() -> None:
    page = full_page()
    ours = "".join(
        line
        for line in page.text().splitlines(keepends=True)
        if re.match(rf"(# (HELP|TYPE) )?{PREFIX}_", line)
    )
    linted = run_program("promtool", "check", "metrics", text=ours)
    assert linted.returncode == 0, linted.stdout + linted.stderr
