"""docs/reference says every field of the CRDs, and its links lead to headings."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.field_reference import REFERENCE, build_pages
from triton_operator.api.crd import build_crds

PAGES = build_pages()
SCHEMAS = {
    f"{crd['spec']['names']['singular']}.md": crd["spec"]["versions"][0]["schema"][
        "openAPIV3Schema"
    ]["properties"]
    for crd in build_crds().values()
}


def schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A schema and all below it."""
    yield schema
    inner = [schema[key] for key in ("items", "additionalProperties") if key in schema]
    for each in (*schema.get("properties", {}).values(), *inner):
        yield from schemas(each)


def test_the_pages_are_what_the_crds_say() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in REFERENCE.glob("*.md")}

    assert committed == PAGES, "make crds"


@pytest.mark.parametrize("name", PAGES)
def test_every_field_has_a_row(name: str) -> None:
    rows = set(re.findall(r"^\| \[?`(\w+)`", "\n".join(PAGES.values()), re.MULTILINE))
    parts = [each for part in ("spec", "status") for each in schemas(SCHEMAS[name][part])]
    wanted = {field for part in parts for field in part.get("properties", ())}

    assert len(wanted) > 60
    assert wanted - rows == set()


@pytest.mark.parametrize("name", PAGES)
def test_every_rule_is_told(name: str) -> None:
    pages = re.sub(r"\\(.)", r"\1", "\n".join(PAGES.values()))

    rules = {
        rule["message"]
        for each in schemas(SCHEMAS[name]["spec"])
        for rule in each.get("x-kubernetes-validations", ())
    }

    assert len(rules) > 10
    assert {rule for rule in rules if rule not in pages} == set()


def test_what_is_told_once_is_the_same_at_both_places() -> None:
    own = SCHEMAS["tritonmodel.md"]["spec"]["properties"]["server"]
    shared = SCHEMAS["tritonserver.md"]["spec"]

    assert own["properties"] == shared["properties"]
    assert own["x-kubernetes-validations"] == shared["x-kubernetes-validations"]


def test_links_lead_to_headings() -> None:
    for name, text in PAGES.items():
        links = re.findall(r"\]\(([a-z]*(?:\.md)?)#([a-z0-9]+)\)", text)
        assert len(links) > 10
        for page, anchor in links:
            target = PAGES.get(page or name, "")
            headings = re.findall(r"^## `(.+)`$", target, re.MULTILINE)
            slugs = [re.sub(r"[^\w-]", "", heading.lower()) for heading in headings]
            assert slugs.count(anchor) == 1 or page == "cli.md", f"{name}: {page}#{anchor}"
