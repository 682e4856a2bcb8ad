"""How many pods a server should have."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from triton_operator.api.autoscaling import AutoscalingStatus
from triton_operator.api.server import TritonServer, TritonServerSpec
from triton_operator.observed import Autoscaler, Pod, Workload


@dataclass(frozen=True, slots=True)
class Scaling:
    """What the autoscaler has to say about a server; nothing before its first decision."""

    desired: int | None = None
    """Number of pods to have; None where the number stays as it is."""
    limit: str = ""
    """What keeps that number below the need."""
    idle: tuple[str, ...] = ()
    """Uids of the ready pods, the idlest first."""
    status: AutoscalingStatus | None = None
    """What to tell; None where there is nothing newer than what was told last."""


def plan_replicas(
    server: TritonServer,
    workload: Workload,
    desired: int | None = None,
    autoscalers: Iterable[Autoscaler] = (),
) -> int:
    """Return how many pods a server should have; ``desired`` is the autoscaler's number.

    Without one the number stays as it is, so that nothing jumps when the operator starts again or
    when the number changes hands. It also stays while somebody else's autoscaler sets it.
    """
    spec = server.spec
    if workload.exists and _is_scaled_by(autoscalers):
        return workload.desired
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


def carries_out(server: TritonServer, autoscalers: Iterable[Autoscaler]) -> bool:
    """Return whether what our autoscaler decides reaches the Deployment, or is only advice."""
    bounds = server.spec.autoscaling
    return bounds is not None and bounds.mode == "Active" and not _is_scaled_by(autoscalers)


def explain_rivals(server: TritonServer, autoscalers: Iterable[Autoscaler]) -> str:
    """Say whose autoscaler contradicts the spec of a server, and the mend; empty if none does."""
    ordered = sorted(autoscalers, key=lambda each: (not each.on_deployment, each.name))
    return next(filter(None, (_explain_rival(server.spec, each) for each in ordered)), "")


def _explain_rival(spec: TritonServerSpec, rival: Autoscaler) -> str:
    who = f"HorizontalPodAutoscaler {rival.name}" + (f" of {rival.maker}" if rival.maker else "")
    if not rival.on_deployment:
        if spec.replicas is not None:
            return ""  # It writes them, as it should.
        held = "" if spec.autoscaling is None else " in place of autoscaling"
        return f"{who} can do nothing: delete it, or set replicas{held} for it to begin with"
    if spec.replicas is not None:
        return (
            f"{who} sets the replicas of the Deployment, so replicas of the spec does nothing:"
            " delete it, or point it at this TritonServer"
        )
    if spec.autoscaling is not None and spec.autoscaling.mode == "Active":
        return (
            f"{who} sets the replicas of the Deployment, so what autoscaling decides is only told:"
            " delete it, or take autoscaling out of the spec"
        )
    return ""


def _is_scaled_by(autoscalers: Iterable[Autoscaler]) -> bool:
    return any(each.on_deployment for each in autoscalers)


def plan_deletion_costs(
    pods: Iterable[Pod], idle: Sequence[str], workload: Workload, wanted: int
) -> dict[Pod, str]:
    """Return the deletion costs to change, so that the idlest pods go; none if none is to go.

    Pods that are not ready go before all others whatever they cost.
    """
    if wanted >= workload.desired or not idle:
        return {}
    staying = [pod for pod in pods if not pod.terminating]
    ready = [pod for pod in staying if pod.ready]
    leaving = set(idle[: max(0, len(ready) - wanted)])
    costs = {pod: "-1" if pod.uid in leaving else "0" for pod in ready}
    return {pod: cost for pod, cost in costs.items() if pod.deletion_cost != cost}
