"""What is asked of a source, and when it is given up."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from triton_operator.repository.downloads import Downloads, Limits, Stopped, Throttle
from triton_operator.repository.partial import Partial
from triton_operator.repository.sources import (
    SourceChangedError,
    SourceFile,
    SourceNotFoundError,
    SourceUnreachableError,
)

SIZE = 40 << 20
CONTENT = bytes(range(256)) * (SIZE // 256)
FILE = SourceFile("s3://b/x", "x", SIZE, '"v1"', ranges=True)


class Source:
    """One file, which breaks off after so many bytes of each request."""

    def __init__(self, at_most: int = SIZE, error: Exception | None = None) -> None:
        self.at_most = at_most
        self.error = error
        self.asked: list[tuple[int, int | None]] = []
        self.open = self.most = 0
        self.lock = threading.Lock()

    @contextmanager
    def read(self, file: SourceFile, start: int, stop: int | None) -> Iterator[Iterator[bytes]]:
        with self.lock:
            self.asked.append((start, stop))
            self.open += 1
            self.most = max(self.most, self.open)
        try:
            yield self.chunks(start, SIZE if stop is None else stop)
        finally:
            with self.lock:
                self.open -= 1

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        for at in range(start, min(stop, start + self.at_most), 1 << 20):
            yield CONTENT[at : min(stop, at + (1 << 20))]
        if stop - start > self.at_most and self.error is not None:
            raise self.error


def fetch(source: Source, folder: Path, file: SourceFile = FILE, **limits) -> list[float]:
    waits: list[float] = []
    told: list[int] = []
    downloads = Downloads(source, Limits(**limits), sleep=waits.append)
    with Partial.create(folder / "x") as partial:
        downloads.fetch(file, partial, told.append)
    assert (folder / "x").read_bytes() == CONTENT
    assert sum(told) >= SIZE
    return waits


@pytest.mark.parametrize("parallel", [1, 4])
def test_every_byte_is_asked_for_once(tmp_path: Path, parallel: int) -> None:
    source = Source()
    assert fetch(source, tmp_path, parallel=parallel) == []
    spans = sorted(source.asked)
    assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])]
    assert spans[-1][1] == SIZE
    assert source.most <= parallel


def test_a_source_without_parts_is_asked_for_the_whole(tmp_path: Path) -> None:
    source = Source()
    fetch(source, tmp_path, SourceFile("https://h/x", "x", SIZE))
    assert source.asked == [(0, None)]


def test_what_is_fetched_anew_counts_once(tmp_path: Path) -> None:
    source, told = Source(at_most=1 << 20), []
    tries = iter([1 << 20, SIZE])
    read = source.read

    def mending(file: SourceFile, start: int, stop: int | None):
        source.at_most = next(tries)
        return read(file, start, stop)

    source.read = mending  # type: ignore[method-assign]
    downloads = Downloads(source, Limits(), sleep=lambda _: None)
    with Partial.create(tmp_path / "x") as partial:
        downloads.fetch(SourceFile("https://h/x", "x", SIZE), partial, told.append)
    assert sum(told) == SIZE


@pytest.mark.parametrize("error", [None, SourceUnreachableError("x")])
def test_progress_gives_back_the_attempts(tmp_path: Path, error) -> None:
    source = Source(at_most=9 << 20, error=error)
    assert len(fetch(source, tmp_path, parallel=1, attempts=2)) >= 1


def test_without_progress_it_ends_after_some_attempts(tmp_path: Path) -> None:
    source = Source(at_most=1 << 20, error=SourceUnreachableError("down"))
    with pytest.raises(SourceUnreachableError, match="down"):
        fetch(source, tmp_path, parallel=1, attempts=3)
    assert len(source.asked) == 3


@pytest.mark.parametrize("error", [SourceNotFoundError("gone"), SourceChangedError("changed")])
def test_what_does_not_pass_is_not_tried_again(tmp_path: Path, error: Exception) -> None:
    source = Source(at_most=1 << 20, error=error)
    with pytest.raises(type(error)):
        fetch(source, tmp_path, parallel=1)
    assert len(source.asked) == 1


def test_a_source_that_sends_too_much_is_not_believed(tmp_path: Path) -> None:
    source = Source()
    source.chunks = lambda start, stop: iter([CONTENT[start : stop + 1]])  # type: ignore[method-assign]
    with pytest.raises(SourceChangedError, match="more than"):
        fetch(source, tmp_path)


def test_one_failure_ends_the_others(tmp_path: Path) -> None:
    done = []

    def work(item: int) -> None:
        if item == 3:
            raise SourceNotFoundError("gone")
        done.append(item)

    with pytest.raises(SourceNotFoundError):
        Downloads(Source(), Limits(parallel=2)).each(work, range(10_000))
    assert len(done) < 10_000


@pytest.mark.parametrize("parallel", [1, 4])
def test_what_is_stopped_does_not_look_done(tmp_path: Path, parallel: int) -> None:
    downloads = Downloads(Source(), Limits(parallel=parallel))
    with Partial.create(tmp_path / "x") as partial:
        with pytest.raises(Stopped):
            downloads.fetch(FILE, partial, lambda _: downloads.stop())
        assert partial.missing(SIZE)
    with pytest.raises(Stopped):
        downloads.each(print, [1])


def test_the_rate_is_kept_over_all_connections() -> None:
    now = 100.0
    waits: list[float] = []
    throttle = Throttle(1000, waits.append, clock=lambda: now)
    for _ in range(3):
        throttle.take(500)
    assert waits == [0.5, 1.0, 1.5]
    now += 10
    throttle.take(100)
    assert waits[-1] == pytest.approx(0.1)
