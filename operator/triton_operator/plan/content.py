"""What the claim of a server is to hold, how far it is from that, and what pods serve of it."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from triton_operator.api.server import TritonServer
from triton_operator.api.sync import SyncOptions
from triton_operator.observed import Claim, Pod, Served, ServerRecord, ServerWorld, Workload
from triton_operator.plan.acceptance import Accepted, judge_leaving, judge_models
from triton_operator.plan.ensembles import is_ensemble
from triton_operator.plan.models import ModelPlan, plan_models
from triton_operator.plan.rollouts import (
    choose_repository,
    is_changing_over,
    needed_repositories,
    template_repositories,
)
from triton_operator.plan.sync import SyncPlan, pending_repair, plan_sync
from triton_operator.repository.manifest import Link, Manifest, canonical_json, short_digest


@dataclass(frozen=True, slots=True)
class Content:
    """What the claim of a server is to hold, and what its pods are to serve of it."""

    plans: tuple[ModelPlan, ...]
    manifest: Manifest
    sync: SyncPlan
    """How far the claim is from the manifest."""
    repository: str
    """What new pods are to serve: a revision of the repository, or LINKS."""
    startable: frozenset[str]
    """What pods of the new or of older templates may start from."""


def is_immutable(server: TritonServer) -> bool:
    """Return whether a pod serves one revision of the repository until its end."""
    return server.spec.model_updates == "Rollout"


def plan_content(
    world: ServerWorld,
    record: ServerRecord,
    server: TritonServer,
    workload: Workload,
    served: Mapping[Pod, Served | None],
    *,
    claim: Claim | None,
    backends: Collection[str],
    loading: Mapping[str, str],
    now: datetime,
) -> Content:
    """Return what a server is to serve, from all its models.

    ``served`` has all pods, with None for one that does not answer; ``backends`` are those that the
    administrator allows, empty for all; ``loading`` has the hash of what a pod loads now, by
    uid of the object.
    """
    immutable = is_immutable(server)
    verdicts = (
        *judge_models(server, world.models, backends=backends),
        *map(judge_leaving, world.leaving),
    )
    plans = plan_models(
        verdicts,
        record.meta.name,
        immutable=immutable,
        changing_over=not immutable and is_changing_over(workload, served),
        # New pods of a revision may well crash: then the whole revision is taken back.
        pods={} if immutable else served,
        loading=loading,
    )
    manifest = build_manifest(
        record.meta.name, plans, server.spec.repository.sync, immutable=immutable
    )
    sync = plan_sync(
        manifest.digest(),
        world.jobs,
        world.pods,
        now=now,
        claim_made_at=claim.made_at if claim is not None else None,
        # A server that models share is often applied together with them.
        gathering=record.owner() is None and not workload.exists,
        repair=pending_repair(record),
    )
    repository = choose_repository(manifest, sync, workload, served)
    return Content(
        plans=plans,
        manifest=replace(
            manifest, keep_revisions=needed_repositories(workload, served, repository)
        ),
        sync=sync,
        repository=repository,
        startable=template_repositories(workload, repository),
    )


def build_manifest(
    server: str,
    plans: Iterable[ModelPlan],
    sync: SyncOptions | None = None,
    *,
    immutable: bool = False,
) -> Manifest:
    """Return what the server's part of the claim has to look like."""
    options = sync.manifest() if sync is not None else {}
    plans = tuple(plans)
    links = {plan.folder: _link(plan) for plan in plans if plan.link is not None}
    return Manifest(
        server=server,
        generations=tuple(
            plan.verdict.generation
            for plan in plans
            if isinstance(plan.verdict, Accepted)
            and (plan.link == plan.wanted or plan.loading is not None or plan.hold is not None)
        ),
        links=tuple(links.values()),
        keep=tuple(
            (plan.object, plan.good)
            for plan in plans
            if plan.good is not None and plan.good != plan.link
        ),
        standing=tuple(
            (plan.object, plan.good)
            for plan in plans
            if plan.good not in (None, plan.wanted)
            and plan.stands
            # Of what was rejected nobody knows.
            and (not isinstance(plan.verdict, Accepted) or is_ensemble(plan.verdict.config))
        ),
        immutable=immutable,
        settings=short_digest(canonical_json(options)) if options else "",
    )


def _link(plan: ModelPlan) -> Link:
    assert plan.link is not None
    return Link(model=plan.folder, object=plan.object, hash=plan.link)
