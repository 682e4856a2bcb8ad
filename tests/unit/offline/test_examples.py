"""The examples for pipelines name commands and options that exist."""

import re
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from triton_operator.cli.offline_commands import register

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "docs" / "cli.md", ROOT / "docs" / "gitops.md"]
COMMANDS = ("validate", "render", "import")


def help_of(command: str) -> str:
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_command_line_is_one_that_there_is(page: Path) -> None:
    lines = re.findall(r"triton-operator (validate|render|import) (.*)", page.read_text())
    used = {(command, option) for command, rest in lines
            for option in re.findall(r"(?<=\s)--[a-z-]+", f" {rest}")}  # fmt: skip
    helps = {command: help_of(command) for command in COMMANDS}

    assert len(used) >= 2
    assert not [(command, option) for command, option in used if option not in helps[command]]


def test_every_option_is_documented() -> None:
    page = PAGES[0].read_text()
    for command in COMMANDS:
        options = set(re.findall(r"--[a-z][a-z-]+", help_of(command))) - {"--help"}
        assert {option for option in options if option not in page} == set()


def test_the_blocks_of_yaml_are_yaml() -> None:
    blocks = re.findall(r"```yaml\n(.*?)\n```\n", PAGES[1].read_text(), re.DOTALL)

    workflow, config = map(yaml.safe_load, blocks)
    assert set(workflow["jobs"]) == {"validate", "difference"}
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert {each["id"] for repo in config["repos"] for each in repo["hooks"]} == {
        each["id"] for each in hooks
    }


def test_the_hook_runs_a_command_on_a_folder() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())

    assert hook["entry"].split() == ["triton-operator", "validate"]
    assert hook["pass_filenames"] is False
    assert all(re.search(hook["files"], name) for name in ("a.yaml", "b/c.yml", "d.json"))
