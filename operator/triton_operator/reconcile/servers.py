"""One pass over one server: make its children, its claim and its pods match its models."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime

from triton_operator.api.server import TritonServer
from triton_operator.desired import Children, build_children
from triton_operator.desired.deployment import paused, template_revision
from triton_operator.desired.metadata import ChildNames
from triton_operator.desired.placement import with_pull_secrets
from triton_operator.errors import (
    InvalidSpecError,
    NamespaceTerminatingError,
    OperatorError,
    TransientError,
)
from triton_operator.observed import Pod, Served, ServerRecord, ServerWorld, Workload
from triton_operator.plan.claim import assess_claim, explain_unbound, name_claim, needs_one_node
from triton_operator.plan.content import Content, is_immutable, plan_content
from triton_operator.plan.halting import find_loss
from triton_operator.plan.models import find_probe_model
from triton_operator.plan.pods import SCHEDULING_PATIENCE_SECONDS
from triton_operator.plan.replacement import must_replace_in_place
from triton_operator.plan.replicas import Scaling, carries_out, plan_deletion_costs, plan_replicas
from triton_operator.ports import Clock, Cluster, Key, ModelServers, Telemetry
from triton_operator.reconcile.claims import Claims
from triton_operator.reconcile.control_keys import ControlKeys
from triton_operator.reconcile.crashes import Crashes
from triton_operator.reconcile.loader import Loader
from triton_operator.reconcile.releaser import Releaser
from triton_operator.reconcile.reporter import Reporter
from triton_operator.reconcile.roller import Roller
from triton_operator.reconcile.scaler import Scaler
from triton_operator.reconcile.state import Pass
from triton_operator.reconcile.syncer import Syncer
from triton_operator.settings import Settings

_SOON_SECONDS = 2.0
"""When a pod that runs but does not answer yet is asked again."""


class ServerReconciler:
    """Drives servers and the models on them towards their specs, one pass at a time."""

    def __init__(
        self,
        cluster: Cluster,
        triton: ModelServers,
        settings: Settings,
        clock: Clock,
        wake: Callable[[Key], None],
        *,
        scaler: Scaler,
        telemetry: Telemetry,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._now = clock
        self._scaler = scaler
        self._reporter = Reporter(cluster, clock, wake)
        self._loader = Loader(cluster, triton, self._reporter, clock, wake, telemetry=telemetry)
        self._claims = Claims(cluster, clock)
        self._syncer = Syncer(cluster, self._claims, settings, clock, telemetry)
        self._roller = Roller(cluster)
        self._crashes = Crashes(cluster)
        self._keys = ControlKeys(cluster)
        self._releaser = Releaser(cluster, self._syncer, clock)
        self._failed: dict[Key, datetime] = {}
        """Since when the passes over a server fail."""

    async def stop(self) -> None:
        """Give up all loads: the process ends."""
        await self._loader.stop()

    async def reconcile(self, key: Key) -> float:
        """Make one pass; return the seconds after which the next is due.

        Raises
        ------
        OperatorError
            After it was written to the status, unless the namespace goes away or the next attempt
            may do; the caller decides when to retry.

        """
        world = self._cluster.observe(key)
        record = self._with_defaults(world.server)
        if record is None or record.meta.deletion_timestamp is not None:
            self._loader.cancel(key)
            self._scaler.forget(key)
        if record is None:
            self._syncer.forget(key)
            self._roller.forget(key)
            self._crashes.forget(key)
            self._failed.pop(key, None)
            return self._settings.resync_seconds
        present = [model for model in world.models if model.meta.deletion_timestamp is None]
        leaving = tuple(model for model in present if model.leaves(record.meta.name))
        staying = tuple(m for m in present if m not in leaving and record.takes(m))
        world = replace(world, models=staying, leaving=leaving)
        if record.meta.deletion_timestamp is not None:
            pause = await self._releaser.release(world, record)
            return pause if pause is not None else self._settings.resync_seconds
        if self._is_retiring(world, record):
            return self._settings.resync_seconds
        try:
            if record.spec is None:
                raise record.error or InvalidSpecError("the spec cannot be read")
            await self._releaser.hold(record, record.spec)
            pause = await self._serve(world, record, record.spec)
        except NamespaceTerminatingError:
            raise  # it will soon be gone itself
        except OperatorError as error:
            # A request fails now and then, and the next pass, in a second or two, makes it.
            again, now = key in self._failed, self._now()
            lasted = (now - self._failed.setdefault(key, now)).total_seconds()
            lasting = again and lasted >= error.patience_seconds
            if lasting or not isinstance(error, TransientError):
                await self._reporter.report_failure(world, record, error)
            raise
        self._failed.pop(key, None)
        return pause

    def _with_defaults(self, record: ServerRecord | None) -> ServerRecord | None:
        """Return a server with what the administrator decides for those that do not say."""
        secrets = self._settings.image_pull_secrets
        if record is None or record.spec is None or not secrets:
            return record
        return replace(record, spec=with_pull_secrets(record.spec, secrets))

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
        now, child = self._now(), ChildNames(record.meta.name)
        modes = await self._claims.modes(server)
        volume = await self._claims.find(server, world.children)
        unbound = explain_unbound(volume, world.server_pods(), now=now)
        world = replace(world, pods=name_claim(world.pods, unbound))
        if is_immutable(server):
            self._loader.cancel(record.key)
        workload = Workload.parse(world.child("Deployment", child.deployment))
        pods = await self._crashes.explain(record.key, world.server_pods())
        ring = await self._keys.provide(record.meta, workload, pods)
        served = await self._loader.observe(pods, ring.keys)
        content = plan_content(
            world,
            record,
            server,
            workload,
            served,
            claim=volume,
            backends=self._settings.allowed_backends,
            loading=self._loader.loading(record.key),
            now=now,
        )
        # While pods were asked somebody else may have scaled the Deployment, or begun to.
        latest = self._cluster.observe(record.key)
        world = replace(world, autoscalers=latest.autoscalers)
        workload = Workload.parse(latest.child("Deployment", child.deployment))
        scaling, replicas = await self._resize(world, record, server, workload, served)
        in_place = must_replace_in_place(server, workload, latest.server_pods(), now=self._now())
        children = build_children(
            server,
            default_image=self._settings.server_image,
            replicas=replicas,
            control_key=ring.current,
            probe_model=find_probe_model(record, content.plans),
            one_node=needs_one_node(modes),
            repository=content.repository,
            startable=content.startable,
            in_place=in_place,
            access=self._settings.server_access,
        )
        revision = template_revision(children.deployment)
        paused_before = workload.paused and workload.revision == revision
        loss = find_loss(content.plans, served, revision, paused=paused_before)
        if loss:
            children = replace(children, deployment=paused(children.deployment))
        refusals = await self._apply(world, server, children, content)
        claim, problem = assess_claim(server, modes, refusals, unbound)
        return await self._follow_up(
            Pass(
                world=world,
                record=record,
                server=server,
                plans=content.plans,
                children=children,
                problem=problem,
                scaling=scaling,
                claim=claim,
                sync=await self._syncer.follow(record.key, content.sync),
                repository=content.repository,
                in_place=in_place,
                loss=loss,
                keys=ring.keys,
                key_plan=ring.plan,
                served=served,
            )
        )

    async def _resize(
        self,
        world: ServerWorld,
        record: ServerRecord,
        server: TritonServer,
        workload: Workload,
        served: Mapping[Pod, Served | None],
    ) -> tuple[Scaling, int]:
        """Return how many pods there are to be; if fewer, tell Kubernetes which ones to end."""
        acting = carries_out(server, world.autoscalers)
        scaling = self._scaler.follow(record, server, served, acting=acting)
        replicas = plan_replicas(server, workload, scaling.desired, world.autoscalers)
        costs = plan_deletion_costs(served, scaling.idle, workload, replicas)
        for pod, cost in costs.items():
            await self._cluster.set_deletion_cost(record.meta.namespace, pod, cost)
        return scaling, replicas

    async def _apply(
        self, world: ServerWorld, server: TritonServer, children: Children, content: Content
    ) -> tuple[InvalidSpecError | None, ...]:
        """Make the children, the claim and what is on it; return what the spec does not allow."""
        refusals = await asyncio.gather(
            _refusal(self._claims.provide(server, world.children)),
            *map(_refusal, map(self._cluster.apply, children.manifests())),
            _refusal(self._syncer.run(server, content.manifest, content.sync, world.jobs)),
        )
        await self._drop_unwanted(world, children)
        return tuple(refusals)

    async def _follow_up(self, this: Pass) -> float:
        """Bring the models into the pods, tell what was found; return when to come back."""
        if is_immutable(this.server):
            this = await self._roller.watch(this)
        else:
            this = await self._loader.load(this)
            this = replace(this, loads=self._loader.ongoing(this.server, this.record.key))
        untold = await self._reporter.report(this)
        pause = self._next(this)
        return pause if untold is None else min(pause, untold)

    async def _drop_unwanted(self, world: ServerWorld, children: Children) -> None:
        namespace = children.deployment["metadata"]["namespace"]
        for kind, name in children.unwanted():
            if world.child(kind, name) is not None:
                await self._cluster.delete(kind, namespace, name)

    def _next(self, this: Pass) -> float:
        if this.must_go_back or this.key_plan.announced:
            # What was refused is in the status now: go back to what worked without delay.
            return 0.0
        waits = [self._settings.resync_seconds]
        if any(pod.running and served is None for pod, served in this.served.items()):
            waits.append(_SOON_SECONDS)
        if any(pod.unschedulable for pod in this.world.pods):
            waits.append(SCHEDULING_PATIENCE_SECONDS)
        if this.problem is not None:
            waits.append(this.problem.retry_seconds)
        if this.sync.retry_in is not None:
            waits.append(this.sync.retry_in)
        return min(waits)


async def _refusal(request: Awaitable[object]) -> InvalidSpecError | None:
    """Return why the spec makes a request impossible; None if it was made."""
    try:
        await request
    except InvalidSpecError as error:
        return error
    return None
