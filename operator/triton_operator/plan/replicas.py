"""How many pods a server should have."""

from dataclasses import dataclass

from triton_operator.api.autoscaling import AutoscalingStatus
from triton_operator.api.server import TritonServer
from triton_operator.observed import Workload


@dataclass(frozen=True, slots=True)
class Scaling:
    """What the autoscaler has to say about a server; nothing before its first decision."""

    desired: int | None = None
    """Number of pods to have; None where the number stays as it is."""
    limit: str = ""
    """What keeps that number below the need."""
    status: AutoscalingStatus | None = None
    """What to tell; None where there is nothing newer than what was told last."""


def plan_replicas(server: TritonServer, workload: Workload, desired: int | None = None) -> int:
    """Return how many pods a server should have; ``desired`` is the autoscaler's number.

    Without one the number stays as it is, so that nothing jumps when the operator starts again or
    when the number changes hands.
    """
    spec = server.spec
    if spec.replicas is not None:
        return spec.replicas
    if spec.autoscaling is None:
        return max(1, workload.desired)
    bounds = spec.autoscaling
    if not workload.exists:
        return bounds.min_replicas
    if bounds.mode == "Observe":
        return workload.desired
    now = workload.desired if desired is None else desired
    return max(bounds.min_replicas, min(bounds.max_replicas, now))
