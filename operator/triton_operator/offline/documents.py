"""Manifests as text: the objects in them, and the line of every field.

YAML is read as ``kubectl`` reads it: as JSON written more comfortably. A time is text, a number as
a key is text, and a key that is given twice is a mistake.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from triton_operator.errors import OperatorError
from triton_operator.offline.dump import KUBECTLS_NUMBERS, STARTS_OF_NUMBERS

_MAX_NODES: Final = 1_000_000
"""More than any manifest has; a few lines of aliases can stand for billions."""
_NOT_IN_JSON: Final = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value")
_MERGE: Final = "tag:yaml.org,2002:merge"


class UnreadableError(OperatorError):
    """A text is not YAML, or none that stands for JSON."""

    def __init__(self, file: str, line: int, message: str) -> None:
        super().__init__(f"{file}:{line}: {message}")
        self.file = file
        self.line = line
        self.message = message


class Place(NamedTuple):
    """A line and a column, both counted from 1."""

    line: int
    column: int


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Composes nodes; times and ``=`` stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NOT_IN_JSON]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in KUBECTLS_NUMBERS:
    _Loader.add_implicit_resolver(_tag, _pattern, STARTS_OF_NUMBERS)


@dataclass(frozen=True)
class Document:
    """One object of a file."""

    file: str
    body: dict[str, Any]
    node: MappingNode
    repeated: tuple[str, ...] = ()
    """Paths of keys that are given twice."""

    @property
    def kind(self) -> str:
        """The object's ``kind``; empty if it has none."""
        return str(self.body.get("kind") or "")

    @property
    def api_version(self) -> str:
        """The object's ``apiVersion``; empty if it has none."""
        return str(self.body.get("apiVersion") or "")

    @property
    def metadata(self) -> dict[str, Any]:
        """The object's ``metadata``; empty if it is none."""
        metadata = self.body.get("metadata")
        return metadata if isinstance(metadata, dict) else {}

    @property
    def name(self) -> str:
        """The object's name; empty if it has none."""
        return str(self.metadata.get("name") or "")

    def has(self, path: str) -> bool:
        """Return whether there is a field of this path, such as ``spec.versions[0].source``."""
        return _find(self.node, path)[1]

    def place(self, path: str) -> Place:
        """Return where a field stands; for one that is left out, where it would belong."""
        return _find(self.node, path)[0]

    def text_place(self, path: str, line: int) -> Place:
        """Return where a line, counted from 1, of a text written as a block stands."""
        place, value = _find(self.node, path)[0], self.value_node(path)
        if isinstance(value, ScalarNode) and value.style == "|":
            return Place(value.start_mark.line + 1 + line, 1)
        return place

    def value_node(self, path: str) -> Node | None:
        """Return the node of a field's value; None if it is left out."""
        _, found, node = _find(self.node, path)
        return node if found else None


def read_documents(file: str, text: str) -> tuple[Document, ...]:
    """Return the objects in a text, those of a ``List`` one by one.

    Raises
    ------
    UnreadableError
        The text is not YAML or JSON, or a document in it is not an object.

    """
    try:
        return tuple(_read(file, _without_tabs(text)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(filter(None, (error.context, error.problem))) or str(error)
        raise UnreadableError(file, mark.line + 1 if mark else 1, message) from error
    except (yaml.YAMLError, ValueError) as error:
        raise UnreadableError(file, 1, str(error)) from error
    except RecursionError as error:
        raise UnreadableError(file, 1, "is nested too deeply") from error


def _read(file: str, text: str) -> Iterator[Document]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if isinstance(node, ScalarNode) and not node.value:
                continue  # nothing between two "---"
            builder = _Builder()
            body = builder.build(node, "")
            if not isinstance(node, MappingNode):
                raise UnreadableError(file, node.start_mark.line + 1, "is no object")
            yield from _unpacked(Document(file, body, node, tuple(builder.repeated)))
    finally:
        loader.dispose()


def _unpacked(document: Document) -> Iterator[Document]:
    items = document.value_node("items")
    if not document.kind.endswith("List") or not isinstance(items, SequenceNode):
        yield document
        return
    for index, (body, node) in enumerate(zip(document.body["items"], items.value, strict=True)):
        if isinstance(node, MappingNode):
            prefix = f"items[{index}]."
            repeated = tuple(
                path.removeprefix(prefix) for path in document.repeated if path.startswith(prefix)
            )
            yield from _unpacked(Document(document.file, body, node, repeated))


class _Builder:
    """Turns nodes into JSON."""

    def __init__(self) -> None:
        self.repeated: list[str] = []
        self._scalars = SafeConstructor()
        self._open: set[int] = set()
        self._seen: set[int] = set()
        self._count = 0

    def build(self, node: Node, path: str) -> Any:
        self._count += 1
        if self._count > _MAX_NODES or id(node) in self._open:
            problem = "an alias stands for too much, or for itself"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        if isinstance(node, ScalarNode):
            return self._scalars.construct_object(node)
        self._open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self.build(each, f"{path}[{i}]") for i, each in enumerate(node.value)]
            return self._build_mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _build_mapping(self, node: Any, path: str) -> dict[str, Any]:
        if id(node) not in self._seen:
            self._seen.add(id(node))
            self._note_repeated(node, path)
            self._scalars.flatten_mapping(node)
        result = {}
        for key_node, value in node.value:
            key = _key(key_node)
            result[key] = self.build(value, f"{path}.{key}" if path else key)
        return result

    def _note_repeated(self, node: MappingNode, path: str) -> None:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = _key(key_node)
            if key in seen and key_node.tag != _MERGE:
                self.repeated.append(f"{path}.{key}" if path else key)
            seen.add(key)


def _key(node: Node) -> str:
    if not isinstance(node, ScalarNode):
        problem = "a key must be text"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    return str(node.value)


def _start(node: Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def _find(node: Node, path: str) -> tuple[Place, bool, Node]:
    """Return the place of a path, whether it is really there, and its value's node.

    Keys may hold dots, as names of files do, so the longest key that fits is taken.
    """
    place, rest = _start(node), path
    while rest:
        if isinstance(node, MappingNode):
            fitting = [
                (len(key), index)
                for index, (key_node, _) in enumerate(node.value)
                if rest.startswith(key := str(key_node.value))
                and (len(rest) == len(key) or rest[len(key)] in ".[")
            ]
            if not fitting:
                return place, False, node
            length, index = max(fitting)
            key_node, node = node.value[index]
            place, rest = _start(key_node), rest[length:].removeprefix(".")
            continue
        element = re.match(r"\[(\d+)\]\.?", rest)
        if element is None or not isinstance(node, SequenceNode):
            return place, False, node
        number = int(element[1])
        if number >= len(node.value):
            return place, False, node
        node = node.value[number]
        place, rest = _start(node), rest[element.end() :]
    return place, True, node


def _without_tabs(text: str) -> str:
    """Return JSON that is indented with tabs, which YAML does not take, with blanks instead."""
    if "\t" not in text or not text.lstrip().startswith(("{", "[")):
        return text
    try:
        json.loads(text)
    except ValueError:
        return text
    return text.replace("\t", " ")
