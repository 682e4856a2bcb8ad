"""The examples of the documentation work: objects are valid, commands run and say what is shown.

A block with a title, ```` ```yaml title="apps/detector.yaml" ````, is a file from there on. The
commands of such a page that need no cluster run in its order, and the output in ``console`` blocks
is compared. What ``find`` lists and is not there is made, as a binary file.
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from triton_operator import names
from triton_operator.api.crd import build_crds
from triton_operator.offline.check import check
from triton_operator.offline.documents import read_documents

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
HERE = {"triton-operator", "find"}
"""Commands that run; of the first one, those without a cluster."""
OFFLINE = {"validate", "render", "import"}
KUBECTL = {"annotate", "apply", "cp", "create", "delete", "describe", "exec", "explain", "get",
           "kustomize", "label", "logs", "patch", "plugin", "port-forward", "rollout", "run",
           "scale", "triton", "wait"}  # fmt: skip


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    text: str


@dataclass(frozen=True)
class Command:
    line: str
    output: str | None
    """What it says; None where the page does not show it."""

    @property
    def words(self) -> list[str]:
        return shlex.split(self.line, comments=True)

    @property
    def runs_here(self) -> bool:
        first, second = [*self.words, ""][:2]
        return first in HERE and (first == "find" or second in OFFLINE)


def blocks(page: Path) -> list[Block]:
    found = re.findall(r"^```(\w*)([^\n]*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [
        Block(language, "".join(re.findall(r'title="([^"]+)"', rest)), text)
        for language, rest, text in found
    ]


def commands(block: Block) -> Iterator[Command]:
    text = re.sub(r"\\\n\s*", "", block.text)
    if block.language == "sh":
        yield from (Command(line, None) for line in text.splitlines())
    if block.language == "console":
        for each in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            line, _, output = each.partition("\n")
            yield Command(line, output)


def fields_of(kind: str) -> set[str]:
    for crd in build_crds().values():
        if crd["spec"]["names"]["kind"] == kind:
            schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            return set(schema["properties"]["spec"]["properties"])
    raise AssertionError(kind)


def as_objects(block: Block) -> str:
    """The text of a block; a part of a spec becomes an object of its kind."""
    part = yaml.safe_load(block.text) if block.text.count("\n---") == 0 else None
    if not isinstance(part, dict) or "apiVersion" in part:
        return block.text
    part = part["spec"] if set(part) == {"spec"} else part
    base: dict[str, Any] = {"versions": [{"version": 1, "files": {"model.py": "pass"}}]}
    for kind, rest in ((names.KIND_SERVER, {}), (names.KIND_MODEL, base)):
        if set(part) <= fields_of(kind):
            described = {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": "x"}}
            return yaml.safe_dump({**described, "spec": {**rest, **part}})
    return block.text


YAML = [(page, block) for page in PAGES for block in blocks(page) if block.language == "yaml"]
COMMANDS = [
    (page, command) for page in PAGES for block in blocks(page) for command in commands(block)
]
WITH_FILES = [page for page in PAGES if any(block.title for block in blocks(page))]


def test_there_are_examples() -> None:
    objects = [block for _, block in YAML if names.GROUP in as_objects(block)]
    assert len(objects) > 10
    assert len(WITH_FILES) > 1


@pytest.mark.parametrize(
    ("page", "block"), YAML, ids=[f"{page.stem}-{index}" for index, (page, _) in enumerate(YAML)]
)
def test_yaml_is_what_the_operator_takes(page: Path, block: Block) -> None:
    """Or its mistakes are shown on the page, as what ``validate`` says."""
    report = check([read_documents("f", as_objects(block))]).report

    shown = page.read_text()
    assert [str(each) for each in report.mistakes if each.message not in shown] == []


@pytest.mark.parametrize("page", WITH_FILES, ids=lambda page: page.stem)
def test_commands_say_what_is_shown(page: Path, tmp_path: Path) -> None:
    ran = 0
    for block in blocks(page):
        if block.title:
            file = tmp_path / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
        for command in filter(Command.runs_here.fget, commands(block)):
            ran += 1
            if command.words[0] == "find":
                make_missing(tmp_path, (command.output or "").split())
            done = run(command.line, tmp_path)
            if command.output is None:
                assert done.returncode == 0, f"{command.line}: {done.stdout}"
            else:
                assert done.stdout == command.output, command.line
    assert ran > 0


def make_missing(folder: Path, listed: list[str]) -> None:
    for name in listed:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_bytes(b"\0weights")


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    shell = f'triton-operator() {{ "{sys.executable}" -m triton_operator "$@"; }}\n{line}'
    environment = {"PYTHONPATH": str(ROOT / "operator"), "PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    return subprocess.run(
        ["bash", "-c", shell], cwd=folder, env=environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_command_lines_are_well_formed() -> None:
    for page, command in COMMANDS:
        words = command.words
        if words[:1] == ["kubectl"]:
            options = ("-n", "--namespace")
            verb = next(word for before, word in pairwise(words)
                        if not word.startswith("-") and before not in options)  # fmt: skip
            assert verb in KUBECTL, f"{page.name}: {command.line}"
        for option, value in pairwise(words):
            if option == "-p":
                json.loads(value)


def test_explained_fields_exist() -> None:
    paths = [word for _, command in COMMANDS if command.words[:2] == ["kubectl", "explain"]
             for word in command.words[2:] if not word.startswith("-")]  # fmt: skip
    for path in paths:
        kind, *rest = path.split(".")
        crd = next(each for each in build_crds().values()
                   if each["spec"]["names"]["singular"] == kind)  # fmt: skip
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for name in rest:
            schema = schema.get("items", schema)["properties"][name]


def test_values_of_the_chart_exist() -> None:
    values = yaml.safe_load((ROOT / "charts" / "triton-operator" / "values.yaml").read_text())
    lines = [command.words for _, command in COMMANDS if "charts/triton-operator" in command.words]
    settings = [value for words in lines for option, value in pairwise(words)
                if option in ("--set", "--set-string")]  # fmt: skip
    assert settings
    for setting in settings:
        inner = values
        for name in setting.partition("=")[0].split("."):
            assert name in inner, setting
            inner = inner[name]
