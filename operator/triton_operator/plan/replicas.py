"""How many pods a server should have."""

from dataclasses import dataclass

from triton_operator.api.server import TritonServer
from triton_operator.observed import Workload


@dataclass(frozen=True, slots=True)
class Replicas:
    """The number of pods, and what keeps it from being another."""

    wanted: int
    limit: str = ""


def plan_replicas(server: TritonServer, workload: Workload) -> Replicas:
    """Return how many pods a server should have now."""
    spec = server.spec
    if spec.autoscaling is None:
        return Replicas(spec.replicas if spec.replicas is not None else 1)
    bounds = spec.autoscaling
    now = workload.desired if workload.exists else bounds.min_replicas
    return Replicas(
        wanted=max(bounds.min_replicas, min(bounds.max_replicas, now)),
        limit="this release checks autoscaling's bounds but does not scale yet:"
        " replicas stay as they are between minReplicas and maxReplicas",
    )
