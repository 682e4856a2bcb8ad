"""Fetching files: several at once, large ones in several parts, with retries and limits."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential_jitter,
)

from triton_operator.repository.connections import Connections, Stopped
from triton_operator.repository.manifest import SourceRef
from triton_operator.repository.partial import Partial
from triton_operator.repository.sources import (
    SourceChangedError,
    SourceFile,
    Sources,
    SourceUnreachableError,
    public_uri,
)

Item = TypeVar("Item")

_PIECE_BYTES = (4 << 20, 64 << 20)
"""Smallest and largest part of a file that one request asks for."""
_PIECES_PER_CONNECTION = 4
_PROGRESS_BYTES = 8 << 20
"""What attempts must have brought to give back the ones that were spent."""
_WAIT_SECONDS = (1.0, 30.0)
"""First and longest pause before another attempt."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may take of the network."""

    parallel: int = 4
    """Connections at a time."""
    bytes_per_second: float | None = None
    attempts: int = 3
    """Tries in a row without progress before a source counts as unreachable."""


class Downloads:
    """Fetches files within the limits of one run."""

    def __init__(
        self,
        sources: Sources,
        limits: Limits,
        *,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._sources = sources
        self._limits = limits
        self._connections = Connections(limits.parallel)
        self._stopped = threading.Event()
        self._sleep = sleep or self._wait
        self._throttle = Throttle(limits.bytes_per_second, self._sleep)

    def stop(self) -> None:
        """End what is going on, as soon as its next bytes arrive."""
        self._stopped.set()
        self._connections.stop()

    def each(self, function: Callable[[Item], object], items: Iterable[Item]) -> None:
        """Call a function for each item, several at once; the first error ends it."""
        queue = deque(items)
        failed = threading.Event()

        def work() -> None:
            while not failed.is_set():
                if self._stopped.is_set():
                    raise Stopped  # what is left out must not look done
                try:
                    item = queue.popleft()
                except IndexError:
                    return
                try:
                    function(item)
                except BaseException:
                    failed.set()
                    raise

        workers = min(self._limits.parallel, len(queue))
        if workers <= 1:
            return work()
        with ThreadPoolExecutor(workers) as pool:
            try:
                futures = [pool.submit(work) for _ in range(workers)]
                wait(futures, return_when=FIRST_EXCEPTION)
            except BaseException:  # the process is told to end
                self.stop()
                raise
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in sorted(errors, key=lambda each: isinstance(each, Stopped)):
            raise error
        return None

    def list_files(self, source: SourceRef) -> tuple[SourceFile, ...]:
        """Return what a source has; see :class:`Sources`."""
        retrying = self._retrying(stop_after_attempt(self._limits.attempts))
        return retrying(self._sources.list_files, source)

    def fetch(
        self, file: SourceFile, partial: Partial, tell: Callable[[int], None], model: str = ""
    ) -> None:
        """Complete a partial file.

        Args:
            file: What to fetch.
            partial: Where to; what it holds is not fetched again where the source has ranges.
            tell: Told how many bytes each part has that arrives; of those that are fetched
                anew, their number below 0.
            model: For which: models share the connections.

        Raises:
            SyncError: the source failed; what has arrived stays, unless the source changed.
            OSError: the claim failed.

        """
        cancelled = threading.Event()
        if file.ranges and file.size is not None:
            spans = [
                span
                for gap in partial.missing(file.size)
                for span in _split(*gap, self._piece_bytes(file.size))
            ]
            pieces = [_Piece(file, partial, *span, tell, cancelled, model) for span in spans]
            self.each(self._complete, pieces)
        else:
            if partial.present:
                partial.restart()
            self._complete(_Piece(file, partial, 0, None, tell, cancelled, model))

    def _wait(self, seconds: float) -> None:
        self._stopped.wait(seconds)

    def _piece_bytes(self, size: int) -> int:
        smallest, largest = _PIECE_BYTES
        return max(smallest, min(largest, size // (self._limits.parallel * _PIECES_PER_CONNECTION)))

    def _complete(self, piece: "_Piece") -> None:
        try:
            while not self._retrying(_Patience(piece, self._limits.attempts))(self._read, piece):
                pass  # another model had its turn
        except BaseException:
            piece.cancelled.set()
            raise

    def _retrying(self, stop: Callable[[RetryCallState], bool]) -> Retrying:
        return Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop,
            wait=wait_exponential_jitter(*_WAIT_SECONDS),
            sleep=self._sleep,
            reraise=True,
        )

    def _read(self, piece: "_Piece") -> bool:
        """Read on; False where another model wants the connection before the end."""
        file = piece.file
        if piece.stop is None and piece.position:
            piece.partial.restart()
            piece.tell(-piece.position)
            piece.position = 0
        with (
            self._connections.use(piece.model) as is_wanted,
            self._sources.read(file, piece.position, piece.stop) as chunks,
        ):
            for chunk in chunks:
                self._throttle.take(len(chunk))
                if self._stopped.is_set() or piece.cancelled.is_set():
                    raise Stopped
                if piece.stop is not None and piece.position + len(chunk) > piece.stop:
                    raise SourceChangedError(f"{public_uri(file.uri)} sent more than it said")
                piece.partial.write(piece.position, chunk)
                piece.position += len(chunk)
                piece.tell(len(chunk))
                if piece.stop is not None and piece.position < piece.stop and is_wanted():
                    return False
        expected = piece.stop if piece.stop is not None else file.size
        if expected is not None and piece.position != expected:
            raise SourceUnreachableError(
                f"{public_uri(file.uri)} ended after {piece.position} of {expected} bytes; "
                "it is tried again"
            )
        return True


@dataclass(slots=True)
class _Piece:
    """A part of a file on its way."""

    file: SourceFile
    partial: Partial
    position: int
    stop: int | None
    """None: the whole file, from a source that gives no parts."""
    tell: Callable[[int], None]
    cancelled: threading.Event
    model: str


class _Patience:
    """Ends after so many attempts in a row that brought next to nothing."""

    def __init__(self, piece: _Piece, attempts: int) -> None:
        self._piece = piece
        self._attempts = attempts
        self._furthest = piece.position
        self._forgiven = 0

    def __call__(self, state: RetryCallState) -> bool:
        if self._piece.position >= self._furthest + _PROGRESS_BYTES:
            self._forgiven = state.attempt_number - 1
        self._furthest = max(self._furthest, self._piece.position)
        return state.attempt_number - self._forgiven >= self._attempts


class Throttle:
    """Holds a run to a rate, over all its connections."""

    def __init__(
        self,
        rate: float | None,
        sleep: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare for ``rate`` bytes per second; None is no limit."""
        self._rate = rate
        self._sleep = sleep
        self._clock = clock
        self._lock = threading.Lock()
        self._due = 0.0

    def take(self, size: int) -> None:
        """Wait until so many bytes may have arrived."""
        if self._rate is None:
            return
        with self._lock:
            now = self._clock()
            self._due = max(self._due, now) + size / self._rate
            pause = self._due - now
        self._sleep(pause)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, SourceUnreachableError) and not isinstance(error, SourceChangedError)


def _split(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    for begin in range(start, stop, size):
        yield begin, min(begin + size, stop)
