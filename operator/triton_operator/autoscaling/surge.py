"""Pods for a surge: for what arrives, and for what will wait when new pods are ready.

The same rule sizes the real pool (numbers) and all rehearsed ones (arrays of numbers).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from triton_operator.autoscaling.trail import Trail

Pods = Any
"""A number of pods, or an array with one for each pool."""

FULL_LOAD = 0.95
"""Load of the pods that drain a backlog."""
DRAIN_SHARE = 0.25
"""A backlog is to be gone in such a part of the start-up time: pods ordered for it cost that time
anyhow, so that four times as many for a quarter of it is cheap for the requests that it spares."""
SHORTEST_DRAIN = 15.0
KEEP_SECONDS = 60.0
"""What a surge needed once is kept for so long: it is gone when nothing waits."""


@dataclass(frozen=True, slots=True)
class Surge:
    """What drives a surge, and what was done about it. Loads are in busy pods."""

    at: float
    load: float
    """What arrives now, for certain."""
    startup: float
    """Seconds that a pod takes to become ready."""
    target: float
    """Seconds that a request may wait."""
    waiting: Pods
    """Work that waits, in seconds of one pod."""
    ready: Pods
    ordered: Trail[Pods]
    """Pods asked for, for at least as long as they take to start."""


def size_for_surge(surge: Surge) -> Pods:
    """Return how many pods there should be to end it soon; 0 backlog gives those for the load.

    What will wait when pods that are ordered now are ready is known: what waits now, and what
    arrives until then, less what those ordered earlier will have done. So nothing is bought
    twice, and nothing is bought only when the first pods turn out to be too few.
    """
    drain = max(SHORTEST_DRAIN, surge.startup * DRAIN_SHARE)
    left = surge.waiting + surge.load * surge.startup - _work(surge)
    size = (surge.load + np.maximum(left, 0.0) / drain) / FULL_LOAD
    # Those that came for the backlog stay until it is gone.
    late = surge.waiting > surge.target * surge.ready
    need = (surge.load + surge.waiting / drain) / FULL_LOAD
    held = np.where(late, np.minimum(surge.ordered.values[-1], need), 0.0)
    return np.maximum(size, held)


def _work(surge: Surge) -> Pods:
    """Return the pod-seconds that the pods asked for so far can work in the next start-up time.

    A pod that was ordered x seconds ago will be there for the last x of them.
    """
    begin = surge.at - surge.startup
    ordered = surge.ordered.valid_since(begin)
    spans = np.diff(np.maximum((*ordered.times, surge.at), begin))
    pods = np.maximum(np.array(ordered.values), surge.ready)
    return np.tensordot(spans, pods, 1) + surge.ready * (surge.startup - spans.sum())
