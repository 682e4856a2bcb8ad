"""Who may use a run's few connections: no model keeps them all while another has none."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_TURN_SECONDS = 10.0
"""How long a model may keep its only connection while another one waits for its first."""


class Stopped(BaseException):
    """The run ends, or another part of the same file failed."""


class Connections:
    """Hands out connections to models, to those first that have the fewest."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._free = limit
        self._now = clock
        self._held: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._news = threading.Condition()
        self._stopped = False

    @contextmanager
    def use(self, model: str) -> Iterator[Callable[[], bool]]:
        """Wait for a connection; yield what tells whether another model should have it now."""
        with self._news:
            self._waiting[model] += 1
            try:
                self._news.wait_for(lambda: self._stopped or self._is_next(model))
            finally:
                self._waiting[model] -= 1
            if self._stopped:
                raise Stopped
            self._free -= 1
            self._held[model] += 1
            self._news.notify_all()  # who comes next may be another one now
        since = self._now()
        try:
            yield lambda: self._is_wanted(model, self._now() - since)
        finally:
            with self._news:
                self._free += 1
                self._held[model] -= 1
                self._news.notify_all()

    def stop(self) -> None:
        """Let nobody wait any longer."""
        with self._news:
            self._stopped = True
            self._news.notify_all()

    def _is_next(self, model: str) -> bool:
        fewest = min(self._held[each] for each, count in self._waiting.items() if count)
        return self._free > 0 and self._held[model] == fewest

    def _is_wanted(self, model: str, seconds: float) -> bool:
        if self._held[model] <= 1 and seconds < _TURN_SECONDS:
            return False
        with self._news:
            others = (each for each, count in self._waiting.items() if count and each != model)
            return not self._free and any(not self._held[each] for each in others)
