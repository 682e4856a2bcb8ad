"""Loading: from what pods serve to what they should serve, one careful step at a time."""

import asyncio
from dataclasses import replace
from datetime import datetime

from triton_operator.errors import OperatorError, ServerUnreachableError
from triton_operator.observed import Pod, Served, ServedModel
from triton_operator.plan.failure_log import find_load_error, shorten
from triton_operator.plan.loads import Attempt, Load, LoadStep, plan_loads, serves
from triton_operator.plan.model_status import Refusal
from triton_operator.plan.models import LOAD_FAILED, SERVER_DIED
from triton_operator.plan.sync import SyncState
from triton_operator.ports import Clock, Cluster, ModelServers
from triton_operator.reconcile.reporter import Reporter
from triton_operator.reconcile.state import Pass
from triton_operator.repository.manifest import LINKS

_PATIENCE_SECONDS = 2.0
"""How long a load may take before the status says that it is going on."""
_UNCLEAR_SECONDS = 10.0
"""When a load is tried again that ended nobody knows how."""
_BLAME_SECONDS, _BLAME_TRIES = 0.5, 20
"""How often, and how long apart, to look whether the kubelet has seen a server die."""
_RETRY_SECONDS = 300.0
"""When a load that failed is tried again although nothing changed."""


class Loader:
    """Makes the pods of a server serve what its repository links to."""

    def __init__(
        self, cluster: Cluster, triton: ModelServers, reporter: Reporter, clock: Clock
    ) -> None:
        self._cluster = cluster
        self._triton = triton
        self._reporter = reporter
        self._now = clock
        self._reloaded: dict[str, tuple[str, frozenset[Attempt]]] = {}
        """The last repair of each server, and which loads of what it mended were made."""
        self._tried: dict[Attempt, tuple[datetime, Refusal | None]] = {}

    async def observe(self, pods: tuple[Pod, ...], key: str) -> dict[Pod, Served | None]:
        """Return what each pod serves, by its own word; None for one that does not answer."""

        async def ask(pod: Pod) -> Served | None:
            if not pod.running or pod.terminating or not pod.ip:
                return None
            try:
                return await self._triton.observe(pod, key)
            except ServerUnreachableError:
                return None

        answers = await asyncio.gather(*(ask(pod) for pod in pods))
        return dict(zip(pods, answers, strict=True))

    async def load(self, this: Pass) -> Pass:
        """Load and unload step by step until nothing is left to do or a generation is refused."""
        this = replace(this, refusals=self._known_refusals(this))
        if this.sync.state is not SyncState.DONE:
            return this
        this = await self._reload_mended(this)
        unloaded: set[tuple[str, str]] = set()
        while step := self._plan_step(this):
            if unloaded.issuperset((unload.pod.uid, unload.model) for unload in step.unloads):
                step = replace(step, unloads=())
                if not step:
                    break
            unloaded |= {(unload.pod.uid, unload.model) for unload in step.unloads}
            this = await self._run_step(this, step)
            if this.must_go_back:
                break
        return this

    def _plan_step(self, this: Pass) -> LoadStep:
        answered = {
            pod: served
            for pod, served in this.served.items()
            if served is not None and pod.repository == LINKS
        }
        return plan_loads(this.plans, answered, unsynced=this.sync.failures, tried=self._tried)

    async def _reload_mended(self, this: Pass) -> Pass:
        """Load mended models again: a pod may have read their files before, under the right hash.

        Triton itself reloads only what has changed, so that asking once too often costs nothing.
        """
        repaired, uid = this.sync.repaired, this.record.meta.uid
        if repaired is None:
            self._reloaded.pop(uid, None)
            return this
        job, done = self._reloaded.get(uid, ("", frozenset()))
        if job != repaired.job:
            done = frozenset()
        loads = tuple(
            load
            for plan in this.plans
            if repaired.concerns(plan.object) and plan.link is not None
            for pod, served in this.served.items()
            if served is not None and serves(served, plan)
            for load in (Load(pod, plan.folder, plan.object, plan.link, first=False),)
            if load.attempt not in done
        )
        if loads:
            this = await self._run_step(this, LoadStep(loads))
        answered = {load.attempt for load in loads if this.served.get(load.pod) is not None}
        self._reloaded[uid] = (repaired.job, done | answered)
        return this

    def _known_refusals(self, this: Pass) -> dict[str, Refusal]:
        """Return the refusals of earlier passes that still hold; what is due again is forgotten."""
        now = self._now()
        self._tried = {
            attempt: (when, refusal)
            for attempt, (when, refusal) in self._tried.items()
            if (now - when).total_seconds() < (_RETRY_SECONDS if refusal else _UNCLEAR_SECONDS)
        }
        plans = {(plan.folder, plan.link): plan for plan in this.plans}
        pods = {(pod.uid, pod.started_at): served for pod, served in this.served.items()}
        known: dict[str, Refusal] = {}
        for (uid, started_at, model, wanted), (_, refusal) in self._tried.items():
            plan, served = plans.get((model, wanted)), pods.get((uid, started_at))
            if refusal is None or plan is None or served is None:
                continue
            if not serves(served, plan):
                known[plan.object] = refusal
        return known

    async def _run_step(self, this: Pass, step: LoadStep) -> Pass:
        started = self._now()
        unclear: set[Load] = set()
        timeout = float(this.server.spec.startup_timeout_seconds)

        async def load(action: Load) -> Refusal | None:
            try:
                said = await self._triton.load(
                    action.pod, this.key, action.model, timeout_seconds=timeout
                )
            except ServerUnreachableError as error:
                unclear.add(action)
                in_time = (self._now() - started).total_seconds() < timeout
                return await self._blame(this, action, error, in_time=in_time)
            return Refusal(LOAD_FAILED, f"pod {action.pod.name}: {shorten(said)}") if said else None

        answers = await self._wait_for(this, asyncio.gather(*map(load, step.loads)))
        if answers is None:
            return this
        refused = dict(zip(step.loads, answers, strict=True))
        await asyncio.gather(
            *(self._unload(this, unload.pod, unload.model) for unload in step.unloads)
        )
        touched = {load.pod for load in step.loads} | {unload.pod for unload in step.unloads}
        served = {**this.served, **await self.observe(tuple(touched), this.key)}
        plans = {plan.object: plan for plan in this.plans}
        refusals = dict(this.refusals)
        for action, refusal in refused.items():
            now_served = served[action.pod]
            if now_served is not None and serves(now_served, plans[action.object]):
                continue
            found = refusal
            if found is None and action not in unclear:
                found = await self._explain(this, action, now_served, started)
            self._tried[action.attempt] = (self._now(), found)
            if found is not None:
                refusals[action.object] = found
        return replace(this, served=served, refusals=refusals)

    async def _wait_for(
        self, this: Pass, work: asyncio.Future[list[Refusal | None]]
    ) -> list[Refusal | None] | None:
        """Return the answers to loads; None if the server is to go and nobody needs them."""
        meta = this.record.meta
        try:
            done, _ = await asyncio.wait({work}, timeout=_PATIENCE_SECONDS)
            if not done:
                # Big models load for minutes: say so.
                await self._reporter.report(this)
            while not done:
                done, _ = await asyncio.wait({work}, timeout=_PATIENCE_SECONDS)
                latest = self._cluster.server((meta.namespace, meta.name))
                if latest is None or latest.meta.deletion_timestamp is not None:
                    return None
            return work.result()
        finally:
            work.cancel()

    async def _blame(
        self, this: Pass, action: Load, error: ServerUnreachableError, *, in_time: bool
    ) -> Refusal | None:
        """Find out whether a load took its server down; None if something else took the pod.

        Only a container that started again, or runs no more, in a pod that was to stay speaks
        against the model. A connection that broke, a drain or a rollout does not.
        """
        meta, before = this.record.meta, action.pod
        message = f"the server stopped answering while it loaded the model: {error}"
        for _ in range(_BLAME_TRIES):
            world = self._cluster.observe((meta.namespace, meta.name))
            pod = next((pod for pod in world.pods if pod.uid == before.uid), None)
            if pod is None or pod.terminating:
                return None
            if pod.started_at != before.started_at or not pod.running:
                return Refusal(SERVER_DIED, f"pod {before.name}: {message}")
            await asyncio.sleep(_BLAME_SECONDS)
        return None if in_time else Refusal(LOAD_FAILED, f"pod {before.name}: {message}")

    async def _explain(
        self, this: Pass, action: Load, served: Served | None, started: datetime
    ) -> Refusal | None:
        """Find out why a pod that answered 200 does not serve what it was told to load."""
        if served is None:
            return None
        seconds = int((self._now() - started).total_seconds()) + 5
        try:
            log = await self._cluster.read_log(
                this.record.meta.namespace, action.pod, seconds=seconds
            )
        except OperatorError as error:
            log = f"the log could not be read: {error}"
        reason = (
            find_load_error(log, action.model)
            or served.get(action.model, ServedModel()).reason
            or "Triton says it loaded the model but serves another generation of it"
        )
        return Refusal(LOAD_FAILED, f"pod {action.pod.name}: {shorten(reason)}")

    async def _unload(self, this: Pass, pod: Pod, model: str) -> None:
        try:
            await self._triton.unload(pod, this.key, model)
        except ServerUnreachableError:
            # The pod will not load it again when it comes back: the link is gone.
            return
