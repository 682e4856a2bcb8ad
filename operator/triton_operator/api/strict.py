"""What the API server's strict validation says of a manifest, said without a cluster.

``parse`` is lenient, as the operator must be with what is stored already: it ignores fields that
it does not know and reads ``"8"`` as 8. For a file that a user is still writing those are
mistakes, such as ``maxBatchSize`` inside ``dynamicBatching``.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from pydantic.alias_generators import to_camel

from triton_operator.api.meta import CustomObject
from triton_operator.api.schema import build_schema

_PYTHON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (Mapping,),
    "array": (list, tuple),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def find_mistakes(kind: type[CustomObject], body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return ``path: mistake`` of every unknown field and wrong JSON type in ``spec``."""
    schema = _schema_of(kind)["properties"]["spec"]
    return tuple(_mistakes(body.get("spec", {}), schema, "spec"))


@cache
def _schema_of(kind: type[CustomObject]) -> dict[str, Any]:
    return build_schema(kind)


def _mistakes(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    kind = schema.get("type")
    if kind is not None and not _is(kind, value):
        yield f"{path}: must be of type {kind}, not {type(value).__name__}"
        return
    match value:
        case Mapping() if "properties" in schema:
            for name, inner in value.items():
                if name in schema["properties"]:
                    yield from _mistakes(inner, schema["properties"][name], f"{path}.{name}")
                else:
                    yield f"{path}.{name}: unknown field{_suggest(name, schema['properties'])}"
        case Mapping() if "additionalProperties" in schema:
            for name, inner in value.items():
                yield from _mistakes(inner, schema["additionalProperties"], f"{path}.{name}")
        case list() | tuple():
            for index, inner in enumerate(value):
                yield from _mistakes(inner, schema["items"], f"{path}[{index}]")


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _PYTHON_TYPES[kind])


def _suggest(name: Any, known: Mapping[str, Any]) -> str:
    close = get_close_matches(to_camel(str(name)), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
