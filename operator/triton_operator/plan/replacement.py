"""``rollout: Auto``: with a spare pod where there is room for it, in place where there is none.

There is none where no node has what it asks for, or where a quota forbids it. What was decided is
read off the live Deployment, so that it outlives the operator, and holds until the rollout is
complete.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from triton_operator.api.quantity import parse_quantity
from triton_operator.api.server import TritonServer
from triton_operator.observed import Pod, Workload
from triton_operator.plan.pods import is_hanging, is_unschedulable

_LACKING = re.compile(r"Insufficient ([\w./-]*\w)")
"""What nodes have too little of, in the words of the scheduler."""
_OVER_QUOTA = re.compile(r"exceeded quota: .*, requested: (\S+), used: (\S+), limited: (\S+)")
"""What a quota has too little of, as the API server says it: ``pods=1,requests.memory=2Gi``."""
_LEAVING_SECONDS = 60.0
"""What a pod may take to leave its node, beyond its drain."""

Lacking = Mapping[str, Decimal]
"""What a spare pod needs more than there is, by resource."""


def must_replace_in_place(
    server: TritonServer, workload: Workload, pods: Iterable[Pod], *, now: datetime
) -> bool:
    """Return whether a server with ``rollout: Auto`` has to end an old pod to make room for a new.

    Only where that is room enough: it would be a loss for nothing if what a new pod asks for fits
    nowhere. One that is leaving makes room already, unless it has nothing of what is lacking, or
    does not end, as on a node that is dead.
    """
    if server.spec.rollout != "Auto" or not workload.exists:
        return False
    if workload.in_place and not workload.complete:
        return True
    pods = tuple(pods)
    leaving = [pod for pod in pods if pod.terminating and not is_hanging(pod, now=now)]
    older = [pod for pod in pods if pod.revision != workload.revision and not pod.terminating]
    newer = [pod for pod in pods if pod.revision == workload.revision]
    needs = [_lacking_on_nodes(pod) for pod in newer if is_unschedulable(pod, now=now)]
    if all(pod.ready for pod in newer):
        # Else the spare pod is there, and another one was refused.
        needs.append(_lacking_in_quota(workload.refused))
    return any(
        not any(_helps(gone, lacking) for gone in leaving)
        and any(_suffices(old, lacking) for old in older)
        for lacking in needs
    )


def await_room(
    pods: Iterable[Pod], workload: Workload, server: TritonServer, *, now: datetime
) -> tuple[tuple[Pod, ...], Workload]:
    """Return pods and workload as they are to be told of while an old pod makes room for a new."""
    seconds = _LEAVING_SECONDS + server.spec.drain_seconds

    def waits(since: datetime | None) -> bool:
        return since is not None and (now - since).total_seconds() < seconds

    if _lacking_in_quota(workload.refused) and waits(workload.refused_since):
        workload = replace(workload, refused="")
    told = (
        replace(pod, unschedulable="") if waits(pod.unschedulable_since) else pod for pod in pods
    )
    return tuple(told), workload


def _suffices(old: Pod, lacking: Lacking) -> bool:
    return bool(lacking) and all(amount <= _freed(old, name) for name, amount in lacking.items())


def _helps(leaving: Pod, lacking: Lacking) -> bool:
    """Return whether a pod that leaves has something of what there is too little of."""
    return any(_freed(leaving, name) > 0 for name in lacking)


def _freed(pod: Pod, resource: str) -> Decimal:
    """Return what there is more of a resource of nodes, or of a quota, when a pod is gone."""
    if resource in ("pods", "count/pods"):
        return Decimal(1)
    if resource == "limits.memory":
        return _number(pod.memory_limit, unknown="0")
    return _number(dict(pod.requests).get(resource.removeprefix("requests."), ""), unknown="0")


def _lacking_on_nodes(pod: Pod) -> Lacking:
    asked = dict(pod.requests)
    names = _LACKING.findall(pod.unschedulable)
    return {name: _number(asked.get(name, "0"), unknown="Infinity") for name in names}


def _lacking_in_quota(refused: str) -> Lacking:
    """Return what exceeds a quota; nothing if that is not why pods are refused."""
    said = _OVER_QUOTA.search(refused)
    if said is None:
        return {}
    requested, used, limited = (
        dict(each.split("=", 1) for each in part.split(",") if "=" in each)
        for part in said.groups()
    )
    return {
        name: _number(amount, unknown="Infinity")
        + _number(used.get(name, ""), unknown="Infinity")
        - _number(limited.get(name, ""), unknown="0")
        for name, amount in requested.items()
    }


def _number(quantity: str, *, unknown: str) -> Decimal:
    try:
        return parse_quantity(quantity)
    except ValueError:
        return Decimal(unknown)
