"""What the operator's process knows of one server's pods, and nobody else does."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from triton_operator.observed import Pod, Served
from triton_operator.plan.assessment import Ongoing
from triton_operator.plan.drift import Drift, find_drift, remember
from triton_operator.plan.loads import Attempt, Load, Slot, Unload, serves
from triton_operator.plan.models import ModelPlan


@dataclass(frozen=True, slots=True)
class Work:
    """An action that goes on."""

    action: Load | Unload
    task: asyncio.Task[None]
    uids: Mapping[str, str]
    """Of the server's models, by name: another may have the name before it ends."""
    begun: datetime


@dataclass(slots=True)
class Memory:
    """What goes on in the pods of a server, and what they were last seen to serve."""

    works: dict[Slot, Work] = field(default_factory=dict)
    timeouts: dict[Slot, set[str]] = field(default_factory=dict)
    """Hashes of what did not end loading, one load after the other."""
    seen: dict[Slot, str] = field(default_factory=dict)
    """Hash of what pods serve."""
    drifts: dict[Slot, Drift] = field(default_factory=dict)
    """What is being put right."""

    repair: str = ""
    """The Job that last mended files, and the loads of what it mended that were made since."""
    reloaded: set[Attempt] = field(default_factory=set)

    def loads(self) -> Iterator[Load]:
        """Yield the loads that go on."""
        return (work.action for work in self.works.values() if isinstance(work.action, Load))

    def loading(self) -> dict[str, str]:
        """Return the hash of what pods load now, by uid of the model."""
        return {
            work.uids[each.object]: each.hash
            for work in self.works.values()
            if isinstance(work.action, Load)
            for each in (work.action, *work.action.along)
        }

    def ongoing(self, timeout_seconds: int) -> dict[str, Ongoing]:
        """Return the load of each model that has gone on for longest, by the model's name."""
        latest_first = sorted(self.works.values(), key=lambda work: work.begun, reverse=True)
        return {
            each.model: Ongoing(each.pod.name, each.hash, work.begun, timeout_seconds)
            for work in latest_first
            if isinstance(work.action, Load) and not work.task.done()
            for each in (work.action, *work.action.along)
        }

    def busy(self) -> set[Slot]:
        """Return where nothing else can be done now."""
        along = (each.slot for load in self.loads() for each in load.along)
        return {*self.works, *along, *self.stuck()}

    def stuck(self) -> set[Slot]:
        """Return where loads do not end, whatever is loaded."""
        return {slot for slot, hashes in self.timeouts.items() if len(hashes) > 1}

    def cancel(self, leaving: Iterable[str] | None = None) -> list[asyncio.Task[None]]:
        """Give up what goes on, in pods of these uids or in all; return the tasks that end."""
        uids = None if leaving is None else set(leaving)
        tasks = [work.task for slot, work in self.works.items() if uids is None or slot[0] in uids]
        for task in tasks:
            task.cancel()
        return tasks

    def reap(self) -> None:
        """Forget what has ended; a bug in it is raised here."""
        for slot, work in list(self.works.items()):
            if work.task.done():
                del self.works[slot]
                with suppress(asyncio.CancelledError):
                    work.task.result()

    def notice(self, plans: Iterable[ModelPlan], pods: Mapping[Pod, Served | None]) -> None:
        """Note what pods serve, and what they do not serve any more though nobody told them."""
        at_rest = self._at_rest(pods)
        self.drifts |= find_drift(plans, at_rest, self.seen)
        self.seen = remember(plans, at_rest)
        present = {(pod.uid, pod.started_at) for pod in pods}
        for slot in [slot for slot in self.timeouts if slot[:2] not in present]:
            del self.timeouts[slot]

    def forget(self, pod: Pod) -> None:
        """Forget what a pod served: what it serves next is our own doing."""
        self.seen = {slot: hash_ for slot, hash_ in self.seen.items() if slot[0] != pod.uid}

    def take_repaired(
        self, plans: Iterable[ModelPlan], pods: Mapping[Pod, Served | None]
    ) -> list[tuple[ModelPlan, Drift]]:
        """Return what has been put right since, and forget what nobody can put right any more."""
        by_folder = {plan.folder: plan for plan in plans}
        answers = {(pod.uid, pod.started_at): served for pod, served in pods.items()}
        repaired = []
        for slot, drift in list(self.drifts.items()):
            plan, served = by_folder.get(slot[2]), answers.get(slot[:2])
            done = plan is not None and served is not None and serves(served, plan)
            if plan is not None and done:
                repaired.append((plan, drift))
            if plan is None or served is None or done:
                del self.drifts[slot]
        return repaired

    def _at_rest(self, pods: Mapping[Pod, Served | None]) -> dict[Pod, Served]:
        """Return what is served by the pods on which nothing goes on."""
        busy = {slot[:2] for slot in self.works}
        return {
            pod: served
            for pod, served in pods.items()
            if served is not None and (pod.uid, pod.started_at) not in busy
        }
