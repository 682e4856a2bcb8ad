"""The mistakes of one object on its own: what the API server would refuse at admission."""

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import ValidationError

from triton_operator import names
from triton_operator.api.meta import CustomObject, Resource, refusals
from triton_operator.api.model import TritonModel
from triton_operator.api.rules import RULES_LATER, Rule
from triton_operator.api.server import TritonServer
from triton_operator.api.strict import find_mistakes
from triton_operator.offline.documents import Document
from triton_operator.offline.findings import Finding, find

KINDS: Final[Mapping[str, type[CustomObject]]] = {
    names.KIND_MODEL: TritonModel,
    names.KIND_SERVER: TritonServer,
}
REFUSED: Final = "Refused"
_MAX_ATTEMPTS: Final = 8
_ROOT_FIELDS: Final = ("apiVersion", "kind", "metadata", "spec", "status")
_OBJECT_NAME: Final = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
_NAMESPACE: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def is_ours(document: Document) -> bool:
    """Return whether an object belongs to the operator's API group."""
    return document.api_version.split("/")[0] == names.GROUP


def check_object(document: Document) -> tuple[Finding, ...]:
    """Return all mistakes of an object of the operator's API group."""
    return tuple(
        find(document, field, message, reason=REFUSED)
        for field, message in _find_all(document, document.body)
    )


def _find_all(document: Document, body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    kind = KINDS.get(document.kind)
    if kind is None:
        yield "kind", f"unknown kind {document.kind!r}; there are {' and '.join(KINDS)}"
        return
    if document.api_version != names.API_VERSION:
        yield "apiVersion", f"must be {names.API_VERSION}"
    for path in document.repeated:
        yield path, "is given twice, and only the last one would count: remove one"
    for name in body:
        if name not in _ROOT_FIELDS:
            yield name, f"unknown field; an object has {', '.join(_ROOT_FIELDS)}"
    names_told = tuple(_check_names(document))
    yield from names_told
    strict = tuple(_split(mistake) for mistake in find_mistakes(kind, body))
    yield from strict
    told = {path for path, _ in strict}
    for path, message in _find_refusals(kind, body):
        again = not path and names_told and message.startswith("metadata.name")
        if not again and not any(_is_below(path, above) for above in told):
            yield path, message


def _check_names(document: Document) -> Iterator[tuple[str, str]]:
    name, namespace = document.metadata.get("name"), document.metadata.get("namespace")
    if isinstance(name, str) and not re.fullmatch(_OBJECT_NAME, name):
        yield (
            "metadata.name",
            f"{name!r} must consist of lower-case letters, digits, '-' and '.', and begin and end"
            " with a letter or digit: rename it; modelName, which clients see, may have others",
        )
    if isinstance(namespace, str) and not re.fullmatch(_NAMESPACE, namespace):
        yield "metadata.namespace", f"{namespace!r} is no name of a namespace"


def _find_refusals(kind: type[CustomObject], body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what breaks the schema, and every rule that is broken.

    Rules can only be asked of values that can be read: those that cannot are taken out for them,
    and what a rule says of a field that was taken out is not believed.
    """
    readable = {key: value for key, value in body.items() if key != "status"}
    removed: set[str] = set()
    for attempt in range(_MAX_ATTEMPTS):
        try:
            parsed = kind.model_validate(readable, context=RULES_LATER)
        except ValidationError as error:
            if attempt == 0:
                for path, message in refusals(error):
                    yield ("" if path == "object" else path), message
            places = [each["loc"] for each in error.errors(include_url=False)]
            readable, gone = _without(readable, places)
            removed |= gone
            continue
        for path, message in _broken(parsed, kind, ""):
            if removed.isdisjoint(re.findall(r"\w+", message)):
                yield path, message
        return


def _without(
    body: Mapping[str, Any], places: Iterable[tuple[int | str, ...]]
) -> tuple[dict[str, Any], set[str]]:
    """Return a copy without what stands at some places, and the names of the fields that went.

    Elements of lists stay, so that the others keep their numbers: the whole list goes instead.
    """
    copy, gone = deepcopy(dict(body)), set()
    for place in places:
        holder: Any = copy
        last: tuple[dict[str, Any], str] | None = None
        for part in place:
            if isinstance(holder, dict) and part in holder:
                last, holder = (holder, str(part)), holder[part]
            elif isinstance(holder, list) and isinstance(part, int) and part < len(holder):
                holder = holder[part]
            else:
                break
        if last is not None:
            last[0].pop(last[1], None)
            gone.add(last[1])
    return copy, gone


def _broken(value: Any, annotation: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield path and message of every rule that a value, of an annotated type, breaks."""
    arguments = get_args(annotation)
    match get_origin(annotation):
        case None if isinstance(value, Resource):
            yield from _failing(value.rules, value, path)
            for name, field in type(value).model_fields.items():
                inner, below = getattr(value, name), f"{path}.{field.alias}".removeprefix(".")
                yield from _failing(field.metadata, inner, below)
                yield from _broken(inner, field.annotation, below)
        case origin if origin is Annotated:
            yield from _failing(arguments[1:], value, path)
            yield from _broken(value, arguments[0], path)
        case origin if origin in (Union, UnionType) and value is not None:
            (choice,) = (each for each in arguments if each is not NoneType)
            yield from _broken(value, choice, path)
        case _ if isinstance(value, tuple) and arguments:
            for index, inner in enumerate(value):
                yield from _broken(inner, arguments[0], f"{path}[{index}]")
        case _ if isinstance(value, Mapping) and arguments:
            for key, inner in value.items():
                yield from _broken(inner, arguments[1], f"{path}.{key}")


def _failing(metadata: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    for rule in metadata:
        if isinstance(rule, Rule):
            try:
                rule.check(value)
            except ValueError as error:
                yield path, str(error)


def _split(mistake: str) -> tuple[str, str]:
    path, _, message = mistake.partition(": ")
    return path, message


def _is_below(path: str, above: str) -> bool:
    return path == above or path.startswith((f"{above}.", f"{above}["))
