"""A model repository that exists already, as a value: what Triton would find in each folder.

Read as Triton reads it: a folder is a model, a folder in it that is a number is a version.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Final

from triton_operator.api.paths import MAX_PATH, is_file_name
from triton_operator.errors import OperatorError

CONFIG: Final = "config.pbtxt"
_VERSION: Final = re.compile(r"[1-9][0-9]*")
_NOT_MODELS: Final = ("lost+found",)
_NOT_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


class NotARepositoryError(OperatorError):
    """A folder is no model repository."""


@dataclass(frozen=True, slots=True)
class RepositoryFile:
    """One file of a model."""

    path: str
    """Relative to the model's or the version's folder."""
    file: Path

    def read_text(self, limit: int) -> str | None:
        """Return the content if it is text of at most ``limit`` bytes, else None."""
        if not (is_file_name(self.path) and len(self.path) <= MAX_PATH):
            return None
        if self.file.stat().st_size > limit:
            return None
        try:
            text = self.file.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            return None
        return None if _NOT_TEXT.search(text) else text

    def sha256(self) -> str:
        """Return the digest of the content."""
        with self.file.open("rb") as stream:
            return file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """One model of a repository."""

    name: str
    config: str | None
    """Text of ``config.pbtxt``; None if there is none."""
    files: tuple[RepositoryFile, ...]
    """What lies beside ``config.pbtxt``, folders that are no versions included."""
    versions: tuple[tuple[int, tuple[RepositoryFile, ...]], ...]
    """Version numbers, ascending, with the files of each."""


@dataclass(frozen=True, slots=True)
class RepositoryFolder:
    """All models of a repository."""

    root: Path
    models: tuple[ModelFolder, ...]
    passed_over: tuple[str, ...]
    """Folders that are no models: neither a config nor a version."""


def read_folder(root: Path) -> RepositoryFolder:
    """Return the models of a repository, by name.

    Raises
    ------
    NotARepositoryError
        The folder does not exist, cannot be read, or holds no models.

    """
    try:
        return _read(root)
    except (OSError, UnicodeDecodeError) as error:
        raise NotARepositoryError(f"{root}: {error}") from error


def _read(root: Path) -> RepositoryFolder:
    if (root / CONFIG).exists():
        raise NotARepositoryError(
            f"{root} is the folder of one model: name the repository that it is in"
        )
    models, passed_over = [], []
    for folder in sorted(root.iterdir()):
        if _is_hidden(folder) or folder.name in _NOT_MODELS or not folder.is_dir():
            continue
        model = _read_model(folder)
        if model.config is None and not model.versions:
            passed_over.append(folder.name)
        else:
            models.append(model)
    if not models:
        raise NotARepositoryError(
            f"{root} holds no model: a model is a folder with a {CONFIG} or a version, such as 1/"
        )
    return RepositoryFolder(root, tuple(models), tuple(passed_over))


def _read_model(folder: Path) -> ModelFolder:
    config = folder / CONFIG
    versions: list[tuple[int, tuple[RepositoryFile, ...]]] = []
    files: list[RepositoryFile] = []
    for entry in sorted(folder.iterdir()):
        if _is_hidden(entry) or entry.name == CONFIG:
            continue
        if entry.is_dir() and _VERSION.fullmatch(entry.name):
            versions.append((int(entry.name), tuple(_files(entry, entry, set()))))
        elif entry.is_dir():
            files += _files(entry, folder, set())
        elif entry.is_file():
            files.append(RepositoryFile(entry.name, entry))
    return ModelFolder(
        name=folder.name,
        config=config.read_text(encoding="utf-8") if config.exists() else None,
        files=tuple(files),
        versions=tuple(sorted(versions)),
    )


def _files(folder: Path, base: Path, above: set[Path]) -> Iterator[RepositoryFile]:
    """Yield the files below a folder, links followed, but for links in a circle."""
    real = folder.resolve()
    if real in above:
        return
    for entry in sorted(folder.iterdir()):
        if _is_hidden(entry):
            continue
        if entry.is_dir():
            yield from _files(entry, base, above | {real})
        elif entry.is_file():
            yield RepositoryFile(entry.relative_to(base).as_posix(), entry)


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")
