"""Limits of GPUs, shared out among servers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import floor, inf

EVERYWHERE = ""
"""In place of a namespace: the limit of all of them together."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one server asks of the limits."""

    server: str
    gpus: int
    """GPUs of each pod; a server without GPUs gets all that it needs."""
    least: int
    """Its minReplicas."""
    need: int
    """Pods that it needs, or keeps for a while, within its own bounds."""
    priority: int = 0
    namespace: str = EVERYWHERE
    now: int = 0
    """Pods that it asks for now."""
    extra: int = 0
    """Pods that it has beyond those: they drain, or take part in a rollout."""

    def scopes(self) -> tuple[str, str]:
        """Return whose limits hold for it."""
        return (self.namespace, EVERYWHERE)


@dataclass(frozen=True, slots=True)
class Share:
    """What one server may have."""

    pods: int
    scope: str = EVERYWHERE
    """The namespace whose limit leaves no more, or EVERYWHERE."""


class Budget:
    """The GPUs of one tick: how far each server may go, while one after the other is decided on.

    Who is above its share goes down in steps. Until then those below theirs get what is free, so
    that all together never ask for more than the limits; what nobody is to have is for anyone.
    """

    def __init__(self, limits: Mapping[str, int], claims: Iterable[Claim]) -> None:
        """Share out ``limits``, as ``share_gpus`` has them."""
        claiming = [
            each for each in claims if each.gpus and not limits.keys().isdisjoint(each.scopes())
        ]
        shares = share_gpus(limits, claiming)
        self._claims = {each.server: each for each in claiming}
        self._due = {server: share.pods for server, share in shares.items()}
        self._granted = {each.server: each.now for each in claiming}
        free = _leave(limits, claiming, self._granted)
        _hand_out(free, claiming, self._due, self._granted)
        self._taken = {each.server: max(self._due[each.server], each.now) for each in claiming}
        self._left = _leave(limits, claiming, self._taken)
        """What nobody has or is to have; negative while someone has what is due to another."""

    def bound(self, server: str) -> Share | None:
        """Return the most pods that a server may have now; None where no limit holds for it."""
        claim = self._claims.get(server)
        if claim is None:
            return None
        scope = min(claim.scopes(), key=self._left.__getitem__)
        unclaimed = self._taken[server] + floor(self._left[scope] / claim.gpus)
        return Share(max(unclaimed, min(self._due[server], self._granted[server])), scope)

    def take(self, server: str, pods: int) -> None:
        """Take in what a server was decided to have: nobody else may have that."""
        claim = self._claims.get(server)
        if claim is not None and pods > self._taken[server]:
            for scope in {*claim.scopes()}:
                self._left[scope] -= claim.gpus * (pods - self._taken[server])
            self._taken[server] = pods


def _leave(
    limits: Mapping[str, int], claims: list[Claim], pods: Mapping[str, int]
) -> dict[str, float]:
    """Return the GPUs by scope that are left beside so many pods, and those that are extra."""
    left: dict[str, float] = {scope: inf for each in claims for scope in each.scopes()}
    left |= limits
    for each in claims:
        for scope in {*each.scopes()}:
            left[scope] -= each.gpus * (pods[each.server] + each.extra)
    return left


def share_gpus(limits: Mapping[str, int], claims: Iterable[Claim]) -> dict[str, Share]:
    """Return the pods that each server may have, so that their GPUs stay within all limits.

    ``limits`` are GPUs by namespace, and EVERYWHERE; a namespace without one has none of its own.
    Every server gets its minReplicas as far as the limits go, then each priority from the highest
    what it needs; within one priority the next pod goes to whoever has least of its need.
    """
    ordered = sorted(claims, key=lambda each: (-each.priority, each.server))
    pods = {each.server: 0 if each.gpus else each.need for each in ordered}
    claiming = [each for each in ordered if each.gpus]
    left: dict[str, float] = {each: inf for claim in claiming for each in claim.scopes()}
    left |= limits
    _hand_out(left, claiming, {each.server: each.least for each in claiming}, pods)
    _hand_out(left, claiming, {each.server: each.need for each in claiming}, pods)
    return {
        each.server: Share(pods[each.server], min(each.scopes(), key=left.__getitem__))
        if each.gpus
        else Share(each.need)
        for each in ordered
    }


def _hand_out(
    left: dict[str, float], claims: list[Claim], wanted: dict[str, int], pods: dict[str, int]
) -> None:
    """Raise ``pods`` towards what is wanted, and lower the GPUs that are ``left``, in place."""
    for priority in sorted({each.priority for each in claims}, reverse=True):
        waiting = [
            (pods[each.server] / wanted[each.server], each.server, each)
            for each in claims
            if each.priority == priority and pods[each.server] < wanted[each.server]
        ]
        heapify(waiting)
        while waiting:
            _, server, claim = heappop(waiting)
            if any(claim.gpus > left[scope] for scope in claim.scopes()):
                continue  # a smaller pod of another server may still fit
            for scope in {*claim.scopes()}:
                left[scope] -= claim.gpus
            pods[server] += 1
            if pods[server] < wanted[server]:
                heappush(waiting, (pods[server] / wanted[server], server, claim))
