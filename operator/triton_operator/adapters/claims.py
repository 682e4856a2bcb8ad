"""Artifacts that lie on a claim already, mounted into the sync Job."""

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from triton_operator.errors import InvalidSpecError
from triton_operator.repository.layout import check_name, check_path
from triton_operator.repository.sources import (
    InvalidSourceError,
    Sink,
    SourceFile,
    SourceNotFoundError,
    SourceRefusedError,
    SourceUnreachableError,
    SyncError,
)

CHUNK_BYTES = 4 << 20
_IGNORED = "lost+found"


class ClaimSources:
    """``pvc://<claim>/<path>``: a file or a folder of a claim that the Job has mounted.

    Always copied, on the same claim too: a hard link would let whoever changes their file change a
    generation that is served.
    """

    def __init__(self, claims: Mapping[str, Path]) -> None:
        self._claims = claims

    def list_files(self, uri: str) -> tuple[SourceFile, ...]:
        """Return the file, or all files of the folder; nothing outside the claim is followed."""
        path = self._resolve(uri)
        try:
            if not path.is_dir() and not uri.endswith("/"):
                return (SourceFile(uri, check_name(uri.rpartition("/")[2]), _size(path, uri)),)
            files = tuple(
                SourceFile(f"{uri.rstrip('/')}/{each}", each, _size(path / each, uri))
                for each in self._walk(path, uri)
            )
        except OSError as error:
            raise _read_error(error, uri) from error
        if not files:
            raise InvalidSourceError(
                f"{uri} is no folder with files: put the model's files into it"
            )
        return files

    def fetch(self, file: SourceFile, sink: Sink) -> None:
        """Copy the file's content; refuse it if it changes meanwhile."""
        try:
            source = self._resolve(file.uri).open("rb", buffering=0)
        except OSError as error:
            raise _read_error(error, file.uri) from error
        with source:
            before = os.fstat(source.fileno())
            while chunk := _read_chunk(lambda: source.read(CHUNK_BYTES), file.uri):
                sink.write(chunk)
            after = os.fstat(source.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise SourceUnreachableError(f"{file.uri} was written to while it was being copied")

    def _resolve(self, uri: str) -> Path:
        """Return the real path behind a uri, certain to lie in its claim."""
        claim, _, path = uri.removeprefix("pvc://").partition("/")
        if (mounted := self._claims.get(claim)) is None:
            raise InvalidSourceError(f"{uri}: claim {claim!r} is not mounted into the sync Job")
        relative = path.rstrip("/")
        try:
            inside = check_path(relative) if relative else PurePosixPath()
        except InvalidSpecError as error:
            raise InvalidSourceError(f"{uri}: {error}") from error
        root = mounted.resolve()
        try:
            real = (root / inside).resolve(strict=True)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SourceNotFoundError(
                f"{uri} does not exist: put the artifact on the claim or correct the path"
            ) from error
        except PermissionError as error:
            raise _read_error(error, uri) from error
        except (OSError, RuntimeError) as error:
            raise InvalidSourceError(f"{uri} cannot be followed: {error}") from error
        if not real.is_relative_to(root):
            raise InvalidSourceError(f"{uri} is a symbolic link that leads out of the claim")
        return real

    def _walk(self, folder: Path, uri: str) -> list[str]:
        """Return the paths of all files, relative to the folder."""
        found = []
        for base, folders, files in os.walk(folder, onerror=_raise):
            relative = Path(base).relative_to(folder)
            folders[:] = [name for name in folders if name != _IGNORED]
            for name in (*folders, *files):
                entry = (relative / name).as_posix()
                if name in files:
                    self._resolve(f"{uri.rstrip('/')}/{entry}")
                    found.append(entry)
                elif (folder / entry).is_symlink():
                    raise InvalidSourceError(
                        f"{uri}: {entry} is a symbolic link to a folder; put the folder there"
                    )
        return sorted(found)


def _read_chunk(read: Callable[[], bytes], uri: str) -> bytes:
    try:
        return read()
    except OSError as error:
        raise _read_error(error, uri) from error


def _read_error(error: OSError, uri: str) -> SyncError:
    if isinstance(error, PermissionError):
        return SourceRefusedError(f"{uri} may not be read by the sync Job: mend its mode or group")
    return SourceUnreachableError(f"{uri} cannot be read: {error}")


def _size(path: Path, uri: str) -> int:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise InvalidSourceError(f"{uri}: {path.name} is neither a file nor a folder")
    return status.st_size


def _raise(error: OSError) -> None:
    raise error
