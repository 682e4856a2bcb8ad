"""Which generation of each model the repository links to, and with it the manifest to make true.

A model moves from generation to generation: the *wanted* one is what its spec says now, the *good*
one is the last that every pod was seen to serve. A wanted generation that a pod refused is not
linked while there is a good one: pods that start later must find what works.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tritonclient.grpc.model_config_pb2 import ModelConfig

from triton_operator.api.model import LastFailure
from triton_operator.api.sync import SyncOptions
from triton_operator.observed import ModelRecord, ServerRecord
from triton_operator.plan.acceptance import Accepted, Verdict
from triton_operator.plan.ensembles import is_ensemble
from triton_operator.repository.manifest import Link, Manifest, canonical_json, short_digest

LOAD_FAILED = "LoadFailed"
SERVER_DIED = "ServerDied"
"""Reasons of a refusal."""


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """Where one model stands between its generations."""

    verdict: Verdict
    good: str | None
    """Hash of the generation that was last seen served everywhere on this server."""
    refusal: LastFailure | None = None
    """Why a pod refused the wanted generation, if one did."""
    left_out_for: frozenset[str] = frozenset({SERVER_DIED})
    """Reasons for which a refused generation has no link where there is nothing to go back to."""
    held: bool = False
    """What is good stays linked for now, whatever is wanted."""

    @property
    def record(self) -> ModelRecord:
        """The object that the plan is for."""
        return self.verdict.record

    @property
    def object(self) -> str:
        """Name of the ``TritonModel``."""
        return self.record.meta.name

    @property
    def folder(self) -> str:
        """The name under which the model is, or was, served."""
        if isinstance(self.verdict, Accepted):
            return self.record.folder
        return self.record.status.model_name or self.record.folder

    @property
    def wanted(self) -> str | None:
        """Hash of the generation that the spec asks for; None when it cannot be served."""
        return self.verdict.generation.hash if isinstance(self.verdict, Accepted) else None

    @property
    def link(self) -> str | None:
        """Hash of the generation that the repository should link to; None for no link."""
        return self.link_if_refused(self.refusal.reason if self.refusal is not None else None)

    def link_if_refused(self, reason: str | None) -> str | None:
        """Return what to link to once the wanted generation was refused for a reason.

        It stays linked when there is nothing to go back to, so that a new pod tries it again; but
        not if that harms the other models of the server.
        """
        if self.wanted is None or reason in self.left_out_for:
            return self.good
        refused = reason is not None or self.held
        return self.good if refused and self.good is not None else self.wanted

    @property
    def config(self) -> ModelConfig | None:
        """The config of the linked generation; None when that is not the spec's."""
        if isinstance(self.verdict, Accepted) and self.link == self.wanted:
            return self.verdict.config
        return None

    @property
    def expected_versions(self) -> tuple[int, ...]:
        """The versions that the version policy makes Triton serve; empty when not known."""
        if self.config is None or not isinstance(self.verdict, Accepted):
            return ()
        if is_ensemble(self.config) and not self.verdict.model.spec.versions:
            return (1,)
        present = sorted(version.version for version in self.verdict.model.spec.versions)
        policy = self.config.version_policy
        match policy.WhichOneof("policy_choice"):
            case "all":
                return tuple(present)
            case "specific":
                return tuple(sorted(set(policy.specific.versions)))
            case "latest":
                return tuple(present[-(policy.latest.num_versions or 1) :])
            case _:
                return tuple(present[-1:])


def plan_models(
    verdicts: Iterable[Verdict], server: str, *, immutable: bool = False, held: bool = False
) -> tuple[ModelPlan, ...]:
    """Return where each model stands, from its verdict and what its status remembers.

    ``immutable`` pods all come up or none does: a refused generation must not keep the other
    models from changing. Models are ``held`` while their pods change over to another mode.
    """
    verdicts = tuple(verdicts)
    left_out = {SERVER_DIED}
    if immutable:
        # On its own, it is tried again each time that Kubernetes restarts its pod.
        left_out = {LOAD_FAILED, SERVER_DIED} if len(verdicts) > 1 else set()
    return tuple(
        replace(_plan_model(verdict, server), left_out_for=frozenset(left_out), held=held)
        for verdict in verdicts
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
            if isinstance(plan.verdict, Accepted) and plan.link == plan.wanted
        ),
        links=tuple(links.values()),
        keep=tuple(
            (plan.object, plan.good)
            for plan in plans
            if plan.good is not None and plan.good != plan.link
        ),
        immutable=immutable,
        settings=short_digest(canonical_json(options)) if options else "",
    )


def find_probe_model(server: ServerRecord, plans: Iterable[ModelPlan]) -> str | None:
    """Return the name of the model that a server belongs to; None for one that is shared."""
    owner = server.owner()
    if owner is None:
        return None
    return next((plan.folder for plan in plans if plan.object == owner[1]), None)


def linked(plans: Iterable[ModelPlan]) -> Mapping[str, ModelPlan]:
    """Return the plans that have a link, by the folder they are served as."""
    return {plan.folder: plan for plan in plans if plan.link is not None}


def _plan_model(verdict: Verdict, server: str) -> ModelPlan:
    status = verdict.record.status
    accepted = isinstance(verdict, Accepted)
    here = status.server == server and (not accepted or status.model_name == verdict.record.folder)
    good = status.config_hash if here else None
    failure = status.last_failure
    refused = (
        isinstance(verdict, Accepted)
        and failure is not None
        and status.transition == "BlockedByFailedLoad"
        and failure.config_hash == verdict.generation.hash != good
    )
    return ModelPlan(verdict, good or None, failure if refused else None)


def _link(plan: ModelPlan) -> Link:
    assert plan.link is not None
    return Link(model=plan.folder, object=plan.object, hash=plan.link)
