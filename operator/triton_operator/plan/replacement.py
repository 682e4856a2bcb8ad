"""``rollout: Auto``: with a spare pod where a node has room for it, in place where none has.

What was decided is read off the live Deployment, so that it outlives the operator, and holds until
the rollout is complete.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from triton_operator.api.quantity import parse_quantity
from triton_operator.api.server import TritonServer
from triton_operator.observed import Pod, Workload
from triton_operator.plan.pods import is_unschedulable

_LACKING = re.compile(r"Insufficient ([\w./-]*\w)")
"""What nodes have too little of, in the words of the scheduler."""
_LEAVING_SECONDS = 60.0
"""What a pod may take to leave its node, beyond its drain."""


def must_replace_in_place(
    server: TritonServer, workload: Workload, pods: Iterable[Pod], *, now: datetime
) -> bool:
    """Return whether a server with ``rollout: Auto`` has to end an old pod to make room for a new.

    Only where that is room enough: it would be a loss for nothing if what a new pod asks for fits
    nowhere. One that is leaving makes room already, unless it has nothing of what is lacking.
    """
    if server.spec.rollout != "Auto" or not workload.exists:
        return False
    if workload.in_place and not workload.complete:
        return True
    staying = [pod for pod in pods if not pod.finished]
    leaving = [pod for pod in staying if pod.terminating]
    older = [pod for pod in staying if pod.revision != workload.revision and not pod.terminating]
    return any(
        is_unschedulable(pod, now=now)
        and not any(_helps(pod, room_of=gone) for gone in leaving)
        and any(_fits(pod, in_room_of=old) for old in older)
        for pod in staying
        if pod.revision == workload.revision
    )


def await_room(pods: Iterable[Pod], server: TritonServer, *, now: datetime) -> tuple[Pod, ...]:
    """Return pods as they are to be told of while an old one makes room for one of them."""
    seconds = _LEAVING_SECONDS + server.spec.drain_seconds

    def waits(pod: Pod) -> bool:
        since = pod.unschedulable_since
        return since is not None and (now - since).total_seconds() < seconds

    return tuple(replace(pod, unschedulable="") if waits(pod) else pod for pod in pods)


def _fits(pod: Pod, *, in_room_of: Pod) -> bool:
    amounts = _lacking(pod, in_room_of)
    return bool(amounts) and all(asked <= freed for asked, freed in amounts)


def _helps(pod: Pod, *, room_of: Pod) -> bool:
    """Return whether another pod has something of what nodes have too little of."""
    return any(freed > 0 for _, freed in _lacking(pod, room_of))


def _lacking(pod: Pod, other: Pod) -> list[tuple[Decimal, Decimal]]:
    """Return what two pods ask for of each resource that is lacking for the first one.

    Nothing if one of the amounts is none.
    """
    asked, freed = dict(pod.requests), dict(other.requests)
    try:
        return [
            (parse_quantity(asked.get(name, "0")), parse_quantity(freed.get(name, "0")))
            for name in _LACKING.findall(pod.unschedulable)
        ]
    except ValueError:
        return []
