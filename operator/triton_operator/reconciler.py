"""One pass over one server: make its children, its claim and its pods match its models.

A pass has no memory of its own but when it last tried what failed: it reads everything it decides
on, may run at any moment and any number of times, and a settled world costs it no write.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from triton_operator import names
from triton_operator.api.model import TritonModelStatus
from triton_operator.api.server import TritonServer, TritonServerStatus
from triton_operator.desired import Children, build_children
from triton_operator.desired.deployment import template_revision
from triton_operator.desired.metadata import ChildNames, Manifest
from triton_operator.desired.sync_job import build_manifest_map, build_sync_job
from triton_operator.errors import (
    ClusterError,
    InvalidSpecError,
    OperatorError,
    ServerUnreachableError,
)
from triton_operator.observed import (
    ModelRecord,
    Pod,
    Served,
    ServedModel,
    ServerRecord,
    ServerWorld,
    Workload,
)
from triton_operator.plan.acceptance import judge_models
from triton_operator.plan.events import Event, find_events
from triton_operator.plan.failure_log import find_load_error, shorten
from triton_operator.plan.loads import Attempt, Load, LoadStep, plan_loads, serves
from triton_operator.plan.model_status import Assessment, Refusal, assess_model, report_unserved
from triton_operator.plan.models import (
    LOAD_FAILED,
    SERVER_DIED,
    ModelPlan,
    build_manifest,
    plan_models,
)
from triton_operator.plan.pods import SCHEDULING_PATIENCE_SECONDS, explain_stuck
from triton_operator.plan.replicas import plan_replicas
from triton_operator.plan.server_status import (
    assess_server,
    assess_server_failure,
)
from triton_operator.plan.sync import SyncPlan, SyncState, is_claim_missing, plan_sync
from triton_operator.ports import Clock, Cluster, Key, ModelServers
from triton_operator.repository.manifest import Manifest as RepositoryManifest
from triton_operator.settings import Settings

_PATIENCE_SECONDS = 2.0
"""How long a load may take before the status says that it is going on."""
_SOON_SECONDS = 2.0
"""When a pod that runs but does not answer yet is asked again."""
_RETRY_LOAD_SECONDS = 300.0
"""When a load that failed is tried again although nothing changed."""
_RELEASE_SECONDS = 300.0
"""How long a server that goes away may wait for its files to be removed."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """What one pass over a server has found and decided so far."""

    world: ServerWorld
    record: ServerRecord
    server: TritonServer
    plans: tuple[ModelPlan, ...]
    children: Children
    problem: InvalidSpecError | None
    """Why a child cannot be as the spec wants it; what was there before stays."""
    limit: str
    sync: SyncPlan
    key: str
    served: Mapping[Pod, Served | None]
    refusals: Mapping[str, Refusal]


class ServerReconciler:
    """Drives servers and the models on them towards their specs, one pass at a time."""

    def __init__(
        self, cluster: Cluster, triton: ModelServers, settings: Settings, clock: Clock
    ) -> None:
        self._cluster = cluster
        self._triton = triton
        self._settings = settings
        self._now = clock
        self._tried: dict[Attempt, tuple[datetime, Refusal]] = {}

    async def reconcile(self, key: Key) -> float:
        """Make one pass; return the seconds after which the next is due.

        Raises
        ------
        OperatorError
            After it was written to the status; the caller decides when to retry.

        """
        world = self._cluster.observe(key)
        record = world.server
        if record is None:
            return self._settings.resync_seconds
        world = replace(
            world,
            models=tuple(
                model
                for model in world.models
                if record.takes(model) and model.meta.deletion_timestamp is None
            ),
        )
        if record.meta.deletion_timestamp is not None:
            return await self._release(world, record)
        if self._is_retiring(world, record):
            return self._settings.resync_seconds
        try:
            if record.spec is None:
                raise record.error or InvalidSpecError("the spec cannot be read")
            await self._claim_finalizer(record, record.spec)
            return await self._serve(world, record, record.spec)
        except OperatorError as error:
            await self._report_failure(world, record, error)
            raise

    def _is_retiring(self, world: ServerWorld, record: ServerRecord) -> bool:
        """Return whether the model that this server belongs to has gone, or moves to another one.

        In the first case Kubernetes is about to delete the server. In the second it serves on
        unchanged until the model is served elsewhere; then the model deletes it.
        """
        owner = record.owner()
        if owner is None or world.models:
            return False
        model = self._cluster.model((record.meta.namespace, owner[1]))
        gone = model is None or model.meta.uid != owner[0] or model.meta.deletion_timestamp
        return bool(gone) or (model is not None and not model.owns_server)

    async def _serve(self, world: ServerWorld, record: ServerRecord, server: TritonServer) -> float:
        now = self._now()
        child = ChildNames(record.meta.name)
        plans = plan_models(judge_models(server, world.models), record.meta.name)
        workload = Workload.parse(world.child("Deployment", child.deployment))
        replicas = plan_replicas(server, workload)
        children = build_children(
            server,
            default_image=self._settings.server_image,
            replicas=replicas.wanted,
            probe_model=_probe_model(record, plans),
        )
        manifest = build_manifest(record.meta.name, plans)
        sync = plan_sync(manifest.digest(), world.jobs, world.pods, now=now)
        key, problem, _ = await asyncio.gather(
            self._cluster.control_key(record.meta, new=not workload.exists),
            self._apply_children(children),
            self._run_sync(server, manifest, sync),
        )
        await self._drop_headless_service(world, children)
        pods = tuple(world.server_pods())
        this = _Pass(
            world=world,
            record=record,
            server=server,
            plans=plans,
            children=children,
            problem=problem,
            limit=replicas.limit,
            sync=sync,
            key=key,
            served=await self._observe(pods, key),
            refusals={},
        )
        this = replace(this, refusals=self._known_refusals(this))
        this = await self._load(this)
        await self._report(this)
        return self._next(this)

    # ---- children -------------------------------------------------------------------------

    async def _apply_children(self, children: Children) -> InvalidSpecError | None:
        async def apply(manifest: Manifest) -> InvalidSpecError | None:
            try:
                await self._cluster.apply(manifest)
            except InvalidSpecError as error:
                return error
            return None

        refused = await asyncio.gather(*(apply(each) for each in children.manifests()))
        return next(filter(None, refused), None)

    async def _drop_headless_service(self, world: ServerWorld, children: Children) -> None:
        server = children.deployment["metadata"]
        name = ChildNames(server["name"]).headless_service
        if children.headless_service is None and world.child("Service", name) is not None:
            await self._cluster.delete("Service", server["namespace"], name)

    async def _run_sync(
        self, server: TritonServer, manifest: RepositoryManifest, sync: SyncPlan
    ) -> None:
        namespace, child = server.metadata.namespace, ChildNames(server.metadata.name)
        if sync.start is not None:
            await self._cluster.create(build_manifest_map(server, manifest))
            job = build_sync_job(
                server,
                manifest,
                sequence=sync.start.sequence,
                attempt=sync.start.attempt,
                image=self._settings.sync_image,
                image_pull_policy=self._settings.sync_image_pull_policy,
            )
            await self._cluster.create(job)
        for stopped in sync.stop:
            await self._cluster.delete("Job", namespace, stopped.name)
            if stopped.manifest != manifest.digest():
                name = child.manifest(stopped.manifest)
                await self._cluster.delete("ConfigMap", namespace, name)

    # ---- pods -----------------------------------------------------------------------------

    async def _observe(self, pods: tuple[Pod, ...], key: str) -> dict[Pod, Served | None]:
        async def ask(pod: Pod) -> Served | None:
            if not pod.running or pod.terminating or not pod.ip:
                return None
            try:
                return await self._triton.observe(pod, key)
            except ServerUnreachableError:
                return None

        answers = await asyncio.gather(*(ask(pod) for pod in pods))
        return dict(zip(pods, answers, strict=True))

    async def _load(self, this: _Pass) -> _Pass:
        """Load and unload step by step until nothing is left to do or a generation is refused."""
        if this.sync.state is not SyncState.DONE:
            return this
        unloaded: set[tuple[str, str]] = set()
        while step := self._plan_step(this):
            if unloaded.issuperset((unload.pod.uid, unload.model) for unload in step.unloads):
                step = replace(step, unloads=())
                if not step:
                    break
            unloaded |= {(unload.pod.uid, unload.model) for unload in step.unloads}
            this = await self._run_step(this, step)
            if _must_go_back(this):
                break
        return this

    def _plan_step(self, this: _Pass) -> LoadStep:
        answered = {pod: served for pod, served in this.served.items() if served is not None}
        return plan_loads(this.plans, answered, unsynced=this.sync.failures, tried=self._tried)

    def _known_refusals(self, this: _Pass) -> dict[str, Refusal]:
        """Return the refusals of earlier passes that still hold; what is due again is forgotten."""
        now = self._now()
        self._tried = {
            attempt: (when, refusal)
            for attempt, (when, refusal) in self._tried.items()
            if (now - when).total_seconds() < _RETRY_LOAD_SECONDS
        }
        plans = {(plan.folder, plan.link): plan for plan in this.plans}
        pods = {(pod.uid, pod.started_at): served for pod, served in this.served.items()}
        known: dict[str, Refusal] = {}
        for (uid, started_at, model, wanted), (_, refusal) in self._tried.items():
            plan, served = plans.get((model, wanted)), pods.get((uid, started_at))
            if plan is not None and served is not None and not serves(served, plan):
                known[plan.object] = refusal
        return known

    async def _run_step(self, this: _Pass, step: LoadStep) -> _Pass:
        started = self._now()
        timeout = float(this.server.spec.startup_timeout_seconds)

        async def load(action: Load) -> Refusal | None:
            try:
                said = await self._triton.load(
                    action.pod, this.key, action.model, timeout_seconds=timeout
                )
            except ServerUnreachableError as error:
                message = f"the server stopped answering while it loaded the model: {error}"
                return Refusal(SERVER_DIED, f"pod {action.pod.name}: {message}")
            return Refusal(LOAD_FAILED, f"pod {action.pod.name}: {shorten(said)}") if said else None

        work = asyncio.gather(*map(load, step.loads))
        done, _ = await asyncio.wait({work}, timeout=_PATIENCE_SECONDS)
        if not done:
            # Big models load for minutes: say so.
            await self._report(this)
        refused = dict(zip(step.loads, await work, strict=True))
        await asyncio.gather(
            *(self._unload(this, unload.pod, unload.model) for unload in step.unloads)
        )
        touched = {load.pod for load in step.loads} | {unload.pod for unload in step.unloads}
        served = {**this.served, **await self._observe(tuple(touched), this.key)}
        plans = {plan.object: plan for plan in this.plans}
        refusals = dict(this.refusals)
        for action, refusal in refused.items():
            now_served = served[action.pod]
            if now_served is not None and serves(now_served, plans[action.object]):
                continue
            found = refusal or await self._explain(this, action, now_served, started)
            if found is not None:
                self._tried[action.attempt] = (self._now(), found)
                refusals[action.object] = found
        return replace(this, served=served, refusals=refusals)

    async def _explain(
        self, this: _Pass, action: Load, served: Served | None, started: datetime
    ) -> Refusal | None:
        """Find out why a pod that answered 200 does not serve what it was told to load."""
        if served is None:
            return None
        seconds = int((self._now() - started).total_seconds()) + 5
        try:
            log = await self._cluster.read_log(
                this.record.meta.namespace, action.pod.name, seconds=seconds
            )
        except OperatorError as error:
            log = f"the log could not be read: {error}"
        reason = (
            find_load_error(log, action.model)
            or served.get(action.model, ServedModel()).reason
            or "Triton says it loaded the model but serves another generation of it"
        )
        return Refusal(LOAD_FAILED, f"pod {action.pod.name}: {shorten(reason)}")

    async def _unload(self, this: _Pass, pod: Pod, model: str) -> None:
        try:
            await self._triton.unload(pod, this.key, model)
        except ServerUnreachableError:
            # The pod will not load it again when it comes back: the link is gone.
            return

    # ---- the end of a server --------------------------------------------------------------

    async def _claim_finalizer(self, record: ServerRecord, server: TritonServer) -> None:
        """Hold a server that writes on somebody else's claim until its files there are removed."""
        if server.spec.repository.claim_name is None or names.FINALIZER in record.meta.finalizers:
            return
        finalizers = (*record.meta.finalizers, names.FINALIZER)
        await self._cluster.set_finalizers(names.KIND_SERVER, record.meta, finalizers)

    async def _release(self, world: ServerWorld, record: ServerRecord) -> float:
        if names.FINALIZER not in record.meta.finalizers:
            return self._settings.resync_seconds
        now = self._now()
        waited = (now - (record.meta.deletion_timestamp or now)).total_seconds()
        left = "files of this server stay on its claim: "
        problem = "the spec cannot be read"
        sync = None
        if record.spec is not None:
            namespace, child = record.meta.namespace, ChildNames(record.meta.name)
            if world.child("Deployment", child.deployment) is not None:
                await self._cluster.delete("Deployment", namespace, child.deployment)
            manifest = _removal(record)
            sync = plan_sync(manifest.digest(), world.jobs, world.pods, now=now)
            problem = sync.message or "the Job that removes them does not end"
            if is_claim_missing(world.pods):
                return await self._let_go(world, record)
            try:
                await self._run_sync(record.spec, manifest, sync)
            except OperatorError as error:
                unanswered = isinstance(error, ClusterError) and not error.is_refusal
                if unanswered and waited < _RELEASE_SECONDS:
                    raise
                # Nothing can be made in a namespace that goes away, and its claims go with it.
                sync, problem = None, str(error)
        done = sync is not None and sync.state is SyncState.DONE and not sync.failures
        if sync is not None and not done and waited < _RELEASE_SECONDS:
            return min(sync.retry_in or _RELEASE_SECONDS, _RELEASE_SECONDS - waited)
        if not done:
            event = Event("Warning", "FilesLeft", left + problem)
            await self._cluster.record_event(names.KIND_SERVER, record.meta, event)
        return await self._let_go(world, record)

    async def _let_go(self, world: ServerWorld, record: ServerRecord) -> float:
        """Take the finalizer off, and what removed the files away: nothing owns that."""
        namespace, digest = record.meta.namespace, _removal(record).digest()
        for job in world.jobs:
            if job.manifest == digest:
                await self._cluster.delete("Job", namespace, job.name)
        name = ChildNames(record.meta.name).manifest(digest)
        await self._cluster.delete("ConfigMap", namespace, name)
        rest = tuple(each for each in record.meta.finalizers if each != names.FINALIZER)
        await self._cluster.set_finalizers(names.KIND_SERVER, record.meta, rest)
        return self._settings.resync_seconds

    # ---- reports --------------------------------------------------------------------------

    async def _report(self, this: _Pass) -> None:
        now = self._now()
        child = ChildNames(this.record.meta.name)
        workload = Workload.parse(
            self._cluster.observe((this.record.meta.namespace, this.record.meta.name)).child(
                "Deployment", child.deployment
            )
        )
        revision = template_revision(this.children.deployment)
        seen = Assessment(
            server=this.record.meta.name,
            namespace=this.record.meta.namespace,
            revision=revision,
            pods=this.served,
            sync=this.sync,
            refusals=this.refusals,
            blocked=explain_stuck(this.served, workload, now=now)
            or str(this.problem or "")
            or ("the server has 0 replicas" if workload.observed and not workload.desired else ""),
        )
        for plan in this.plans:
            await self._write_model(plan.record, assess_model(plan, seen, now=now))
        if workload.observed or this.problem:
            # Before its controller has seen the Deployment there is nothing to tell.
            status = assess_server(
                this.record,
                workload,
                this.served,
                this.plans,
                revision=revision,
                problem=this.problem,
                limit=this.limit,
                now=now,
            )
            await self._write_server(this.record, status)

    async def _report_failure(
        self, world: ServerWorld, record: ServerRecord, error: OperatorError
    ) -> None:
        invalid = isinstance(error, InvalidSpecError)
        status = assess_server_failure(record, error, accepted=not invalid, now=self._now())
        await self._write_server(record, status)
        if not invalid:
            return
        message = f"TritonServer {record.meta.name!r} cannot be served as written: {error}"
        for model in world.models:
            report = report_unserved(model, "ServerInvalid", message, now=self._now())
            await self._write_model(model, report)

    async def _write_model(self, record: ModelRecord, status: TritonModelStatus) -> None:
        latest = self._cluster.model(record.key)
        if latest is None or latest.status == status:
            return
        await self._cluster.write_status(names.KIND_MODEL, record.meta, status)
        for event in find_events(latest.status, status):
            await self._cluster.record_event(names.KIND_MODEL, record.meta, event)

    async def _write_server(self, record: ServerRecord, status: TritonServerStatus) -> None:
        latest = self._cluster.server((record.meta.namespace, record.meta.name))
        if latest is None or latest.status == status:
            return
        await self._cluster.write_status(names.KIND_SERVER, record.meta, status)
        for event in find_events(latest.status, status):
            if event.type == "Warning":
                await self._cluster.record_event(names.KIND_SERVER, record.meta, event)

    def _next(self, this: _Pass) -> float:
        if _must_go_back(this):
            # What was refused is in the status now: go back to what worked without delay.
            return 0.0
        waits = [self._settings.resync_seconds]
        if any(pod.running and served is None for pod, served in this.served.items()):
            waits.append(_SOON_SECONDS)
        if any(pod.unschedulable for pod in this.world.pods):
            waits.append(SCHEDULING_PATIENCE_SECONDS)
        if this.sync.retry_in is not None:
            waits.append(this.sync.retry_in)
        return min(waits)


def _removal(record: ServerRecord) -> RepositoryManifest:
    return RepositoryManifest(server=record.meta.name, remove=True)


def _must_go_back(this: _Pass) -> bool:
    """Return whether a refusal was found that changes what the repository links to."""
    new = (
        plan
        for plan in this.plans
        if plan.object in this.refusals and plan.refusal is None and plan.link == plan.wanted
    )
    return any(
        plan.good not in (None, plan.wanted) or this.refusals[plan.object].reason == SERVER_DIED
        for plan in new
    )


def _probe_model(record: ServerRecord, plans: tuple[ModelPlan, ...]) -> str | None:
    owner = record.owner()
    if owner is None:
        return None
    return next((plan.folder for plan in plans if plan.object == owner[1]), None)
