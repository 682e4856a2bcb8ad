"""A quantity over time, for as long as it matters."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trail(Generic[T]):
    """Values with the seconds of the clock that they are of, oldest first."""

    times: tuple[float, ...] = ()
    values: tuple[T, ...] = ()

    def grow(self, at: float, value: T, keep: float) -> "Trail[T]":
        """Add a value, and forget what is older than ``keep`` seconds."""
        first = bisect_left(self.times, at - keep)
        return Trail((*self.times[first:], at), (*self.values[first:], value))

    def since(self, at: float) -> tuple[T, ...]:
        """Return the values from ``at`` on."""
        return self.values[bisect_left(self.times, at) :]

    def valid_since(self, at: float) -> "Trail[T]":
        """Return the part from ``at`` on, with the value that was in force then."""
        first = max(0, bisect_right(self.times, at) - 1)
        return Trail(self.times[first:], self.values[first:])


NO_TRAIL: Trail[Any] = Trail()
