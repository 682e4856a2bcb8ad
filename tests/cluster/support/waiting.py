"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


class NotInTimeError(AssertionError):
    """What a test waited for did not come."""


def wait_for(
    what: str,
    probe: Callable[[], T],
    seconds: float,
    *,
    every: float = 0.1,
    seen: Callable[[], object] | None = None,
) -> T:
    """Return the first answer of ``probe`` that is true; ``seen`` says what there is instead."""
    for _ in attempts(seconds, every=every):
        if found := probe():
            return found
    instead = f"; instead: {seen()}" if seen is not None else ""
    raise NotInTimeError(f"{what}: not within {seconds} s{instead}")


def holds_for(what: str, probe: Callable[[], object], seconds: float) -> None:
    """Fail if ``probe`` is not true at any moment of the next seconds."""
    for _ in attempts(seconds, every=0.1):
        assert probe(), what


def attempts(seconds: float, *, every: float) -> Iterator[float]:
    """Yield the seconds gone until they are over, at least twice."""
    start = time.monotonic()
    yield 0.0
    while (gone := time.monotonic() - start) < seconds:
        time.sleep(every)
        yield gone
