"""A file under construction: parts arrive in any order, and outlive a run that is killed.

A journal beside the content has a line for every part written, with its checksum. What was not on
the disk yet when a node died, or is damaged, does not match its line and is fetched again.
"""

import errno
import fcntl
import os
import shutil
import threading
import zlib
from bisect import bisect_left
from collections.abc import Callable, Collection
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Self

from triton_operator.repository import disk
from triton_operator.repository.layout import Layout, is_download, staging_owner

_BLOCK_BYTES = 4 << 20
_MAX_PART_BYTES = 64 << 20
_CANNOT_LOCK = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_CONTENT, _JOURNAL = "content", "journal"


class PartialBusyError(Exception):
    """Another run works on this download, or nobody can tell."""


class Extents:
    """Which bytes of a file are there: sorted, none touching another."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []

    def add(self, start: int, stop: int) -> None:
        """Add the bytes from ``start`` up to ``stop``."""
        first = bisect_left(self._spans, start, key=lambda span: span[1])
        last = first
        while last < len(self._spans) and self._spans[last][0] <= stop:
            start = min(start, self._spans[last][0])
            stop = max(stop, self._spans[last][1])
            last += 1
        self._spans[first:last] = [(start, stop)]

    @property
    def total(self) -> int:
        """How many bytes are there."""
        return sum(stop - start for start, stop in self._spans)

    @property
    def prefix(self) -> int:
        """How many bytes are there without a gap, from the beginning."""
        return self._spans[0][1] if self._spans and self._spans[0][0] == 0 else 0

    def missing(self, size: int) -> list[tuple[int, int]]:
        """Return the gaps of a file of this size."""
        edges = [0, *(edge for span in self._spans for edge in span), size]
        pairs = zip(edges[::2], edges[1::2], strict=True)
        return [(start, stop) for start, stop in pairs if start < stop]


class Partial:
    """The content that has arrived so far; ``write`` may be called from several threads."""

    def __init__(self, path: Path, descriptor: int, journal: int | None) -> None:
        self.path = path
        self._descriptor = descriptor
        self._journal = journal
        self._lock = threading.Lock()
        self._extents = Extents()
        self._digest = RunningDigest(descriptor)

    @classmethod
    def create(cls, path: Path) -> Self:
        """Begin a file that goes with its run."""
        return cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, disk.FILE_MODE), None)

    @classmethod
    def resume(cls, folder: Path) -> Self:
        """Go on with the download in this folder, or begin it.

        Raises:
            PartialBusyError: another run is at it.

        """
        disk.ensure_folder(folder)
        path = folder / _CONTENT
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, disk.FILE_MODE)
        try:
            _lock(descriptor, path)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
            journal = os.open(folder / _JOURNAL, flags, disk.FILE_MODE)
        except BaseException:
            os.close(descriptor)
            raise
        partial = cls(path, descriptor, journal)
        partial._read_journal()
        return partial

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._digest.close()
        os.close(self._descriptor)
        if self._journal is not None:
            os.close(self._journal)

    @property
    def present(self) -> int:
        """Bytes that are there."""
        with self._lock:
            return self._extents.total

    def missing(self, size: int) -> list[tuple[int, int]]:
        """Return the parts that a file of this size lacks."""
        with self._lock:
            return self._extents.missing(size)

    def write(self, offset: int, part: bytes) -> None:
        """Write a part to its place."""
        view = memoryview(part)
        while view:
            at = offset + len(part) - len(view)
            view = view[os.pwrite(self._descriptor, view, at) :]
        line = f"{offset} {len(part)} {zlib.crc32(part)}\n" if self._journal is not None else ""
        with self._lock:
            if self._journal is not None:
                os.write(self._journal, line.encode())
            self._extents.add(offset, offset + len(part))
            prefix = self._extents.prefix
        self._digest.advance(prefix)

    def restart(self) -> None:
        """Forget everything; nothing may be writing."""
        self._digest.close()
        for descriptor in (self._descriptor, self._journal):
            if descriptor is not None:
                os.ftruncate(descriptor, 0)
        self._extents = Extents()
        self._digest = RunningDigest(self._descriptor)

    def finish(self) -> str:
        """Flush to the disk; return the sha256 of the whole content."""
        digest = self._digest.finish(self.present)
        disk.finish_file(self._descriptor, self.path)
        return digest

    def discard(self) -> None:
        """Remove what has arrived, or what is left once the content has moved away."""
        if self._journal is None:
            self.path.unlink(missing_ok=True)
        else:
            shutil.rmtree(self.path.parent, ignore_errors=True)

    def _read_journal(self) -> None:
        assert self._journal is not None
        with open(self._journal, closefd=False) as journal:
            for line in journal:
                self._believe(line)
        self._digest.advance(self._extents.prefix)

    def _believe(self, line: str) -> None:
        """Take a line of the journal for true if the content agrees."""
        try:
            offset, length, checksum = (int(number) for number in line.split())
        except ValueError:
            return  # cut off when the node died
        if offset < 0 or not 0 < length <= _MAX_PART_BYTES:
            return
        part = os.pread(self._descriptor, length, offset)
        if len(part) == length and zlib.crc32(part) == checksum:
            self._extents.add(offset, offset + length)


class RunningDigest:
    """The sha256 of a file that grows, computed beside the writing once that is worth a thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._sha256 = sha256()
        self._buffer = memoryview(b"")
        self._position = 0
        self._available = 0
        self._closed = False
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None

    def advance(self, available: int) -> None:
        """Say how much of the file is there without a gap."""
        with self._news:
            self._available = max(self._available, available)
            if self._thread is None and self._available >= _BLOCK_BYTES:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
            self._news.notify()

    def finish(self, size: int) -> str:
        """Return the digest of the first ``size`` bytes, all of which are there."""
        self.close()
        if self._error is not None:
            raise self._error
        self._consume(size, lambda: False)
        return self._sha256.hexdigest()

    def close(self) -> None:
        """Stop the thread."""
        with self._news:
            self._closed = True
            self._news.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._closed:
                with self._news:
                    self._news.wait_for(lambda: self._closed or self._position < self._available)
                    available = self._available
                self._consume(available, lambda: self._closed)
        except OSError as error:
            self._error = error

    def _consume(self, available: int, stop: Callable[[], bool]) -> None:
        if len(self._buffer) < min(_BLOCK_BYTES, available - self._position):
            self._buffer = memoryview(bytearray(min(_BLOCK_BYTES, available)))
        while self._position < available and not stop():
            wanted = self._buffer[: available - self._position]
            read = os.preadv(self._descriptor, [wanted], self._position)
            if not read:
                raise OSError(errno.EIO, "the file became shorter while it was being written")
            self._sha256.update(wanted[:read])
            self._position += read


def remove_downloads(layout: Layout, server: str, keep: Collection[Path]) -> None:
    """Remove a server's downloads that nobody will go on with."""
    for entry in disk.list_folder(layout.staging):
        folder = Path(entry.path)
        if not is_download(entry.name) or staging_owner(entry.name) != server or folder in keep:
            continue
        with suppress(PartialBusyError, OSError), Partial.resume(folder) as partial:
            partial.discard()


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino != os.fstat(descriptor).st_ino:
            raise PartialBusyError  # finished, and moved away, between our two steps
    except (BlockingIOError, FileNotFoundError) as error:
        raise PartialBusyError from error
    except OSError as error:
        if error.errno in _CANNOT_LOCK:
            raise PartialBusyError from error
        raise
