"""One loop per key: passes of one key never overlap, and news that come together cost one pass."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from triton_operator.errors import InvalidSpecError, OperatorError
from triton_operator.ports import UNEXPECTED, Backlog, Key, Telemetry

_MAX_BACKOFF_SECONDS = 300.0
_QUIET_SECONDS = 0.2
"""Time between two passes of one key: a starting Deployment alone sends a dozen events."""
_PATIENCE_SECONDS = 1.0
"""How long passes may take to their end when the process stops: what they have begun is then not
begun anew by the next process."""
_SPACING_SECONDS = 0.04
"""Time between repeated passes of all keys: where hundreds of servers start together, first passes
come first, and the many events of each cost few passes."""


class WorkQueue:
    """Runs ``work`` for a key whenever it is woken, and again after the pause it asks for.

    ``work`` returns the seconds until it is due again, or None when there is nothing left to do
    for the key: then its loop ends, and the next wake starts a new one.
    """

    def __init__(
        self, name: str, work: Callable[[Key], Awaitable[float | None]], telemetry: Telemetry
    ) -> None:
        self.name = name
        self._work = work
        self._telemetry = telemetry
        self._logger = logging.getLogger(f"triton_operator.{name}")
        self._loops: dict[Key, asyncio.Task[None]] = {}
        self._news: dict[Key, asyncio.Event] = {}
        self._passes: dict[Key, float] = {}
        self._waiting: dict[Key, float] = {}
        """Since when a key has news, in the order in which they came."""
        self._free_at = 0.0
        self._stopping = False

    def wake(self, key: Key) -> None:
        """Have a pass made soon; none is begun any more once all are being stopped."""
        if self._stopping:
            return
        self._news.setdefault(key, asyncio.Event()).set()
        self._waiting.setdefault(key, time.monotonic())
        if key not in self._loops:
            name = f"{self._logger.name} {'/'.join(key)}"
            self._loops[key] = asyncio.create_task(self._run(key), name=name)

    def __len__(self) -> int:
        return len(self._loops)

    def longest_pass(self) -> float:
        """Return for how many seconds the longest of the passes has run that run now."""
        now = asyncio.get_running_loop().time()
        return max((now - begun for begun in self._passes.values()), default=0.0)

    def backlog(self) -> Backlog:
        """Return how much waits for a pass."""
        first = next(iter(self._waiting.values()), None)
        oldest = time.monotonic() - first if first is not None else 0.0
        return Backlog(len(self._waiting), oldest)

    async def stop(self) -> None:
        """End all loops; a pass that does not end soon is cut off wherever it is."""
        self._stopping = True
        passing = [self._loops[key] for key in self._passes]
        for loop in set(self._loops.values()).difference(passing):
            loop.cancel()
        if passing:
            await asyncio.wait(passing, timeout=_PATIENCE_SECONDS)
        loops = list(self._loops.values())
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    async def _run(self, key: Key) -> None:
        news, failures = self._news[key], 0
        try:
            while True:
                # Clear before reading: what comes in between makes another pass.
                news.clear()
                self._took(key)
                pause, failures = await self._pass(key, failures)
                if self._stopping or (pause is None and not news.is_set()):
                    return
                await asyncio.sleep(_QUIET_SECONDS)
                await _wait(news, max(0.0, (pause or 0.0) - _QUIET_SECONDS))
                await self._turn()
        finally:
            del self._loops[key], self._news[key]
            self._waiting.pop(key, None)

    def _took(self, key: Key) -> None:
        """Measure how long the news that a pass begins with have waited."""
        since = self._waiting.pop(key, None)
        if since is not None:
            self._telemetry.waited(self.name, time.monotonic() - since)

    async def _turn(self) -> None:
        """Wait for the next moment that no other loop's repeated pass has taken."""
        now = asyncio.get_running_loop().time()
        turn = max(now, self._free_at)
        self._free_at = turn + _SPACING_SECONDS
        await asyncio.sleep(turn - now)

    async def _pass(self, key: Key, failures: int) -> tuple[float | None, int]:
        what, failed = "/".join(key), ""
        begun = self._passes[key] = asyncio.get_running_loop().time()
        try:
            return await self._work(key), 0
        except InvalidSpecError as error:
            failed = error.reason
            self._log(failures, "%s cannot be served as written: %s", what, error)
            return error.retry_seconds, failures + 1
        except OperatorError as error:
            failed = error.reason
            pause = backoff(failures + 1)
            self._log(failures + error.is_expected, "%s failed, retrying: %s", what, error)
            return pause, failures + 1
        except Exception:
            # A bug in one pass must not end the loop of this key for good.
            failed = UNEXPECTED
            self._logger.exception("%s: unexpected failure", what)
            return backoff(failures + 1), failures + 1
        finally:
            del self._passes[key]
            self._telemetry.passed(self.name, asyncio.get_running_loop().time() - begun, failed)

    def _log(self, failures: int, message: str, *args: object) -> None:
        # The same failure again is not news.
        self._logger.log(logging.DEBUG if failures else logging.WARNING, message, *args)


def backoff(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row, with jitter."""
    return min(_MAX_BACKOFF_SECONDS, 2.0 ** min(failures, 10)) * random.uniform(0.5, 1.0)


async def _wait(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        pass
