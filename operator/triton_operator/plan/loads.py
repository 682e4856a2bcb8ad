"""What to load and unload on which pod, one careful step at a time.

A pod serves what its own config says and nothing else is believed: Triton answers 200 to a reload
that failed while the old version keeps serving. A generation that no pod serves yet is tried on one
pod first; only when that pod proves it, the others follow.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from triton_operator.observed import Pod, Served, ServedModel
from triton_operator.plan.ensembles import load_order
from triton_operator.plan.models import ModelPlan, linked

Attempt = tuple[str, str, str, str]
"""Pod uid, start of its container, model and generation: what makes another try the same try."""


@dataclass(frozen=True, slots=True)
class Load:
    """Make one pod load one model from its link."""

    pod: Pod
    model: str
    object: str
    hash: str
    first: bool
    """No pod serves this generation yet: a refusal is the generation's fault."""

    @property
    def attempt(self) -> Attempt:
        """What makes another try the same try."""
        return (self.pod.uid, self.pod.started_at, self.model, self.hash)


@dataclass(frozen=True, slots=True)
class Unload:
    """Make one pod unload a model that has no link any more."""

    pod: Pod
    model: str


@dataclass(frozen=True, slots=True)
class LoadStep:
    """Actions that may run side by side."""

    loads: tuple[Load, ...] = ()
    unloads: tuple[Unload, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.loads or self.unloads)


def serves(served: Served, plan: ModelPlan) -> bool:
    """Return whether a pod serves exactly what a model's link points to."""
    model = served.get(plan.folder, ServedModel())
    if model.config_hash is None or model.config_hash != plan.link:
        return False
    ready = model.ready_versions
    return bool(ready) and set(plan.expected_versions) <= set(ready)


def plan_loads(
    plans: Iterable[ModelPlan],
    pods: Mapping[Pod, Served],
    *,
    unsynced: Collection[str],
    tried: Collection[Attempt],
) -> LoadStep:
    """Return the next step towards every pod serving every link; empty when there is none.

    ``pods`` are those that answered. ``unsynced`` are the objects whose link is not on the claim
    yet. ``tried`` are the attempts that failed and are not to be repeated now.
    """
    links = linked(plans)
    unloads = tuple(
        Unload(pod, name)
        for pod, served in pods.items()
        for name, model in served.items()
        if name not in links and model.ready_versions
    )
    configs = {name: plan.config for name, plan in links.items() if plan.config is not None}
    unknown = tuple(name for name in links if name not in configs)
    for level in (unknown, *load_order(configs)):
        loads = tuple(
            load
            for name in level
            if links[name].object not in unsynced
            for load in _plan_model(links[name], pods)
            if load.attempt not in tried
        )
        if loads:
            return LoadStep(loads, unloads)
    return LoadStep((), unloads)


def _plan_model(plan: ModelPlan, pods: Mapping[Pod, Served]) -> tuple[Load, ...]:
    assert plan.link is not None
    proven = any(serves(served, plan) for served in pods.values())
    behind = sorted(
        (pod for pod, served in pods.items() if not serves(served, plan)),
        # Prefer a pod that takes traffic: what it proves is what clients get.
        key=lambda pod: (not pod.ready, pod.name),
    )
    return tuple(
        Load(pod, plan.folder, plan.object, plan.link, first=not proven)
        for pod in (behind if proven else behind[:1])
    )
