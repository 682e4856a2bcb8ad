"""The manifests that a command is given: files, folders and standard input."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from triton_operator import names
from triton_operator.offline.documents import Document, UnreadableError, read_documents

STDIN = "-"
_SUFFIXES = (".yaml", ".yml", ".json")


class UnusableError(Exception):
    """What a command was given cannot be used; it ends with exit code 2."""


@dataclass(frozen=True, slots=True)
class Manifests:
    """The objects that were read."""

    scopes: tuple[tuple[Document, ...], ...]
    """Those that would be in a cluster together."""
    unreadable: tuple[UnreadableError, ...]
    """Files that are not YAML but should be."""


def read_manifests(
    arguments: Iterable[str], *, exclude: Sequence[str] = (), each_folder: bool = False
) -> Manifests:
    """Read files, the files in folders, and standard input for ``-``.

    In a folder that is searched, what is not YAML and does not speak of the operator's API group
    is none of our business: Helm templates, say.

    Parameters
    ----------
    arguments
        What the user named.
    exclude
        Patterns of paths to leave out of the folders.
    each_folder
        Whether each folder that holds files stands for a cluster of its own, as overlays do.

    Raises
    ------
    UnusableError
        A file does not exist or cannot be read, or there is none.

    """
    scopes: dict[str, list[Document]] = {}
    unreadable = []
    files = 0
    for path, searched in _find_files(arguments, exclude):
        files += 1
        try:
            text = sys.stdin.read() if path == STDIN else Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            if searched and isinstance(error, UnicodeDecodeError):
                continue
            raise UnusableError(f"{path}: {error}") from error
        scope = str(Path(path).parent) if each_folder else ""
        try:
            name = "<stdin>" if path == STDIN else path
            scopes.setdefault(scope, []).extend(read_documents(name, text))
        except UnreadableError as error:
            if not searched or names.GROUP in text:
                unreadable.append(error)
    if not files:
        raise UnusableError(f"no {', '.join(_SUFFIXES)} file in {' '.join(arguments)}")
    return Manifests(tuple(map(tuple, scopes.values())), tuple(unreadable))


def _find_files(arguments: Iterable[str], exclude: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield each file once, and whether it was found rather than named."""
    seen: set[str] = set()
    for argument in arguments:
        path = Path(argument)
        if argument == STDIN or path.is_file():
            found = [argument]
        elif path.is_dir():
            found = sorted(_search(path, exclude))
        else:
            raise UnusableError(f"{argument}: there is no such file or folder")
        for each in found:
            if each not in seen:
                seen.add(each)
                yield each, path.is_dir()


def _search(folder: Path, exclude: Sequence[str]) -> Iterator[str]:
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if hidden or path.suffix not in _SUFFIXES or not path.is_file():
            continue
        if not any(_matches(relative, pattern) for pattern in exclude):
            yield str(path)


def _matches(path: Path, pattern: str) -> bool:
    """Return whether a path, or a folder that it lies in, matches a pattern."""
    every = [path, *path.parents]
    return any(fnmatch(each.as_posix(), pattern) or fnmatch(each.name, pattern) for each in every)
