"""Limits of GPUs, shared out among servers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf

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
    """Pods that it needs, within its own bounds."""
    priority: int = 0
    namespace: str = EVERYWHERE

    def scopes(self) -> tuple[str, str]:
        """Return whose limits hold for it."""
        return (self.namespace, EVERYWHERE)


@dataclass(frozen=True, slots=True)
class Share:
    """What one server may have."""

    pods: int
    scope: str = EVERYWHERE
    """The namespace whose limit leaves no more, or EVERYWHERE."""


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
