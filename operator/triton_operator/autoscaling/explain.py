"""Why a number of pods: sentences with the numbers and units that it was decided on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_operator.api.autoscaling import Autoscaling
from triton_operator.autoscaling.model_need import ModelNeed

if TYPE_CHECKING:
    from triton_operator.autoscaling.decision import Pool

UNREAD = "its config could not be read yet"
DECOUPLED = "it is decoupled, and Triton counts its requests as done when they begin"
_NOUGHT = 0.05
"""What is less than this is told as 0.0."""


def decision(
    needs: list[ModelNeed], pool: Pool, desired: int, wanted: int, spec: Autoscaling
) -> str:
    """Say what the number is for; ``needs`` has the model that needs most first."""
    text = need(needs[0], spec)
    if desired not in {max(wanted, spec.min_replicas), pool.desired}:
        text += f"; {wanted} wanted, {desired} is as far as the limits and steps of the spec go"
    return text


def need(each: ModelNeed, spec: Autoscaling) -> str:
    """Say what one model needs."""
    signals = each.signals
    text = f"{each.model}: {each.arrivals:.1f} requests/s"
    if each.load is None or each.rule is None or each.capacity is None:
        return text + _unmeasured(each)
    if not each.pods:
        return f"{each.model}: no requests within {_duration(each.rule.window)}"
    if each.arrivals < _NOUGHT <= each.load:
        text = f"{each.model}: no requests now, those of the last seconds"
    text += f" keep {each.load:.1f} pods busy"
    if each.surge > each.steady:
        if each.stuck:
            text += (
                f", and none of {signals.pending:.0f} waiting was finished on {_pods(each.stuck)}"
            )
        elif signals.pending:
            text += f" and {signals.pending:.0f} requests wait"
        return f"{text}: {_pods(each.pods)}"
    if each.floor * each.rule.level > each.kept:
        return f"{text}: {_pods(each.steady)} are kept for surges like those of the last hours"
    if each.kept > 1.05 * each.load:
        text += f" ({each.kept:.1f} within {_duration(each.rule.window)})"
    within = spec.target_queue_time_milliseconds
    if each.capacity.floored:
        within = round(each.capacity.target * 1000)
        asked = f" ({spec.target_queue_time_milliseconds} ms cannot be kept)"
    else:
        asked = ""
    return (
        f"{text}: {_pods(each.steady)} at {100 * each.rule.level:.0f} % load keep the wait of"
        f" {100 * (1 - spec.tail):.4g} % of the requests below {within} ms{asked}"
    )


def _unmeasured(each: ModelNeed) -> str:
    """Go on about a model whose load is not known."""
    waiting = each.signals.pending
    if each.unseen:
        return f"; its load cannot be seen: {each.unseen}"
    if each.stuck:
        return f", {waiting:.0f} waiting and none finished on {_pods(each.stuck)}"
    return "; how long one takes is not known yet" if waiting else ""


def hold(needs: list[ModelNeed], pool: Pool, *, young: bool) -> str:
    """Say why no pod is taken away, empty if one may be."""
    for each in needs:
        if each.unseen:  # told first: the others pass
            return f"the load of {each.model} cannot be seen: {each.unseen}"
    if young:
        return "the operator has not watched for a whole stabilization window yet"
    if pool.rolling_out:
        return "pods are being replaced"
    if not needs:
        return "no model reports its requests yet"
    unknown = [each.model for each in needs if each.load is None]
    if unknown:
        return f"no request of {unknown[0]} was finished yet, so its load is not known"
    return ""


def silent(answering: int, ready: int) -> str:
    """Say that too few pods answered."""
    if ready == 0:
        return "no pod is ready"
    return f"only {answering} of {ready} ready pods answered with metrics"


def at_maximum(spec: Autoscaling, need: int) -> str:
    """Say that maxReplicas is reached."""
    return f"{need} pods are needed, maxReplicas is {spec.max_replicas}: raise it"


def at_gpu_limit(pool: Pool, most: int, need: int) -> str:
    """Say that a GPU limit is reached."""
    limit = f"namespaceMaxGPUs of {pool.most_of}" if pool.most_of else "maxGPUs"
    return (
        f"{need} pods are needed, the GPU limit leaves room for {most} now: raise {limit}, or the"
        " priority of this server"
    )


def unschedulable(pool: Pool, need: int) -> str:
    """Say that the cluster is full."""
    return (
        f"{need} pods are needed, but {_pods(pool.unschedulable)} of {pool.desired} find no node:"
        " add nodes with free GPUs"
    )


def _pods(number: int) -> str:
    return f"{number} pod" if number == 1 else f"{number} pods"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"  # noqa: PLR2004
