"""How many pods a server should have: the largest need of its models, within all its limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from triton_operator.api.autoscaling import Autoscaling
from triton_operator.autoscaling import explain
from triton_operator.autoscaling.model_memory import ModelMemory
from triton_operator.autoscaling.model_need import Circumstances, ModelNeed, assess_need
from triton_operator.autoscaling.rehearsal import begin_rehearsal
from triton_operator.autoscaling.samples import ModelShape, PodSample
from triton_operator.autoscaling.sharing import EVERYWHERE
from triton_operator.autoscaling.signals import Signals, measure
from triton_operator.autoscaling.surge import KEEP_SECONDS
from triton_operator.autoscaling.trail import NO_TRAIL, Trail

FORGET_SAMPLES_SECONDS = 60.0
"""A pod that has not answered for so long begins anew."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A server's pods, as Kubernetes has them."""

    desired: int
    """The Deployment's replicas."""
    ready: int
    startup_seconds: float = 60.0
    """From asking for a pod to its being ready, as measured."""
    unschedulable: int = 0
    """Pods that find no node."""
    rolling_out: bool = False
    most: int | None = None
    """Pods that limits of GPUs leave room for now; None where none holds."""
    most_of: str = EVERYWHERE
    """The namespace whose limit that is, or EVERYWHERE."""

    @property
    def starting(self) -> int:
        """Pods that were asked for and are not ready."""
        return max(0, self.desired - self.ready)


@dataclass(frozen=True, slots=True)
class Observed:
    """What one tick sees."""

    at: float
    """Seconds of the monotonic clock that the samples are of."""
    pool: Pool
    samples: Sequence[PodSample]
    """Of the ready pods that answered."""
    shapes: Mapping[str, ModelShape] = field(default_factory=dict)
    """By model, as far as they could be read."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What one decision leaves for the next. An empty one is right after a restart."""

    samples: Mapping[str, PodSample] = field(default_factory=dict)
    models: Mapping[str, ModelMemory] = field(default_factory=dict)
    surges: Trail[int] = NO_TRAIL
    """Need for backlogs and stuck pods, for as long as it is kept."""
    changes: tuple[tuple[float, int], ...] = ()
    """When pods were added or taken away, and how many."""
    began: float | None = None
    """The first tick."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How many pods, and why."""

    previous: int
    desired: int
    need: int
    """Pods that the models need, whatever the limits say."""
    wanted: int
    """The need, or more where pods are kept for a while; before all limits."""
    reason: str
    """Why ``desired``, with numbers and units."""
    limit: str = ""
    """What keeps the number below the need, for the condition ScalingLimited."""
    hold: str = ""
    """What keeps pods from being taken away now."""
    ready: int = 0
    answering: int = 0
    needs: tuple[ModelNeed, ...] = ()
    """The model that needs most first."""


def decide(spec: Autoscaling, seen: Observed, memory: Memory) -> tuple[Decision, Memory]:
    """Return how many pods there should be, and what the next call needs to know."""
    at, pool, samples = seen.at, seen.pool, seen.samples
    began = at if memory.began is None else memory.began
    kept = {
        uid: each for uid, each in memory.samples.items() if at - each.at <= FORGET_SAMPLES_SECONDS
    }
    latest = kept | {each.uid: each for each in samples}
    if 2 * len(samples) < pool.ready or not samples:
        hold = explain.silent(len(samples), pool.ready)
        decision = Decision(
            previous=pool.desired,
            desired=max(spec.min_replicas, min(spec.max_replicas, pool.desired)),
            need=pool.desired,
            wanted=pool.desired,
            reason=hold,
            hold=hold,
            ready=pool.ready,
            answering=len(samples),
        )
        return decision, replace(memory, samples=latest, began=began)
    needs, models = _assess(spec, seen, memory)
    need = max((each.pods for each in needs), default=0)
    steady = max((each.steady for each in needs), default=0)
    surge = max((each.surge for each in needs), default=0)
    down = spec.scale_down
    memory = Memory(
        samples=latest,
        models=models,
        surges=memory.surges.grow(at, surge, min(KEEP_SECONDS, down.stabilization_window_seconds)),
        changes=tuple(change for change in memory.changes if at - change[0] <= _LONGEST_PERIOD),
        began=began,
    )
    young = at - began < down.stabilization_window_seconds
    hold = explain.hold(needs, pool, young=young)
    wanted = max(steady, round(max(memory.surges.values))) if need <= pool.desired else need
    if wanted > _WORTH_A_CHANGE * pool.desired or hold:
        wanted = max(wanted, pool.desired)
    bounded, limit = _bound(spec, pool, wanted)
    desired = _step(spec, pool, memory, bounded, at)
    reason = explain.decision(needs, pool, desired, wanted, spec) if needs else "no model is served"
    if desired != pool.desired:
        memory = replace(memory, changes=(*memory.changes, (at, desired - pool.desired)))
    decision = Decision(
        previous=pool.desired,
        desired=desired,
        need=need,
        wanted=wanted,
        reason=reason,
        limit=limit,
        hold=hold,
        ready=pool.ready,
        answering=len(samples),
        needs=tuple(needs),
    )
    return decision, memory


def advise(decision: Decision, told: int) -> Decision:
    """Return a decision that is only advice, and so changes what was ``told`` before.

    While no load is known there is nothing to advise, and what was told stays.
    """
    return replace(decision, previous=told, desired=decision.desired if decision.needs else told)


_LONGEST_PERIOD = 1800.0
_WORTH_A_CHANGE = 0.95
"""Fewer pods are worth the change from this share of them on."""


def _assess(
    spec: Autoscaling, seen: Observed, memory: Memory
) -> tuple[list[ModelNeed], dict[str, ModelMemory]]:
    pool, down = seen.pool, spec.scale_down
    around = Circumstances(
        at=seen.at,
        target=spec.target_queue_time_milliseconds / 1000,
        tail=spec.tail,
        ready=pool.ready,
        answering=len(seen.samples),
        starting=pool.starting,
        startup=pool.startup_seconds,
        patience=spec.scale_up.stabilization_window_seconds,
        least=spec.min_replicas,
        most=_most(spec, pool),
        stay=(1 - down.max_percent / 100) ** (1 / down.period_seconds),
    )
    begun = begin_rehearsal(down.stabilization_window_seconds, down.longest_window_seconds)
    needs: list[ModelNeed] = []
    models = {model: each for model, each in memory.models.items() if model in seen.shapes}
    for model, signals in measure(memory.samples, seen.samples, seen.shapes).items():
        shape, known = seen.shapes.get(model), memory.models.get(model)
        if signals.seconds <= 0 or not _has_load(shape, signals):
            continue  # first seen: there is nothing to compare with
        if shape is None or shape.decoupled:
            unseen = explain.UNREAD if shape is None else explain.DECOUPLED
            needs.append(ModelNeed(model, signals, signals.arrivals, None, unseen=unseen))
            models |= {model: known} if known is not None else {}
            continue
        before = known or ModelMemory(begun)
        if before.rehearsal.habits != begun.habits:
            # Other windows in the spec: other rules, which nobody has rehearsed, on the same loads.
            rehearsal = replace(begun, loads=before.rehearsal.loads)
            before = replace(before, rehearsal=rehearsal)
        need, models[model] = assess_need(model, signals, shape, before, around)
        needs.append(need)
    needs.sort(key=lambda each: (-each.pods, each.model))
    return needs, models


def _has_load(shape: ModelShape | None, signals: Signals) -> bool:
    """Return whether a model has a load of its own: that of an ensemble is its members'."""
    if shape is None:
        # One that was unloaded is not asked, but leaves some of its counters on the page.
        return signals.arrivals > 0 or signals.pending > 0
    return shape.instances > 0


def _most(spec: Autoscaling, pool: Pool) -> int:
    """Return the most pods that there may be: minReplicas are kept, whatever is left of GPUs."""
    room = spec.max_replicas if pool.most is None else min(spec.max_replicas, pool.most)
    return max(spec.min_replicas, room)


def _bound(spec: Autoscaling, pool: Pool, wanted: int) -> tuple[int, str]:
    """Return the number within all limits, and the limit that keeps it below what is wanted."""
    most, limit = _most(spec, pool), explain.at_maximum(spec, wanted)
    if pool.most is not None and pool.most < spec.max_replicas:
        limit = explain.at_gpu_limit(pool, most, wanted)
    if pool.unschedulable and wanted > pool.desired and pool.desired < most:
        most, limit = pool.desired, explain.unschedulable(pool, wanted)
    bounded = max(spec.min_replicas, min(most, wanted))
    return bounded, limit if wanted > most else ""


def _step(spec: Autoscaling, pool: Pool, memory: Memory, wanted: int, at: float) -> int:
    """Return the number after as large a step as the periods still allow."""
    now = pool.desired
    if wanted > now:
        period = spec.scale_up.period_seconds
        added = sum(n for when, n in memory.changes if n > 0 and at - when < period)
        return max(now, min(wanted, now + spec.scale_up.max_pods - added))
    if wanted < now <= spec.max_replicas:
        period = spec.scale_down.period_seconds
        removed = -sum(n for when, n in memory.changes if n < 0 and at - when < period)
        most = max(1, ceil((now + removed) * spec.scale_down.max_percent / 100))
        return min(now, max(wanted, now - max(0, most - removed)))
    return wanted
