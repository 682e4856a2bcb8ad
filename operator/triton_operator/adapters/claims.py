"""Artifacts that lie on a claim already, mounted into the sync Job."""

import io
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from triton_operator.errors import InvalidSpecError
from triton_operator.repository.layout import check_name, check_path
from triton_operator.repository.manifest import SourceRef
from triton_operator.repository.sources import (
    InvalidSourceError,
    SourceChangedError,
    SourceFile,
    SourceNotFoundError,
    SourceRefusedError,
    SourceUnreachableError,
    SyncError,
)

CHUNK_BYTES = 1 << 20
_IGNORED = "lost+found"


class ClaimSources:
    """``pvc://<claim>/<path>``: a file or a folder of a claim that the Job has mounted.

    Always copied, on the same claim too: a hard link would let whoever changes their file change a
    generation that is served.
    """

    def __init__(self, claims: Mapping[str, Path]) -> None:
        self._claims = claims

    def list_files(self, source: SourceRef) -> tuple[SourceFile, ...]:
        """Return the file, or all files of the folder; nothing outside the claim is followed."""
        uri = source.uri
        path = self._resolve(uri)
        try:
            if not path.is_dir() and not uri.endswith("/"):
                return (_describe(uri, check_name(uri.rpartition("/")[2]), path, uri),)
            files = tuple(
                _describe(f"{uri.rstrip('/')}/{each}", each, path / each, uri)
                for each in self._walk(path, uri)
            )
        except OSError as error:
            raise _read_error(error, uri) from error
        if not files:
            raise InvalidSourceError(
                f"{uri} is no folder with files: put the model's files into it"
            )
        return files

    @contextmanager
    def read(self, file: SourceFile, start: int, stop: int | None) -> Iterator[Iterator[bytes]]:
        """Read a part of the file; refuse it if it changes meanwhile."""
        try:
            source = self._resolve(file.uri).open("rb", buffering=0)
        except OSError as error:
            raise _read_error(error, file.uri) from error
        with source:
            self._check_inside(source.fileno(), file.uri)
            _check_unchanged(source.fileno(), file)
            yield _read_part(source, start, file.size if stop is None else stop, file)
            _check_unchanged(source.fileno(), file)

    def _resolve(self, uri: str) -> Path:
        """Return the real path behind a uri, certain to lie in its claim."""
        claim, _, path = uri.removeprefix("pvc://").partition("/")
        if (mounted := self._claims.get(claim)) is None:
            raise SourceNotFoundError(
                f"{uri}: there is no claim {claim!r} in this namespace: create it, or correct"
                " the uri"
            )
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

    def _check_inside(self, descriptor: int, uri: str) -> None:
        """Refuse what was opened through a link that was put there after the look at the path."""
        root = self._claims[uri.removeprefix("pvc://").partition("/")[0]].resolve()
        if not Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(root):
            raise InvalidSourceError(f"{uri} is a symbolic link that leads out of the claim")

    def _walk(self, folder: Path, uri: str) -> list[str]:
        """Return the paths of all files, relative to the folder."""
        found = []
        for base, folders, files in os.walk(folder, onerror=_raise):
            relative = Path(base).relative_to(folder)
            folders[:] = [name for name in folders if name != _IGNORED]
            for name in folders:
                entry = (relative / name).as_posix()
                if (folder / entry).is_symlink():
                    raise InvalidSourceError(
                        f"{uri}: {entry} is a symbolic link to a folder; put the folder there"
                    )
            for name in files:
                entry = (relative / name).as_posix()
                self._resolve(f"{uri.rstrip('/')}/{entry}")
                found.append(entry)
        return sorted(found)


def _read_part(
    source: io.FileIO, start: int, stop: int | None, file: SourceFile
) -> Iterator[bytes]:
    try:
        source.seek(start)
        left = math.inf if stop is None else stop - start
        while left > 0 and (chunk := source.read(int(min(CHUNK_BYTES, left)))):
            left -= len(chunk)
            yield chunk
    except OSError as error:
        raise _read_error(error, file.uri) from error


def _check_unchanged(descriptor: int, file: SourceFile) -> None:
    if _validator(os.fstat(descriptor)) != file.validator:
        raise SourceChangedError(f"{file.uri} was written to while it was being copied")


def _read_error(error: OSError, uri: str) -> SyncError:
    if isinstance(error, PermissionError):
        return SourceRefusedError(f"{uri} may not be read by the sync Job: mend its mode or group")
    return SourceUnreachableError(f"{uri} cannot be read: {error}")


def _describe(uri: str, relative: str, path: Path, shown: str) -> SourceFile:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise InvalidSourceError(f"{shown}: {path.name} is neither a file nor a folder")
    return SourceFile(uri, relative, status.st_size, _validator(status), ranges=True)


def _validator(status: os.stat_result) -> str:
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _raise(error: OSError) -> None:
    raise error
