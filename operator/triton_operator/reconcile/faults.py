"""Bugs that show with one of many in a round: kept from the others, and told once."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from triton_operator.ports import Key


class Faults:
    """Whose turn failed by a bug, in this round and in the one before."""

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what
        self._before: dict[Key, str] = {}
        self._now: dict[Key, str] = {}

    def begin_round(self) -> None:
        """Give everybody a new turn."""
        self._before, self._now = self._now, {}

    @contextmanager
    def keep(self, key: Key) -> Iterator[None]:
        """End no more than the block where it fails; log it, unless the last round had the same."""
        try:
            yield
        except Exception as error:
            fault = self._now[key] = repr(error)
            level = logging.DEBUG if self._before.get(key) == fault else logging.ERROR
            message = "%s of %s: unexpected failure"
            self._logger.log(level, message, self._what, "/".join(key), exc_info=error)

    def __contains__(self, key: Key) -> bool:
        """Return whether it has failed in this round, which may go on, or in the last one."""
        return key in self._now or key in self._before

    def __len__(self) -> int:
        """Return how many have failed in this round."""
        return len(self._now)
