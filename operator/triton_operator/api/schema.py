"""From the JSON schema of a pydantic model to the structural schema of a CRD.

Kubernetes allows less than JSON schema: no references, no nulls, no ``const``; and it has
keywords of its own. See "Specifying a structural schema" in the Kubernetes documentation.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from triton_operator.api.meta import Resource

_KEPT: Final = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "minimum",
    "maximum",
    "required",
)
_EXACT: Final = 2**53
"""Bounds above it are not exact in JSON, and said by ``format`` already."""


def build_schema(kind: type[Resource]) -> dict[str, Any]:
    """Return the structural schema of ``kind``, whole and without references."""
    schema = _described(kind)
    return _structural(schema, schema.get("$defs", {}))


@cache
def _described(kind: type[Resource]) -> Mapping[str, Any]:
    return kind.model_json_schema(by_alias=True, mode="validation")


def _structural(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    schema = _resolved(schema, definitions)
    result: dict[str, Any] = {key: schema[key] for key in _KEPT if key in schema}
    result |= {key: value for key, value in schema.items() if key.startswith("x-kubernetes-")}
    if "description" in result:
        result["description"] = " ".join(result["description"].split())
    if "const" in schema:
        result["enum"] = [schema["const"]]
    for bound in ("minimum", "maximum"):
        if abs(result.get(bound, 0)) > _EXACT:
            del result[bound]
    if result.get("x-kubernetes-int-or-string"):
        del result["type"]
        result["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "items" in schema:
        result["items"] = _structural(schema["items"], definitions)
    if "properties" in schema:
        result["properties"] = {
            name: _structural(field, definitions) for name, field in schema["properties"].items()
        }
    match schema.get("additionalProperties"):
        case True:
            result["x-kubernetes-preserve-unknown-fields"] = True
        case Mapping() as values:
            result["additionalProperties"] = _structural(values, definitions)
    if schema.get("default") is not None:
        # An object is defaulted to nothing, and its own fields to their defaults from there.
        result["default"] = {} if "properties" in result else schema["default"]
    return result


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Follow references and drop "or null", keeping what the field itself says."""
    own = dict(schema)
    if "anyOf" in own:
        (choice,) = (each for each in own.pop("anyOf") if each != {"type": "null"})
        return _resolved(_over(choice, own), definitions)
    if "$ref" in own:
        target = definitions[own.pop("$ref").removeprefix("#/$defs/")]
        return _resolved(_over(target, own), definitions)
    return own


def _over(schema: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**schema, **own}
    rules = [*schema.get("x-kubernetes-validations", ()), *own.get("x-kubernetes-validations", ())]
    return merged | ({"x-kubernetes-validations": rules} if rules else {})
