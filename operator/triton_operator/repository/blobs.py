"""Artifacts on the claim: each fetched once, verified, and only then given its name."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from triton_operator.repository import disk
from triton_operator.repository.downloads import Downloads
from triton_operator.repository.integrity import Checksums
from triton_operator.repository.layout import Layout, check_sha256, is_blob_name
from triton_operator.repository.outcome import Event
from triton_operator.repository.partial import Partial, PartialBusyError
from triton_operator.repository.sources import (
    ChecksumMismatchError,
    InsufficientSpaceError,
    SourceChangedError,
    SourceFile,
    public_uri,
    write_error,
)

PROGRESS_SECONDS = 2.0
_RESUMED_BYTES = 4 << 20
"""Files from here on are gone on with by the next run; smaller ones are not worth a journal."""


class Blobs:
    """The ``blobs/`` folder during one run; called from several threads."""

    def __init__(
        self,
        layout: Layout,
        staging: disk.Staging,
        downloads: Downloads,
        report: Callable[[Event], None],
        *,
        checksums: Checksums | None = None,
    ) -> None:
        self._layout = layout
        self._staging = staging
        self._downloads = downloads
        self._report = report
        self._checksums = checksums
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str | None], str] = {}
        self._turns: dict[str, threading.Lock] = {}
        self._promised: dict[str, int] = {}
        """Bytes that files still take, by uri, while they are fetched."""
        self.bytes_copied = 0
        self.expected: set[Path] = set()
        """Downloads that this run, or the next one, goes on with."""

    def size(self, digest: str) -> int | None:
        """Return the bytes of the content with this sha256, None if it is not here."""
        blob = self._layout.blob(digest)
        return blob.stat().st_size if self._is_there(blob) else None

    def expect(self, files: Iterable[SourceFile]) -> None:
        """Say which files are to be fetched, before the first one is."""
        self.expected.update(folder for file in files if (folder := self._folder(file)))

    @contextmanager
    def room(self, files: Iterable[SourceFile], what: str) -> Iterator[None]:
        """Refuse to begin what cannot end for want of space; keep that space from the others.

        Raises:
            InsufficientSpaceError: ``what`` does not fit.

        """
        lacking = {file.uri: self._lacking(file) for file in files if self._find(file) is None}
        with self._lock:
            needed, free = sum(lacking.values()), disk.free_bytes(self._layout.root)
            if free is not None:
                others = (size for uri, size in self._promised.items() if uri not in lacking)
                free = max(0, free - sum(max(0, size) for size in others))
            if free is not None and needed > free:
                raise InsufficientSpaceError(
                    f"no space for {what} ({needed} bytes are needed, {free} are free): "
                    "enlarge the claim"
                )
            self._promised |= lacking
        try:
            yield
        finally:
            with self._lock:
                for uri in lacking:
                    self._promised.pop(uri, None)

    def ensure(self, file: SourceFile, object_: str) -> Path:
        """Return the blob with a file's content, fetched if it is not there.

        Args:
            file: What to fetch; its ``sha256`` is what the content must have.
            object_: The model that wants it, for the events.

        Raises:
            SyncError: it cannot be had.

        """
        with self._turn(file):
            blob = self._find(file)
            if blob is None:
                return self._fetch(file, object_)
        size = blob.stat().st_size
        uri = public_uri(file.uri)
        self._report(Event("reused", object_, uri, size, total=size, sha256=blob.name))
        return blob

    def flush(self) -> None:
        """Make sure that blobs, not only their content, are on the disk."""
        if self._layout.blobs.is_dir():
            disk.flush_folder(self._layout.blobs)

    @contextmanager
    def _turn(self, file: SourceFile) -> Iterator[None]:
        """Wait until no other thread fetches this content: then it need not be fetched again."""
        names = {f"{file.uri} {file.secret}", file.identity or "", file.sha256 or ""} - {""}
        with ExitStack() as turns:
            for name in sorted(names):  # in one order, lest two wait for each other
                turns.enter_context(self._turns.setdefault(name, threading.Lock()))
            yield

    def _find(self, file: SourceFile) -> Path | None:
        """Return the blob of a file, as far as its digest or what the source says tells."""
        digest = file.sha256
        if digest is None and file.identity is None:
            digest = self._known.get((file.uri, file.secret))
        elif digest is None and file.identity is not None:
            name = Path(disk.read_link(self._layout.index / file.identity) or "").name
            digest = name if is_blob_name(name) else None
        blob = self._layout.blob(digest) if digest is not None else None
        return blob if blob is not None and self._is_there(blob) else None

    def _is_there(self, blob: Path) -> bool:
        """Return whether a blob is there; with checksums, whether it is what its name says."""
        return blob.is_file() and (self._checksums is None or self._checksums.is_blob(blob))

    def _lacking(self, file: SourceFile) -> int:
        """Return the bytes that a file will still take; 0 if nobody knows."""
        present = 0
        if (folder := self._folder(file)) is not None and (folder / "content").is_file():
            present = (folder / "content").stat().st_blocks * 512
        return max(0, (file.size or 0) - present)

    def _folder(self, file: SourceFile) -> Path | None:
        """Return the folder of a download that can be gone on with."""
        if file.identity is None or not file.ranges or (file.size or 0) < _RESUMED_BYTES:
            return None
        return self._layout.download(self._staging.owner, file.identity)

    def _fetch(self, file: SourceFile, object_: str) -> Path:
        uri = public_uri(file.uri)
        started = time.monotonic()
        try:
            disk.ensure_folder(self._layout.blobs)
            with self._open(file) as partial:
                present = partial.present
                self._report(Event("fetching", object_, uri, present or None, file.size))
                progress = _Progress(file, present, object_, self._report)

                def arrived(size: int) -> None:
                    progress(size)
                    with self._lock:
                        if file.uri in self._promised:
                            self._promised[file.uri] -= size

                try:
                    self._downloads.fetch(file, partial, arrived, object_)
                except SourceChangedError:
                    partial.discard()
                    raise
                finally:
                    with self._lock:
                        self.bytes_copied += progress.fetched
                digest = partial.finish()
                size = partial.present
                if file.sha256 is not None and digest != check_sha256(file.sha256):
                    partial.discard()
                    raise ChecksumMismatchError(
                        f"{uri} has sha256 {digest}, not {file.sha256}: "
                        "correct the model's sha256 or restore the artifact"
                    )
                blob = self._publish(partial, digest, object_)
                self._remember(file, digest)
        except OSError as error:
            free = disk.free_bytes(self._layout.root)
            raise write_error(error, uri, needed=file.size, free=free) from error
        seconds = round(time.monotonic() - started, 3)
        self._report(
            Event("fetched", object_, uri, size, total=size, sha256=digest, seconds=seconds)
        )
        return blob

    def _open(self, file: SourceFile) -> Partial:
        folder = self._folder(file)
        if folder is not None:
            disk.ensure_folder(self._layout.staging)
            try:
                return Partial.resume(folder)
            except PartialBusyError:
                pass
        return Partial.create(self._staging.new_path())

    def _publish(self, partial: Partial, digest: str, object_: str) -> Path:
        blob = self._layout.blob(digest)
        with self._lock:
            damaged = blob.exists() and not self._is_there(blob)
            if damaged or not blob.exists():
                partial.path.rename(blob)  # else its content would be on the claim twice
        partial.discard()
        if damaged:
            self._report(Event("mended", object_, path=f"blobs/{digest}"))
        return blob

    def _remember(self, file: SourceFile, digest: str) -> None:
        """Note what a file turned out to be, for as long as its source says that it is the same."""
        if file.identity is None:
            with self._lock:
                self._known[file.uri, file.secret] = digest
            return
        disk.ensure_folder(self._layout.index)
        link = self._layout.index / file.identity
        target = f"../blobs/{digest}"
        if disk.read_link(link) != target:
            disk.replace_link(link, target, self._staging)


class _Progress:
    """Counts a file's bytes, and tells of them now and then."""

    def __init__(
        self, file: SourceFile, present: int, object_: str, report: Callable[[Event], None]
    ) -> None:
        self._file = file
        self._present = present
        self._object = object_
        self._report = report
        self._lock = threading.Lock()
        self._told = time.monotonic()
        self.fetched = 0

    def __call__(self, size: int) -> None:
        with self._lock:
            self.fetched += size
            now = time.monotonic()
            due = now - self._told >= PROGRESS_SECONDS
            self._told = now if due else self._told
            done = self._present + self.fetched
        if due:
            uri = public_uri(self._file.uri)
            self._report(Event("progress", self._object, uri, done, self._file.size))
