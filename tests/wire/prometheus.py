"""A real Prometheus, on files of its own."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from tests.wire.servers import LOOPBACK, free_port, program, running


@dataclass(frozen=True)
class Prometheus:
    url: str

    def ask(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """Return the data of an answer of its API; a query that it refuses fails the test."""
        question = f"{self.url}/api/v1/{path}?{urlencode(parameters or {})}"
        try:
            with urlopen(question, timeout=10) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            pytest.fail(f"{question}: {error.read().decode()}")

    def plot(self, query: str, seconds: int = 60) -> list[dict[str, Any]]:
        """Return the series that a panel over the last seconds would show: those with a number."""
        now = time.time()
        asked = {"query": query, "start": f"{now - seconds}", "end": f"{now}", "step": "1"}
        found = self.ask("query_range", asked)["result"]
        return [each for each in found if any(value != "NaN" for _, value in each["values"])]

    def label_values(self, series: str, label: str) -> list[str]:
        """Return what a variable of the dashboard offers."""
        return list(self.ask(f"label/{label}/values", {"match[]": series}))

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]


@contextmanager
def prometheus(folder: Path, *scrapes: Mapping[str, Any], rules: Any) -> Iterator[Prometheus]:
    """Run one that asks and judges twice a second, until the block ends."""
    often = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    (folder / "prometheus.yaml").write_text(
        yaml.safe_dump(
            {"global": often, "rule_files": ["rules.yaml"], "scrape_configs": list(scrapes)}
        )
    )
    port = free_port()
    with running(
        LOOPBACK, port, program("prometheus"), "--log.level=error",
        "--config.file", folder / "prometheus.yaml", "--storage.tsdb.path", folder / "data",
        "--web.listen-address", f"{LOOPBACK}:{port}",
        # Instead of five seconds until it scrapes what it has found.
        "--scrape.discovery-reload-interval=100ms",
    ):  # fmt: skip
        url = f"http://{LOOPBACK}:{port}"
        deadline = time.monotonic() + 30
        while not is_ready(url):
            assert time.monotonic() < deadline, "Prometheus does not become ready"
            time.sleep(0.02)
        yield Prometheus(url)


def is_ready(url: str) -> bool:
    """It listens before it can answer."""
    try:
        with urlopen(f"{url}/-/ready", timeout=10):
            return True
    except HTTPError:
        return False
