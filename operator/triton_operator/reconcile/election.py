"""Who acts, where several operators run: the one that holds the Lease, and no longer than it may.

A candidate takes a Lease that nobody holds, or whose holder has not renewed it for as long as it
had promised to. That time is measured here, from the moment a renewal was *seen*: what a holder's
clock says is never compared with ours. The holder counts from before it *sent* its last renewal
that worked, and stops acting well before others may take over: at 70 % of that time.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from triton_operator.errors import ClusterError, LeaseLostError, NotLeadingError
from triton_operator.ports import Clock, Lease, Leases

_DEADLINE = 0.7
"""Share of the Lease's duration after which a holder that could not renew it acts no more."""
_RETRY = 0.2
"""Share of it from one attempt to the next, if that one does not take longer."""
_PAUSE = 0.02
"""Share of it that lies between two attempts at least."""
_TIMEOUT = 0.3
"""Share of it that one request may take: one that hangs leaves time for another."""
_REMEMBERED = 8
"""Renewals without an answer that are recognised as ours: more than fit into the deadline."""

_logger = logging.getLogger(__name__)


class Election:
    """One candidate: :meth:`win`, then :meth:`keep`, then :meth:`release`, each once.

    Parameters
    ----------
    leases
        Where the Lease is stored.
    identity
        The candidate's name. A process that finds its own name in the Lease takes it at once, so
        no two that live at the same time may share one.
    duration_seconds
        How long the Lease is the holder's after each renewal.

    """

    def __init__(
        self,
        leases: Leases,
        identity: str,
        duration_seconds: int,
        clock: Clock,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._leases = leases
        self._identity = identity
        self._duration = duration_seconds
        self._deadline = duration_seconds * _DEADLINE
        self._retry = duration_seconds * _RETRY
        self._pause = duration_seconds * _PAUSE
        self._timeout = duration_seconds * _TIMEOUT
        self._clock = clock
        self._now = monotonic
        self._sleep = sleep
        self._mine = Lease()
        self._sent: deque[Lease] = deque(maxlen=_REMEMBERED)
        self._leads_until = float("-inf")
        self._tried_at = monotonic()
        self._known_at = float("-inf")
        self._failing = False

    # ---- what others ask ------------------------------------------------------------------

    def leads(self) -> bool:
        """Return whether this process may act at this moment."""
        return self._now() < self._leads_until

    def require(self) -> None:
        """Raise ``NotLeadingError`` if this process may not act at this moment."""
        if not self.leads():
            raise NotLeadingError("this operator does not lead, or not any more")

    def untried_seconds(self) -> float:
        """Return how long ago the last attempt to take or renew the Lease ended."""
        return self._now() - self._tried_at

    def knows_who_leads(self, *, within: float) -> bool:
        """Return whether the API server told in the last seconds that we lead, or another."""
        return self._now() - self._known_at < within

    # ---- candidate ------------------------------------------------------------------------

    async def win(self) -> None:
        """Return as soon as this process leads."""
        seen, seen_at = Lease(), self._now()
        while True:
            expires_at = seen_at
            try:
                found = await self._read()
                if not found.version and seen.holder:
                    # Deleted, which who holds it may not know yet: the promise to it stands.
                    found = replace(seen, version="")
                if found.term != seen.term or not found.holder:
                    if found.holder not in ("", seen.holder, self._identity):
                        _logger.info("standing by: %s leads", found.holder)
                    seen, seen_at = found, self._now()
                expires_at = seen_at + (found.duration_seconds or self._duration)
                free = found.holder in ("", self._identity) or self._now() >= expires_at
                if free and await self._take(found):
                    return
                if not free:
                    self._known_at, self._failing = self._now(), False
            except ClusterError as error:
                self._tell_failure(error)
            self._tried_at = self._now()
            # On the dot when the Lease runs out, but never in a busy loop.
            left = expires_at - self._now()
            await self._sleep(left if 0.0 < left < self._retry else self._retry)

    async def _take(self, found: Lease) -> bool:
        mine = replace(
            found,
            holder=self._identity,
            duration_seconds=self._duration,
            acquired=self._clock(),
            renewed=self._clock(),
            transitions=found.transitions + (found.holder != self._identity),
        )
        begun = self._now()
        if not await self._write(mine):
            return False
        self._leads_until = begun + self._deadline
        before = f", which {found.holder} held before" if found.holder else ""
        _logger.info("leading: %s has taken the Lease%s", self._identity, before)
        return True

    # ---- holder ---------------------------------------------------------------------------

    async def keep(self) -> None:
        """Renew the Lease for as long as that works; it never returns.

        Raises
        ------
        LeaseLostError
            Somebody else has it, or it could not be renewed in time.

        """
        spent = 0.0
        while True:
            await self._sleep(max(self._pause, self._retry - spent))
            # Also after a sleep that took far too long: a process may be halted and wake up.
            if not self.leads():
                raise LeaseLostError(f"the Lease was not renewed for {self._deadline:g} seconds")
            begun = self._now()
            try:
                await self._insist(renewed=self._clock())
                self._leads_until = begun + self._deadline
            except ClusterError as error:
                self._tell_failure(error)
            self._tried_at = self._now()
            spent = self._tried_at - begun

    async def release(self) -> None:
        """Act no more, and let others take over at once; no error if that cannot be told."""
        if not self.leads():
            return
        self._leads_until = float("-inf")
        try:
            await self._insist(holder="")
            _logger.info("the Lease is released")
        except (ClusterError, LeaseLostError) as error:
            _logger.warning("the Lease was not released, so it has to run out: %s", error)

    async def _insist(self, **changes: Any) -> None:
        """Change our Lease, unless somebody else has written what counts in it."""
        while not await self._write(replace(self._mine, **changes)):
            await self._recognise()

    async def _recognise(self) -> None:
        found = await self._read()
        ours = (self._mine, *self._sent)
        if found.version and found.term not in {lease.term for lease in ours}:
            self._leads_until = float("-inf")
            raise LeaseLostError(f"{found.holder or 'somebody'} has taken the Lease")
        # Deleted, annotated, or renewed by a request of ours whose answer was lost.
        self._mine = replace(self._mine, version=found.version)

    # ---- requests -------------------------------------------------------------------------

    async def _read(self) -> Lease:
        return await self._leases.read(timeout_seconds=self._timeout)

    async def _write(self, lease: Lease) -> bool:
        """Store the Lease as ours; return False if it is not as it was."""
        self._sent.append(lease)
        stored = await self._leases.write(lease, timeout_seconds=self._timeout)
        if stored is None:
            return False
        self._mine = stored
        self._known_at = self._now()
        self._failing = False
        return True

    def _tell_failure(self, error: ClusterError) -> None:
        # The same failure again is not news.
        level = logging.DEBUG if self._failing else logging.WARNING
        _logger.log(level, "no word of the Lease: %s", error)
        self._failing = True
