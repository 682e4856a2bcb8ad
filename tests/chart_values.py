"""The chart's values, told once: the comments of values.yaml become the descriptions of its schema
and the table of its README.

``python -m tests.chart_values`` writes both anew; a test fails when they are not up to date.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[1] / "charts" / "triton-operator"
VALUES, SCHEMA, README = CHART / "values.yaml", CHART / "values.schema.json", CHART / "README.md"

_START, _END = "<!-- values: written by `make chart` -->\n", "<!-- end of values -->\n"


@dataclass(frozen=True)
class Value:
    """One value that a user may set."""

    path: tuple[str, ...]
    default: Any
    comment: str


def read_values(text: str) -> Iterator[Value]:
    """Yield the values: what has a comment above it; what is below such a one belongs to it.

    Raises
    ------
    ValueError
        A value has no comment.

    """
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    return _read(root, yaml.safe_load(text), text.splitlines(), ())


def describe(schema: dict[str, Any], values: list[Value]) -> dict[str, Any]:
    """Return a schema with the values' comments as its descriptions."""
    described: dict[str, Any] = json.loads(json.dumps(schema))
    for value in values:
        at = described
        for name in value.path:
            at = at["properties"][name]
        rest = {key: part for key, part in at.items() if key != "description"}
        at.clear()
        # draft-07 looks at nothing beside a `$ref`.
        if "$ref" in rest:
            rest = {"allOf": [rest]}
        at |= {"description": value.comment, **rest}
    return described


def build_table(values: list[Value]) -> str:
    """Return a Markdown table of all values."""
    rows = [
        f"| `{'.'.join(value.path)}` | `{json.dumps(value.default)}` | {_escape(value.comment)} |"
        for value in values
    ]
    return "\n".join(["| value | default | |", "|---|---|---|", *rows]) + "\n"


def replace_table(readme: str, table: str) -> str:
    """Return a README with this table between its marks."""
    head, _, rest = readme.partition(_START)
    _, _, tail = rest.partition(_END)
    return f"{head}{_START}{table}{_END}{tail}"


def generate() -> dict[Path, str]:
    """Return what the generated files should hold."""
    values = list(read_values(VALUES.read_text()))
    schema = describe(json.loads(SCHEMA.read_text()), values)
    return {
        SCHEMA: json.dumps(schema, indent=2) + "\n",
        README: replace_table(README.read_text(), build_table(values)),
    }


def _read(
    node: yaml.MappingNode, default: Any, lines: list[str], path: tuple[str, ...]
) -> Iterator[Value]:
    for key, child in node.value:
        here, comment = (*path, key.value), _comment_above(key.start_mark, lines)
        if comment:
            yield Value(here, default[key.value], comment)
        elif isinstance(child, yaml.MappingNode) and child.value:
            yield from _read(child, default[key.value], lines, here)
        else:
            raise ValueError(f"values.yaml: {'.'.join(here)} has no comment")


def _comment_above(mark: yaml.Mark, lines: list[str]) -> str:
    found: list[str] = []
    start = " " * mark.column + "# "
    for line in reversed(lines[: mark.line]):
        if not line.startswith(start):
            break
        found.insert(0, line.removeprefix(start).strip())
    return " ".join(found)


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for path, content in generate().items():
        path.write_text(content)
