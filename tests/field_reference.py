"""Every field of both CRDs as pages of the documentation: docs/reference/.

``python -m tests.field_reference`` (part of ``make crds``) writes them; a test fails when they are
not up to date.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from triton_operator.api.crd import build_crds

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
_HEADER = "<!-- Generated from operator/triton_operator/api by `make crds`; do not edit. -->\n"
_ELSEWHERE = {
    # The same schema at two places is told once.
    ("TritonModel", "spec.server"): "tritonserver.md#spec",
}
_BOUNDS = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " entries"),
    ("minProperties", "maxProperties", " entries"),
)
Schema = Mapping[str, Any]


def build_pages() -> dict[str, str]:
    """Return the text of each page, by the name of its file."""
    return {f"{crd['spec']['names']['singular']}.md": _page(crd) for crd in build_crds().values()}


def main() -> None:
    """Write the pages into the documentation."""
    REFERENCE.mkdir(exist_ok=True)
    for name, text in build_pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


def _page(crd: Schema) -> str:
    names = crd["spec"]["names"]
    (version,) = crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    short = ", ".join(names["shortNames"])
    lines = [
        _HEADER,
        f"# {names['kind']}\n",
        f"{_prose(schema['description'])}\n",
        f"`apiVersion: {crd['spec']['group']}/{version['name']}`, short name `{short}`. Bounds (in"
        " parentheses) and rules (below the tables, as the API server says them) are checked at"
        " admission, and without a cluster by [`validate`](../cli.md#validate).\n",
    ]
    lines += _rules(names["kind"], "", schema)
    for part in ("spec", "status"):
        for path, each in _objects(names["kind"], part, schema["properties"][part]):
            lines += _section(names["kind"], path, each)
    return "\n".join(lines)


def _objects(kind: str, path: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield what has fields of its own, outer ones first."""
    if (kind, path) in _ELSEWHERE:
        return
    if "properties" in schema:
        yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from _objects(kind, f"{path}.{name}", field)
    for inner, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if inner in schema:
            yield from _objects(kind, path + mark, schema[inner])


def _section(kind: str, path: str, schema: Schema) -> list[str]:
    lines = [f"## `{path}`\n"]
    if "description" in schema:
        lines.append(f"{_prose(schema['description'])}\n")
    lines += ["| field | type | default | what it is |", "|---|---|---|---|"]
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        inner = next(_objects(kind, f"{path}.{name}", field), None)
        target = _ELSEWHERE.get((kind, f"{path}.{name}"), inner and f"#{_anchor(inner[0])}")
        linked = f"[`{name}`]({target})" if target else f"`{name}`"
        default = "required" if name in required else _default(field)
        lines.append(f"| {linked} | {_type(field)} | {default} | {_description(field)} |")
    return [*lines, "", *_rules(kind, path, schema)]


def _anchor(path: str) -> str:
    """Return what both MkDocs and GitHub call the heading of a section."""
    return re.sub(r"[^a-z0-9]", "", path.lower())


def _type(schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return "object, as in Kubernetes"
    match schema["type"]:
        case "array":
            return f"list of {_type(schema['items'])}"
        case "object" if "additionalProperties" in schema:
            return f"map of {_type(schema['additionalProperties'])}"
        case "string" if schema.get("format") == "date-time":
            return "time"
        case simple:
            return str(simple)


def _default(schema: Schema) -> str:
    match schema.get("default"):
        case None | {} | []:
            return ""
        case bool() as value:
            return f"`{str(value).lower()}`"
        case value:
            return f"`{value}`"


def _description(schema: Schema) -> str:
    return " ".join(filter(None, (_prose(schema.get("description", "")), _bounds(schema))))


def _bounds(schema: Schema) -> str:
    """Return what values are allowed, those of list entries and of maps included."""
    told = [
        f"{_range(schema.get(low), schema.get(high))}{unit}"
        for low, high, unit in _BOUNDS
        if low in schema or high in schema
    ]
    if "enum" in schema:
        told.append("one of " + ", ".join(f"`{value}`" for value in schema["enum"]))
    inner = schema.get("items") or schema.get("additionalProperties")
    if inner and "properties" not in inner and (bounds := _bounds(inner)):
        told.append(f"each {bounds.strip('().')}")
    return f"({'; '.join(told)})" if told else ""


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"at most {high}" if low is None else f"at least {low}"
    return f"{low} to {high}"


def _rules(kind: str, path: str, schema: Schema) -> list[str]:
    """Return the rules of an object, and of its fields that have no section."""
    rules = [("", each) for each in _own_rules(schema)]
    if path:
        for name, field in schema["properties"].items():
            if (kind, f"{path}.{name}") not in _ELSEWHERE:
                rules += [(f"`{name}`: ", each) for each in _plain_rules(field)]
    return [*(f"- {field}{rule}" for field, rule in rules), ""] if rules else []


def _plain_rules(schema: Schema) -> Iterator[str]:
    """Yield the rules of a field and what is in it, down to objects with sections."""
    if "properties" in schema:
        return
    yield from _own_rules(schema)
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield from _plain_rules(schema[inner])


def _own_rules(schema: Schema) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield _prose(rule["message"])
    if "pattern" in schema and not schema.get("x-kubernetes-int-or-string"):
        yield f"matches `{schema['pattern']}`"


def _prose(text: str) -> str:
    """Return text that says in Markdown what it says as it is; code stays code."""
    parts = text.replace("``", "`").split("`")
    parts[::2] = [re.sub(r"([\\*_<>|\[\]])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


if __name__ == "__main__":
    main()
