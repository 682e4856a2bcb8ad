"""Artifacts on the claim: each fetched once, verified, and only then given its name."""

import io
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Self

from triton_operator.repository.disk import (
    Staging,
    ensure_folder,
    finish_file,
    flush_folder,
    free_bytes,
)
from triton_operator.repository.integrity import Checksums
from triton_operator.repository.layout import Layout, check_sha256
from triton_operator.repository.outcome import Event
from triton_operator.repository.sources import (
    ChecksumMismatchError,
    InsufficientSpaceError,
    SourceFile,
    Sources,
    public_uri,
    write_error,
)

PROGRESS_SECONDS = 2.0


class Blobs:
    """The ``blobs/`` folder during one run."""

    def __init__(
        self,
        layout: Layout,
        staging: Staging,
        sources: Sources,
        report: Callable[[Event], None],
        *,
        checksums: Checksums | None = None,
    ) -> None:
        self._layout = layout
        self._staging = staging
        self._sources = sources
        self._report = report
        self._checksums = checksums
        self._known: dict[str, str] = {}
        self.bytes_copied = 0

    def ensure(self, file: SourceFile, expected: str | None, object_: str) -> Path:
        """Return the blob with a file's content, fetched if it is not there.

        Args:
            file: What to fetch.
            expected: The sha256 that it must have; None accepts what arrives.
            object_: The model that wants it, for the events.

        Raises:
            SyncError: it cannot be had.

        """
        digest = expected or self._known.get(file.uri)
        if digest and self._is_there(blob := self._layout.blob(digest)):
            size = blob.stat().st_size
            self._report(Event("reused", object_, public_uri(file.uri), size, sha256=digest))
            return blob
        blob = self._fetch(file, expected, object_)
        self._known[file.uri] = blob.name
        return blob

    def _fetch(self, file: SourceFile, expected: str | None, object_: str) -> Path:
        uri = public_uri(file.uri)
        started = time.monotonic()
        self._report(Event("fetching", object_, uri, total=file.size))
        try:
            ensure_folder(self._layout.blobs)
            partial = self._staging.new_path()
            with _FileSink(partial, uri, object_, self._report, size=file.size) as sink:
                if file.size is not None:
                    sink.expect(file.size)
                self._sources.fetch(file, sink)
                digest = sink.finish()
            self.bytes_copied += sink.position
            if expected and digest != check_sha256(expected):
                partial.unlink()
                raise ChecksumMismatchError(
                    f"{uri} has sha256 {digest}, not {expected}: "
                    "correct the model's sha256 or restore the artifact"
                )
            blob = self._publish(partial, digest, object_)
        except OSError as error:
            raise write_error(error, uri, needed=file.size, free=None) from error
        seconds = round(time.monotonic() - started, 3)
        fetched = Event("fetched", object_, uri, sink.position, seconds=seconds, sha256=digest)
        self._report(fetched)
        return blob

    def _publish(self, partial: Path, digest: str, object_: str) -> Path:
        blob = self._layout.blob(digest)
        if self._is_there(blob):
            partial.unlink()  # replacing it would leave its content twice on the claim
        else:
            damaged = blob.exists()
            partial.rename(blob)
            flush_folder(blob.parent)
            if damaged:
                self._report(Event("mended", object_, path=f"blobs/{digest}"))
        return blob

    def _is_there(self, blob: Path) -> bool:
        """Return whether a blob is there; with checksums, whether it is what its name says."""
        return blob.is_file() and (self._checksums is None or self._checksums.is_blob(blob))


class _FileSink:
    """A file under construction: hashed while it is written, and watched for progress."""

    def __init__(
        self,
        path: Path,
        uri: str,
        object_: str,
        report: Callable[[Event], None],
        *,
        size: int | None,
    ) -> None:
        self._path = path
        self._uri = uri
        self._object = object_
        self._report = report
        self._size = size
        self._position = 0
        self._digest = sha256()
        self._reported = time.monotonic()
        self._file: io.FileIO

    def __enter__(self) -> Self:
        self._file = io.FileIO(self._path, "x")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def position(self) -> int:
        return self._position

    def expect(self, size: int) -> None:
        if size != self._size:
            self._size = size
            self._tell()
        free = free_bytes(self._path.parent)
        needed = size - self._position
        if free is not None and free < needed:
            raise InsufficientSpaceError(
                f"no space for {self._uri} ({needed} bytes are needed, {free} are free): "
                "enlarge the claim"
            )

    def write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        try:
            while view:
                written = self._file.write(view)
                view = view[written:]
        except OSError as error:
            free = free_bytes(self._path.parent)
            raise write_error(error, self._uri, needed=self._size, free=free) from error
        self._digest.update(chunk)
        self._position += len(chunk)
        if time.monotonic() - self._reported >= PROGRESS_SECONDS:
            self._tell()

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._digest = sha256()
        self._position = 0

    def finish(self) -> str:
        """Flush to the disk; return the sha256 of everything written."""
        finish_file(self._file.fileno(), self._path)
        return self._digest.hexdigest()

    def _tell(self) -> None:
        self._reported = time.monotonic()
        self._report(Event("progress", self._object, self._uri, self._position, self._size))
