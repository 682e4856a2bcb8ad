"""Pods in which a load never ends: Triton lets nobody touch that model there any more.

Measured on 2.51 with a Python model that ends its own process while it is imported: its load, and
every later load and unload of the same model, hang, while the pod is live, serves what it has
loaded, and loads other models.
"""

from collections.abc import Collection, Iterable, Mapping

from triton_operator.observed import Pod, Served
from triton_operator.plan.loads import Slot, serves, slot_of
from triton_operator.plan.models import ModelPlan, linked


def find_stuck(
    plans: Iterable[ModelPlan], pods: Mapping[Pod, Served | None], slots: Collection[Slot]
) -> Pod | None:
    """Return a pod that answers, and in which a model that is due cannot be loaded any more."""
    for plan in linked(plans).values():
        for pod, served in pods.items():
            due = served is not None and not serves(served, plan)
            if due and slot_of(pod, plan.folder) in slots:
                return pod
    return None


def may_replace(pod: Pod, pods: Iterable[Pod]) -> bool:
    """Return whether a pod can go: others serve meanwhile, and none of them is coming or going."""
    others = [other for other in pods if other.uid != pod.uid]
    return bool(others) and all(other.takes_requests for other in others)
