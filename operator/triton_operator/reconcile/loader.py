"""Loading: from what pods serve to what they should serve, one careful step at a time.

Loads run beside the passes, since a big model takes minutes and its neighbours must not wait for
it. A pass starts what is due, waits a moment for it, and ends; a load that ends later wakes its
server. What goes on is known to this process only: the next one starts from what pods say.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial

from triton_operator.api.server import TritonServer
from triton_operator.observed import Pod, Served
from triton_operator.plan.acceptance import BREAKS_ENSEMBLE
from triton_operator.plan.assessment import Ongoing, Refusal
from triton_operator.plan.events import Event
from triton_operator.plan.loads import Attempt, Load, LoadStep, Slot, Unload, plan_loads, serves
from triton_operator.plan.models import LOAD_FAILED, LOAD_TIMED_OUT, SERVER_DIED
from triton_operator.plan.stuck import find_stuck, may_replace
from triton_operator.ports import Clock, Cluster, Key, ModelServers, Telemetry
from triton_operator.reconcile.attempt import Attempts, Errand
from triton_operator.reconcile.memory import Memory, Work
from triton_operator.reconcile.reporter import Reporter
from triton_operator.reconcile.state import Pass
from triton_operator.repository.manifest import LINKS

_PATIENCE_SECONDS = 2.0
"""How long a pass waits for what it started."""
_UNCLEAR_SECONDS = 10.0
"""When a load is tried again that ended nobody knows how."""
_RETRY_SECONDS = 300.0
"""When a load that failed is tried again although nothing changed."""
_CAREFUL_SECONDS = 1800.0
"""How long after a crash unproven generations are loaded one by one."""


class Loader:
    """Makes the pods of servers serve what their repositories link to."""

    def __init__(
        self,
        cluster: Cluster,
        triton: ModelServers,
        reporter: Reporter,
        clock: Clock,
        wake: Callable[[Key], None],
        *,
        telemetry: Telemetry,
    ) -> None:
        self._cluster = cluster
        self._attempts = Attempts(cluster, triton, clock)
        self._reporter = reporter
        self._now = clock
        self._wake = wake
        self._telemetry = telemetry
        self._tried: dict[Attempt, tuple[datetime, Refusal | None]] = {}
        self._memories: dict[Key, Memory] = defaultdict(Memory)

    def loading(self, server: Key) -> Mapping[str, str]:
        """Return the hash of what pods of a server load now, by uid of the model."""
        return self._memories[server].loading()

    def ongoing(self, server: TritonServer, key: Key) -> Mapping[str, Ongoing]:
        """Return what pods of a server load now, by the name of the model."""
        return self._memories[key].ongoing(server.spec.startup_timeout_seconds)

    def cancel(self, server: Key) -> list[asyncio.Task[None]]:
        """Give up everything that goes on for a server that is to go."""
        return self._memories.pop(server, Memory()).cancel()

    async def stop(self) -> None:
        """Give up everything: the process ends."""
        tasks = [task for server in list(self._memories) for task in self.cancel(server)]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def observe(
        self, pods: Collection[Pod], keys: Mapping[str, str]
    ) -> dict[Pod, Served | None]:
        """Return what each pod serves, by its own word; None for one that does not answer."""
        answers = await asyncio.gather(
            *(self._attempts.observe(pod, keys.get(pod.control_key)) for pod in pods)
        )
        return dict(zip(pods, answers, strict=True))

    async def load(self, this: Pass) -> Pass:
        """Start the loads and unloads that are due, and see how far they come in a moment."""
        server = this.record.key
        memory = self._memories[server]
        memory.reap()
        staying = {pod.uid for pod in this.world.pods if not pod.terminating}
        # Pods that leave would wait for our connections; those that are over end their loads.
        memory.cancel(slot[0] for slot in memory.works if slot[0] not in staying)
        this = replace(this, refusals=self._known_refusals(this))
        memory.notice(this.plans, this.served)
        if this.sync.unsettled is None:
            return this
        until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        unloaded: set[Slot] = set()
        while step := self._plan_step(memory, this, unloaded):
            actions: tuple[Load | Unload, ...] = (*step.loads, *step.unloads)
            begun = [self._begin(server, memory, this, action) for action in actions]
            unloaded |= {unload.slot for unload in step.unloads}
            left = until - asyncio.get_running_loop().time()
            done, late = await asyncio.wait([work.task for work in begun], timeout=max(0.0, left))
            for task in late:
                task.add_done_callback(partial(self._ended, server))
            memory.reap()
            touched = {work.action.pod for work in begun if work.task in done}
            served = {**this.served, **await self.observe(touched, this.keys)}
            this = replace(this, served=served)
            this = replace(this, refusals=self._known_refusals(this))
            if this.must_go_back or not done:
                break
        for plan, drift in memory.take_repaired(this.plans, this.served):
            await self._reporter.record(plan, Event("Warning", "DriftRepaired", drift.message))
        memory.notice(this.plans, this.served)
        await self._replace_stuck(memory, this)
        return this

    # ---- what to do -----------------------------------------------------------------------

    def _plan_step(self, memory: Memory, this: Pass, unloaded: Collection[Slot]) -> LoadStep:
        now = self._now()
        crashed = [pod.crashed_at for pod in this.served if pod.crashed_at is not None]
        step = plan_loads(
            this.plans,
            {
                pod: served
                for pod, served in this.served.items()
                if served is not None and pod.repository == LINKS
            },
            unsynced=this.sync.failures,
            waiting=this.sync.unsettled or (),
            tried=self._tried,
            busy=memory.busy(),
            stuck=memory.stuck(),
            refused=[
                name for name, refusal in this.refusals.items() if refusal.reason == BREAKS_ENSEMBLE
            ],
            one_by_one=any((now - at).total_seconds() < _CAREFUL_SECONDS for at in crashed),
        )
        unloads = tuple(unload for unload in step.unloads if unload.slot not in unloaded)
        mended = tuple(self._plan_mended(memory, this))
        taken = {load.slot for load in mended}
        loads = (*mended, *(load for load in step.loads if load.slot not in taken))
        return replace(step, loads=loads, unloads=unloads)

    def _plan_mended(self, memory: Memory, this: Pass) -> Iterator[Load]:
        """Yield loads of mended models: a pod may have read their files before, under that hash.

        Triton itself reloads only what has changed, so that asking once too often costs nothing.
        """
        repaired = this.sync.repaired
        if repaired is None:
            return
        if memory.repair != repaired.job:
            memory.repair = repaired.job
            memory.reloaded.clear()
        known = {*memory.reloaded, *self._tried}
        for plan in this.plans:
            if plan.link is None or not repaired.concerns(plan.object):
                continue
            for pod, served in this.served.items():
                again = Load(
                    pod, plan.folder, plan.object, plan.link, False, plan.occasion, due=False
                )
                waits = again.attempt in known or again.slot in memory.busy()
                linked = pod.repository == LINKS
                if linked and served is not None and serves(served, plan) and not waits:
                    yield again

    def _known_refusals(self, this: Pass) -> dict[str, Refusal]:
        """Return the refusals that still hold; what is due again is forgotten."""
        now = self._now()
        self._tried = {
            attempt: (when, refusal)
            for attempt, (when, refusal) in self._tried.items()
            if (now - when).total_seconds() < (_RETRY_SECONDS if refusal else _UNCLEAR_SECONDS)
        }
        plans = {(plan.folder, plan.link, plan.occasion): plan for plan in this.plans}
        pods = {(pod.uid, pod.started_at): served for pod, served in this.served.items()}
        known: dict[str, Refusal] = {}
        for (uid, started_at, *what), (_, refusal) in self._tried.items():
            plan, served = plans.get((what[0], what[1], what[2])), pods.get((uid, started_at))
            if refusal is None or plan is None:
                continue
            seen = served is not None and not serves(served, plan)
            if seen or refusal.reason in (BREAKS_ENSEMBLE, SERVER_DIED, LOAD_TIMED_OUT):
                known[plan.object] = refusal
        return known

    # ---- what goes on ---------------------------------------------------------------------

    def _ended(self, server: Key, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._wake(server)

    def _begin(self, server: Key, memory: Memory, this: Pass, action: Load | Unload) -> Work:
        memory.forget(action.pod)
        if isinstance(action, Unload):
            doing = self._attempts.unload(action, this.keys[action.pod.control_key])
        else:
            doing = self._load(memory, self._build_errand(server, memory, this, action))
        name = f"{action.model} on {action.pod.name}"
        uids = {plan.object: plan.record.meta.uid for plan in this.plans}
        work = Work(action, asyncio.create_task(doing, name=name), uids, self._now())
        memory.works[action.slot] = work
        return work

    def _build_errand(self, server: Key, memory: Memory, this: Pass, action: Load) -> Errand:
        served = this.served[action.pod] or {}
        plans = {plan.object: plan for plan in this.plans}
        busy = {model for _, _, model in memory.busy()}
        mine = (action, *action.along)
        drift = memory.drifts.get(action.slot)
        return Errand(
            load=action,
            plans=tuple(plans[each.object] for each in mine),
            above=tuple(
                plan
                for plan in this.plans
                if plan.folder not in busy
                and plan.object not in {each.object for each in mine}
                and any(plan.may_call(each.model) for each in mine)
                and serves(served, plan)
            ),
            server=server,
            key=this.keys[action.pod.control_key],
            timeout_seconds=float(this.server.spec.startup_timeout_seconds),
            replaced=drift is not None and drift.replaced,
        )

    async def _load(self, memory: Memory, errand: Errand) -> None:
        action = errand.load

        def rivals() -> list[Load]:
            return [
                other
                for other in memory.loads()
                if other.first and other != action and other.slot[:2] == action.slot[:2]
            ]

        begun = self._now()
        outcome = await self._attempts.load(errand, rivals)
        refusal = outcome.refusal
        self._telemetry.loaded(outcome.result, (self._now() - begun).total_seconds())
        if refusal is not None and refusal.reason == LOAD_TIMED_OUT:
            memory.timeouts.setdefault(action.slot, set()).add(action.hash)
        else:
            memory.timeouts.pop(action.slot, None)
        again = not action.due and not action.along
        if outcome.done and again:
            memory.reloaded.add(action.attempt)
        if outcome.done:
            return
        if action.slot in memory.stuck():
            # Neither does another generation end loading there: that is the pod's doing.
            refusal = None
        if action.due or again:
            self._tried[action.attempt] = (self._now(), refusal)
        if refusal is not None and refusal.reason == LOAD_FAILED:
            refusal = replace(refusal, reason=BREAKS_ENSEMBLE)
        for each in action.along:
            self._tried[each.attempt] = (self._now(), refusal)

    async def _replace_stuck(self, memory: Memory, this: Pass) -> None:
        """Have a pod made anew in which a load never ended, if that costs nobody anything."""
        stuck = find_stuck(this.plans, this.served, memory.stuck())
        if stuck is not None and may_replace(stuck, this.served):
            await self._cluster.delete("Pod", this.record.meta.namespace, stuck.name)
