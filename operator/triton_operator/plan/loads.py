"""What to load and unload on which pod, one careful step at a time.

A pod serves what its own config says and nothing else is believed: Triton answers 200 to a reload
that failed while the old version keeps serving. A generation that no pod serves yet is tried on one
pod first; only when that pod proves it, the others follow. It is the one that lacks the fewest
models: what a pod with a sick GPU refuses says nothing of the generation.

Members are loaded before their ensemble. Only where an ensemble serves and a member's tensors
change with it, or a version that it asks for goes, Triton is told to load the ensemble: it loads
the members along, each takes over when it is ready, and the ensemble stays; a member loaded alone
would make Triton drop it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from triton_operator.observed import Pod, Served, ServedModel
from triton_operator.plan.ensembles import all_members, load_order
from triton_operator.plan.models import ModelPlan, linked
from triton_operator.repository.config_pbtxt import tensors_of
from triton_operator.repository.groups import find_called
from triton_operator.repository.model_config_schema import ModelConfig

Slot = tuple[str, str, str]
"""Pod uid, start of its container, and model: there one action at a time can go on."""

Attempt = tuple[str, str, str, str, str]
"""A slot, generation and occasion: what makes another try the same try."""


@dataclass(frozen=True, slots=True)
class Load:
    """Make one pod load one model from its link."""

    pod: Pod
    model: str
    object: str
    hash: str
    first: bool
    """No pod serves this generation yet: a refusal is the generation's fault."""
    occasion: str = ""
    """With whom, and at whose request: what makes it another try."""
    along: tuple["Load", ...] = ()
    """Members that Triton loads with this ensemble, as their folders have changed."""
    due: bool = True
    """False for an ensemble that is loaded only to bring its members."""

    @property
    def slot(self) -> Slot:
        """Where it happens."""
        return slot_of(self.pod, self.model)

    @property
    def attempt(self) -> Attempt:
        """What makes another try the same try."""
        return (*self.slot, self.hash, self.occasion)


@dataclass(frozen=True, slots=True)
class Unload:
    """Make one pod unload a model that has no link any more."""

    pod: Pod
    model: str

    @property
    def slot(self) -> Slot:
        """Where it happens."""
        return slot_of(self.pod, self.model)


@dataclass(frozen=True, slots=True)
class LoadStep:
    """Actions that may run side by side."""

    loads: tuple[Load, ...] = ()
    unloads: tuple[Unload, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.loads or self.unloads)


def slot_of(pod: Pod, model: str) -> Slot:
    """Return where actions on a model of a pod happen; a container that starts anew is another."""
    return (pod.uid, pod.started_at, model)


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
    waiting: Collection[str] = (),
    tried: Collection[Attempt],
    busy: Collection[Slot] = (),
    stuck: Collection[Slot] = (),
    refused: Collection[str] = (),
    one_by_one: bool = False,
) -> LoadStep:
    """Return the next step towards every pod serving every link; empty when there is none.

    ``pods`` are those that answered. ``unsynced`` are the objects whose link is not what it should
    be, ``waiting`` the models whose link is still to be moved or removed, ``refused`` the objects
    whose linked generation is about to be taken back. ``tried`` are the attempts that failed and
    are not to be repeated now, ``busy`` the slots where an action goes on, ``stuck`` those of them
    where none ever ends. With ``one_by_one`` at most one unproven generation is tried at a time, so
    that there is no doubt which one a server died of.
    """
    links = linked(plans)
    unloads = tuple(
        unload
        for pod, served in pods.items()
        for name in _find_unlinked(links, served)
        if name not in waiting
        if (unload := Unload(pod, name)).slot not in busy
    )
    configs = {name: plan.config for name, plan in links.items() if plan.config is not None}
    missing = {name for name, plan in links.items() if plan.object in unsynced or name in waiting}
    unknown = tuple(name for name in links if name not in configs)
    wanting = _find_wanting(links, pods, tried, busy, stuck)
    due = {
        name: wanting[name]
        for level in (unknown, *load_order(configs))
        for name in level
        if name not in missing and links[name].object not in refused
    }
    moving = {model for _, _, model in busy}
    carriers, carried = _find_carriers(links, due, configs, pods, {*moving, *missing})
    others = _in_turn(due, configs, {*moving, *missing}, {*carried, *(c.slot for c in carriers)})
    loads = (*carriers, *(load for load in others if _is_safe(load, links, configs, pods)))
    if one_by_one:
        proven = [load for load in loads if not load.first]
        unproven = [load for load in loads if load.first]
        loads = (*proven, *(unproven[:1] if not moving else ()))
    return LoadStep(loads, unloads)


def _find_unlinked(links: Mapping[str, ModelPlan], served: Served) -> Iterator[str]:
    """Yield what a pod serves and need not, as no link asks for it any more.

    Triton drops an ensemble together with what it calls: one that serves there, and is to serve
    something else, needs its old members until then.
    """
    live = {name: model.calls for name, model in served.items() if model.ready_versions}
    changing = (name for name in live if name in links and links[name].stands)
    needed = frozenset[str]().union(*(find_called(name, live) for name in changing))
    yield from (name for name in live if name not in links and name not in needed)


def _in_turn(
    due: Mapping[str, tuple[Load, ...]],
    configs: Mapping[str, ModelConfig],
    moving: Collection[str],
    carried: Collection[Slot],
) -> Iterator[Load]:
    """Yield the loads whose turn it is; ``due`` has members before what calls them."""
    coming = set(moving)
    for name, loads in due.items():
        if not all_members(name, configs) & coming:
            yield from (load for load in loads if load.slot not in carried)
        if loads:
            coming.add(name)


def _is_safe(
    load: Load,
    links: Mapping[str, ModelPlan],
    configs: Mapping[str, ModelConfig],
    pods: Mapping[Pod, Served],
) -> bool:
    """Return whether a pod has what a model calls, or nothing to lose.

    Triton drops an ensemble that serves when its new generation lacks a member.
    """
    served = pods[load.pod]
    if not served.get(load.model, ServedModel()).ready_versions:
        return True
    below = (links[name] for name in all_members(load.model, configs) if name in links)
    return all(serves(served, plan) for plan in below)


def _find_carriers(
    links: Mapping[str, ModelPlan],
    due: Mapping[str, tuple[Load, ...]],
    configs: Mapping[str, ModelConfig],
    pods: Mapping[Pod, Served],
    moving: Collection[str],
) -> tuple[list[Load], set[Slot]]:
    """Return the ensembles to load with their members along, and what is not to be loaded alone.

    These are ensembles that serve, and of which a member takes or gives other tensors from now on,
    or does not serve any more a version that they ask for.
    """
    carriers: list[Load] = []
    carried: set[Slot] = set()
    above_first = [name for level in reversed(load_order(configs)) for name in level]
    for name in above_first:
        below = all_members(name, configs)
        for pod, served in pods.items():
            along = tuple(
                load
                for member in sorted(below)
                for load in due.get(member, ())
                if load.pod == pod and load.slot not in carried
            )
            live = served.get(name, ServedModel())
            if not live.ready_versions or not any(
                _is_reshaped(load, configs, served) or _loses_version(load, links, live)
                for load in along
            ):
                continue
            carried.update(load.slot for load in along)
            own = next((load for load in due.get(name, ()) if load.pod == pod), None)
            if own is None and serves(served, links[name]):
                plan = links[name]
                own = Load(pod, name, plan.object, str(plan.link), False, plan.occasion, due=False)
            if own is not None and not {name, *below} & set(moving):
                first = own.first or any(load.first for load in along)
                carriers.append(replace(own, along=along, first=first))
    return carriers, carried


def _is_reshaped(load: Load, configs: Mapping[str, ModelConfig], served: Served) -> bool:
    """Return whether a model takes or gives other tensors by its new config than it does now."""
    before, config = served.get(load.model, ServedModel()).tensors, configs.get(load.model)
    if before is None or config is None or not (config.input or config.output):
        return False
    return before != tensors_of(config)


def _loses_version(load: Load, links: Mapping[str, ModelPlan], ensemble: ServedModel) -> bool:
    """Return whether a model will not serve a version that an ensemble asks for now."""
    kept = links[load.model].expected_versions
    asked = {version for model, version in ensemble.steps if model == load.model and version > 0}
    return bool(kept) and not asked.issubset(kept)


def _find_wanting(
    links: Mapping[str, ModelPlan],
    pods: Mapping[Pod, Served],
    tried: Collection[Attempt],
    busy: Collection[Slot],
    stuck: Collection[Slot],
) -> dict[str, tuple[Load, ...]]:
    """Return by model the loads that can begin; of what no pod serves yet, that on one pod."""
    behind = {
        name: [pod for pod, served in pods.items() if not serves(served, plan)]
        for name, plan in links.items()
    }
    lacking = Counter(pod.uid for each in behind.values() for pod in each)
    wanting = {}
    for name, plan in links.items():
        assert plan.link is not None
        proven = len(behind[name]) < len(pods)
        loads = sorted(
            (
                Load(pod, name, plan.object, plan.link, first=not proven, occasion=plan.occasion)
                for pod in behind[name]
            ),
            # One that tries it, or has refused it, has the say, whichever pod lacks more by now.
            # Prefer a pod that takes traffic: what it proves is what clients get; and the newest,
            # since after a change of the image what is written now is for the new one.
            key=lambda load: (
                load.slot in stuck,
                load.slot not in busy,
                not load.pod.ready,
                load.attempt not in tried,
                lacking[load.pod.uid],
                -load.pod.created_at.timestamp() if load.pod.created_at is not None else 0.0,
                load.pod.name,
            ),
        )
        wanting[name] = tuple(
            load
            for load in (loads if proven else loads[:1])
            if load.attempt not in tried and load.slot not in busy
        )
    return wanting
