"""The chart as Helm renders it."""

import json
import os
import pickle
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import settings

REPOSITORY = Path(__file__).parents[3]
CHART = REPOSITORY / "charts" / "triton-operator"
RELEASE, NAMESPACE = "serving", "operators"
NAME = f"{RELEASE}-triton-operator"

Manifest = dict[str, Any]


def helm(*arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run Helm."""
    return run_program("helm", *arguments, text=text)


def run_program(
    name: str, *arguments: str | Path, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a program: the one on PATH, or the one that the test cluster built."""
    folders = f"{os.environ.get('PATH', '')}:{settings.folders().bin}"
    program = shutil.which(name, path=folders)
    if program is None:
        pytest.fail(f"no {name} in {folders}; put one on PATH or run `make cluster-up servers`")
    return subprocess.run(
        [program, *arguments], input=text, capture_output=True, text=True, timeout=60, check=False
    )


def template(
    values: Manifest, release: str = RELEASE, namespace: str = NAMESPACE
) -> subprocess.CompletedProcess[str]:
    """Return what ``helm template`` makes of these values on top of the defaults."""
    return _template(json.dumps(values), release, namespace)


@cache
def _template(values: str, release: str, namespace: str) -> subprocess.CompletedProcess[str]:
    return helm(
        *("template", release, CHART, "--namespace", namespace),
        # A Helm that was built without a version takes itself for one of Kubernetes 1.20.
        *("--kube-version", "1.34.0", "--values", "-"),
        text=values,
    )


def render(**values: Any) -> list[Manifest]:
    """Return all objects of a release."""
    return parse(template(values))


def parse(rendered: subprocess.CompletedProcess[str]) -> list[Manifest]:
    assert rendered.returncode == 0, rendered.stderr
    # Most objects, the CRDs above all, are the same whatever the values.
    texts = rendered.stdout.split("\n---\n")
    return [object_ for text in texts for object_ in pickle.loads(_read(text))]


@cache
def _read(text: str) -> bytes:
    """Return the objects in a text, so that every test gets its own copy."""
    return pickle.dumps([each for each in yaml.load_all(text, _StrictLoader) if each is not None])


def only(kind: str, objects: list[Manifest], **metadata: str) -> Manifest:
    """Return the one object of a kind, or with this metadata."""
    found = [
        each
        for each in objects
        if each["kind"] == kind and each["metadata"].items() >= metadata.items()
    ]
    assert len(found) == 1, [(each["kind"], each["metadata"]["name"]) for each in objects]
    return found[0]


class _StrictLoader(yaml.CSafeLoader):
    """Refuses what a parser would silently drop: a key that is there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"{twice} twice{node.start_mark}"
        return super().construct_mapping(node, deep)
