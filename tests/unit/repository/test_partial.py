"""Files under construction, killed and damaged."""

import os
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_operator.repository.layout import Layout
from triton_operator.repository.partial import (
    Extents,
    Partial,
    PartialBusyError,
    remove_downloads,
)

CONTENT = os.urandom(9 << 20)
MEBIBYTE = 1 << 20


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), max_size=12))
def test_extents_know_what_is_there_and_what_is_missing(parts) -> None:
    extents, there = Extents(), set()
    for start, length in parts:
        extents.add(start, start + length)
        there |= set(range(start, start + length))
    missing = {byte for start, stop in extents.missing(60) for byte in range(start, stop)}
    assert missing == set(range(60)) - there
    assert extents.total == len(there)
    assert extents.prefix == next(byte for byte in range(61) if byte not in there)


def write(partial: Partial, start: int, stop: int) -> None:
    partial.write(start, CONTENT[start:stop])


def test_parts_may_come_in_any_order(tmp_path: Path) -> None:
    with Partial.create(tmp_path / "x") as partial:
        for start in (4, 0, 8, 2, 6, 5, 1, 7, 3):
            write(partial, start * MEBIBYTE, (start + 1) * MEBIBYTE)
        assert partial.finish() == sha256(CONTENT).hexdigest()
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_what_arrived_is_there_again(tmp_path: Path) -> None:
    with Partial.resume(tmp_path / "d") as partial:
        write(partial, 0, 10)
        write(partial, MEBIBYTE, 2 * MEBIBYTE)
    with Partial.resume(tmp_path / "d") as partial:
        assert partial.present == MEBIBYTE + 10
        assert partial.missing(len(CONTENT)) == [(10, MEBIBYTE), (2 * MEBIBYTE, len(CONTENT))]
        for start, stop in partial.missing(len(CONTENT)):
            write(partial, start, stop)
        assert partial.finish() == sha256(CONTENT).hexdigest()


def test_what_is_damaged_is_fetched_again(tmp_path: Path) -> None:
    with Partial.resume(tmp_path / "d") as partial:
        write(partial, 0, 100)
        write(partial, 100, 200)
        write(partial, 200, 300)
    with (tmp_path / "d/content").open("r+b") as content:
        content.seek(150)
        content.write(bytes(10))
        content.truncate(250)
    with (tmp_path / "d/journal").open("a") as journal:
        journal.write("300 -5 1\n0 999999999999 1\nxy\n500 10")
    with Partial.resume(tmp_path / "d") as partial:
        assert partial.missing(300) == [(100, 300)]


def test_two_runs_do_not_write_the_same_download(tmp_path: Path) -> None:
    with Partial.resume(tmp_path / "d"):
        with pytest.raises(PartialBusyError):
            Partial.resume(tmp_path / "d")
        remove_downloads(Layout(tmp_path), "s", ())
    with Partial.resume(tmp_path / "d"):
        pass


def test_only_downloads_that_nobody_wants_are_removed(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.staging.mkdir()
    names = ("a", "b", "c")
    mine = {name: layout.download("s", sha256(name.encode()).hexdigest()) for name in names}
    other = layout.download("t", sha256(b"a").hexdigest())
    run = layout.staging / "s.0123456789abcdef"
    for folder in (*mine.values(), other):
        with Partial.resume(folder) as partial:
            write(partial, 0, 5)
    run.mkdir()
    with Partial.resume(mine["b"]):
        remove_downloads(layout, "s", keep={mine["c"]})
    assert set(layout.staging.iterdir()) == {mine["b"], mine["c"], other, run}
