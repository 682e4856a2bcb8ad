"""Hypothesis strategies for objects that the CRDs' own schemas describe, and for hostile ones."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from triton_operator.api.model import TritonModel
from triton_operator.api.schema import build_schema
from triton_operator.api.server import TritonServer

HOSTILE = (
    *(
        "",
        " ",
        "..",
        "../x",
        "/etc/passwd",
        "a/../../b",
        "x\x00y",
        "x\ny",
        "a" * 300,
        "İ",
        "\ud7ff",
    ),
    *("$(TRITON_CONTROL_KEY)", "{{ .Values }}", "'; rm -rf /", "--load-model=*", "-1", "1e999"),
    *("http-restricted-api=", "pvc://../x", "https://[x/a", "https://h:99999999/a", "null", "~"),
)
TEXTS = st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)  # JSON has no others
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | _FLOATS | TEXTS
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
_FIELDS = 2
"""Optional fields of an object at a time: with all of them nearly every object breaks a rule."""


FILES = [{"version": 1, "files": {"model.py": "x"}}]


def body(spec: Any) -> dict[str, Any]:
    """Return an object as it is stored."""
    meta = {"name": "fuzz", "namespace": "team", "uid": "uid", "generation": 1}
    return {"metadata": meta, "spec": spec}


def values_of(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a structural schema describes; its CEL rules may still refuse them."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return st.integers(-1, 2**40) | st.sampled_from(["1Gi", "0", "500m", "-1", "x", "1e3"])
    kinds = {"object": _objects, "array": _lists, "string": _texts, "integer": _integers}
    kinds |= {"boolean": lambda _: st.booleans(), "number": _numbers}
    return kinds[schema["type"]](schema) if "type" in schema else ANYTHING


def specs(kind: type[TritonModel | TritonServer], **known: Any) -> st.SearchStrategy[Any]:
    """Specs with one or two fields of a kind, and beside them what is known to be good."""
    fields = build_schema(kind)["properties"]["spec"]["properties"]
    names = st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=2, unique=True)
    return names.flatmap(
        lambda chosen: st.fixed_dictionaries(
            {name: st.just(value) for name, value in known.items()}
            | {name: values_of(fields[name]) for name in chosen}
        )
    )


def _lists(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    most = min(schema.get("maxItems", 3), 3)
    return st.lists(values_of(schema["items"]), min_size=schema.get("minItems", 0), max_size=most)


def _integers(schema: Mapping[str, Any]) -> st.SearchStrategy[int]:
    low = max(schema.get("minimum", -(2**31)), -(2**63))
    return st.integers(low, min(schema.get("maximum", 2**31 - 1), 2**63 - 1))


def _numbers(schema: Mapping[str, Any]) -> st.SearchStrategy[float]:
    return st.floats(
        schema.get("minimum"), schema.get("maximum"), allow_nan=False, allow_infinity=False
    )


def _objects(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    if "properties" in schema:
        fields = {name: values_of(inner) for name, inner in schema["properties"].items()}
        needed = {name: fields.pop(name) for name in schema.get("required", ())}
        if not fields:
            return st.fixed_dictionaries(needed)
        names = st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=_FIELDS)
        return names.flatmap(
            lambda chosen: st.fixed_dictionaries(needed | {name: fields[name] for name in chosen})
        )
    if "additionalProperties" in schema:
        return st.dictionaries(TEXTS, values_of(schema["additionalProperties"]), max_size=3)
    return st.dictionaries(TEXTS, ANYTHING, max_size=3)


def _texts(schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    longest = schema.get("maxLength", 64)
    if "pattern" in schema:
        matching = st.from_regex(schema["pattern"], fullmatch=True)
        return matching.map(lambda text: text[:longest])
    shortest = schema.get("minLength", 0)
    return TEXTS.map(lambda text: text[:longest] if len(text) >= shortest else "x" * shortest)
