"""Drift: pods that stopped serving what they served, although neither spec nor operator said so."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from triton_operator.observed import Pod, Served, ServedModel
from triton_operator.plan.loads import Slot, serves, slot_of
from triton_operator.plan.models import ModelPlan, linked


@dataclass(frozen=True, slots=True)
class Drift:
    """What was found in the place of a model."""

    message: str
    replaced: bool
    """Something else is loaded, rather than nothing."""


def find_drift(
    plans: Iterable[ModelPlan], pods: Mapping[Pod, Served], seen: Mapping[Slot, str]
) -> dict[Slot, Drift]:
    """Return what pods were ``seen`` to serve, should serve still, and do not."""
    return {
        slot: _describe(pod, served.get(plan.folder, ServedModel()), plan)
        for plan in linked(plans).values()
        for pod, served in pods.items()
        if seen.get(slot := slot_of(pod, plan.folder)) == plan.link and not serves(served, plan)
    }


def remember(plans: Iterable[ModelPlan], pods: Mapping[Pod, Served]) -> dict[Slot, str]:
    """Return the hash of every linked model that a pod serves."""
    return {
        slot_of(pod, plan.folder): str(plan.link)
        for plan in linked(plans).values()
        for pod, served in pods.items()
        if serves(served, plan)
    }


def _describe(pod: Pod, found: ServedModel, plan: ModelPlan) -> Drift:
    replaced = bool(found.ready_versions) and found.config_hash != plan.link
    if replaced:
        what = f"something else was loaded in its place (hash {found.config_hash or 'none'})"
    elif found.ready_versions:
        versions = ", ".join(map(str, found.ready_versions))
        what = f"only versions {versions} were still loaded"
    else:
        what = "it was not loaded any more"
        what += f" ({found.reason})" if found.reason else ""
    return Drift(
        f"pod {pod.name} served generation {plan.link}, and then {what}, which was not this"
        " operator's doing; the generation is served again",
        replaced,
    )
