"""What the chart gives those who watch: its monitors, alerts and dashboard."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.unit.chart.rendering import NAMESPACE, RELEASE, Manifest, only, parse, template

ALL = ("podMonitor", "serverPodMonitor", "rules", "dashboard")
LABEL_VALUES = re.compile(r"label_values\((?P<series>.*), (?P<label>\w+)\)")


def render_monitoring(release: str = RELEASE, namespace: str = NAMESPACE) -> list[Manifest]:
    """Return all objects of a release that has all of it."""
    metrics = {name: {"enabled": True, "labels": {"team": "ml"}} for name in ALL}
    return parse(template({"metrics": metrics}, release, namespace))


def alerts(rules: Manifest) -> list[Manifest]:
    return [rule for group in rules["groups"] for rule in group["rules"]]


def dashboard(objects: list[Manifest]) -> Manifest:
    data = only("ConfigMap", objects)["data"]
    return dict(json.loads(data["triton-operator.json"]))


@dataclass(frozen=True)
class Query:
    """One of a panel's, with Grafana's variables in it."""

    panel: str
    expr: str


def queries(board: Manifest) -> Iterator[Query]:
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield Query(panel["title"], target["expr"])


def variables(board: Manifest) -> dict[str, tuple[str, str]]:
    """Return, by the name of a variable, the series and the label that its values are of."""
    return {
        each["name"]: (found["series"], found["label"])
        for each in board["templating"]["list"]
        if each["type"] == "query" and (found := LABEL_VALUES.fullmatch(each["query"]["query"]))
    }


def fill(text: str, **variables: str) -> str:
    """Return a query as Grafana asks it: the variables are replaced."""
    for name, value in variables.items():
        text = text.replace(f"${name}", value)
    assert "$" not in text, text
    return text
