"""A limit of GPUs, shared out among servers."""

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush


@dataclass(frozen=True, slots=True)
class Claim:
    """What one server asks of the limit."""

    server: str
    gpus: int
    """GPUs of each pod; a server without GPUs gets all that it needs."""
    least: int
    """Its minReplicas."""
    need: int
    """Pods that it needs, within its own bounds."""
    priority: int = 0


def share_gpus(limit: int, claims: Iterable[Claim]) -> dict[str, int]:
    """Return the pods that each server may have, so that their GPUs stay within ``limit``.

    Every server gets its minReplicas as far as the limit goes, then each priority from the highest
    what it needs; within one priority the next pod goes to whoever has least of its need.
    """
    ordered = sorted(claims, key=lambda each: (-each.priority, each.server))
    pods = {each.server: 0 if each.gpus else each.need for each in ordered}
    claiming = [each for each in ordered if each.gpus]
    left = _hand_out(limit, claiming, {each.server: each.least for each in claiming}, pods)
    _hand_out(left, claiming, {each.server: each.need for each in claiming}, pods)
    return pods


def _hand_out(left: int, claims: list[Claim], wanted: dict[str, int], pods: dict[str, int]) -> int:
    """Raise ``pods`` towards what is wanted, in place; return the GPUs that are left."""
    for priority in sorted({each.priority for each in claims}, reverse=True):
        waiting = [
            (pods[each.server] / wanted[each.server], each.server, each.gpus)
            for each in claims
            if each.priority == priority and pods[each.server] < wanted[each.server]
        ]
        heapify(waiting)
        while waiting:
            _, server, gpus = heappop(waiting)
            if gpus > left:
                continue  # a smaller pod of another server may still fit
            left -= gpus
            pods[server] += 1
            if pods[server] < wanted[server]:
                heappush(waiting, (pods[server] / wanted[server], server, gpus))
    return left
