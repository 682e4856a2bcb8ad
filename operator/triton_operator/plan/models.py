"""Which generation of each model the repository links to.

A model moves from generation to generation: the *wanted* one is what its spec says now, the *good*
one is the last that every pod was seen to serve. A wanted generation that a pod refused is not
linked while there is a good one: pods that start later must find what works.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from triton_operator.api.model import LastFailure
from triton_operator.observed import ModelRecord, Pod, Served, ServedModel, ServerRecord
from triton_operator.plan.acceptance import BREAKS_ENSEMBLE, Accepted, Verdict
from triton_operator.plan.ensembles import all_members, load_order, members
from triton_operator.plan.versions import served_versions
from triton_operator.repository.manifest import short_digest
from triton_operator.repository.model_config_schema import ModelConfig

LOAD_FAILED = "LoadFailed"
SERVER_DIED = "ServerDied"
LOAD_TIMED_OUT = "LoadTimedOut"
"""Reasons of a refusal."""

_NOTHING: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a wanted generation is not linked although no pod has refused it."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """Where one model stands between its generations."""

    verdict: Verdict
    good: str | None
    """Hash of the generation that was last seen served everywhere on this server."""
    refusal: LastFailure | None = None
    """Why a pod refused the wanted generation, if one did."""
    left_out_for: frozenset[str] = frozenset({SERVER_DIED, LOAD_TIMED_OUT})
    """Reasons for which a refused generation has no link where there is nothing to go back to."""
    changing_over: bool = False
    """What is good stays linked for now, whatever is wanted."""
    context: str = ""
    """Digest of the members that it calls and the ensembles that call it; empty for loners."""
    loading: str | None = None
    """Hash of the generation that a pod is loading: its link must not move under it."""
    hold: Hold | None = None

    @property
    def record(self) -> ModelRecord:
        """The object that the plan is for."""
        return self.verdict.record

    @property
    def occasion(self) -> str:
        """With whom, and at whose request, the link is tried: each has a try of its own."""
        return f"{self.context} {self.record.retry}"

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
        if self.loading is not None:
            return self.loading
        if self.hold is not None:
            return self.good
        return self.link_if_refused(self.refusal.reason if self.refusal is not None else None)

    def link_if_refused(self, reason: str | None) -> str | None:
        """Return what to link to once the wanted generation was refused for a reason.

        It stays linked when there is nothing to go back to, so that a new pod tries it again; but
        not if that harms the other models of the server.
        """
        if self.wanted is None or reason in self.left_out_for:
            return self.good
        refused = reason is not None or self.changing_over
        return self.good if refused and self.good is not None else self.wanted

    @property
    def config(self) -> ModelConfig | None:
        """The config of the linked generation; None when that is not the spec's."""
        if isinstance(self.verdict, Accepted) and self.link == self.wanted:
            return self.verdict.config
        return None

    @property
    def stands(self) -> bool:
        """Whether, if it is an ensemble, what it serves goes on with all that it calls.

        Not when a model is deleted that its spec calls.
        """
        return isinstance(self.verdict, Accepted) or not self.verdict.orphaned

    def may_call(self, model: str) -> bool:
        """Return whether the linked generation may be an ensemble that calls a model."""
        if self.link is None or model == self.folder:
            return False
        # Of an older generation nobody knows.
        return self.config is None or model in members(self.config)

    @property
    def expected_versions(self) -> tuple[int, ...]:
        """The versions that the version policy makes Triton serve; empty when not known."""
        if self.config is None or not isinstance(self.verdict, Accepted):
            return ()
        return served_versions(self.verdict.model.spec, self.config)


def plan_models(
    verdicts: Iterable[Verdict],
    server: str,
    *,
    immutable: bool = False,
    changing_over: bool = False,
    pods: Mapping[Pod, Served | None] = _NOTHING,
    loading: Mapping[str, str] = _NOTHING,
) -> tuple[ModelPlan, ...]:
    """Return where each model stands, from its verdict and what its status remembers.

    ``immutable`` pods all come up or none does: a refused generation must not keep the other
    models from changing. What is good stays linked while pods are ``changing_over`` to
    the other mode.
    ``pods`` are the server's with what they serve, None for one that does not answer; ``loading``
    has the hash of what a pod loads now, by uid of the object.
    """
    verdicts = tuple(verdicts)
    left_out = {SERVER_DIED, LOAD_TIMED_OUT}
    if immutable:
        # On its own, it is tried again each time that Kubernetes restarts its pod.
        left_out = {LOAD_FAILED, SERVER_DIED} if len(verdicts) > 1 else set()
    plans = {
        verdict.record.meta.name: replace(
            _plan_model(verdict, server),
            left_out_for=frozenset(left_out),
            changing_over=changing_over,
            loading=loading.get(verdict.record.meta.uid),
        )
        for verdict in verdicts
    }
    for name, plan in plans.items():
        plans[name] = replace(plan, hold=_suspect(plan, pods))
    by_folder = {plan.folder: name for name, plan in plans.items()}
    configs = {
        plan.folder: plan.verdict.config
        for plan in plans.values()
        if isinstance(plan.verdict, Accepted)
    }
    for folder in (each for level in load_order(configs) for each in level):
        name = by_folder[folder]
        below = [plans[by_folder[m]] for m in sorted(all_members(folder, configs) & set(by_folder))]
        above = [plans[by_folder[e]] for e in sorted(configs) if folder in all_members(e, configs)]
        if below or above:
            plans[name] = _plan_together(plans[name], below, above)
    return tuple(plans.values())


def _suspect(plan: ModelPlan, pods: Mapping[Pod, Served | None]) -> Hold | None:
    """Return why a generation that no pod ever served is kept from pods that crash at start."""
    # Not after the first failure: a link must not go while the next start may be reading it.
    crashing = [pod for pod, served in pods.items() if served is None and pod.may_die_of_models]
    if not crashing or plan.wanted is None or plan.wanted == plan.good or plan.refusal is not None:
        return None
    if any(
        served is not None and served.get(plan.folder, ServedModel()).config_hash == plan.wanted
        for served in pods.values()
    ):
        return None
    message = (
        f"pod {crashing[0].name} crashes while it starts ({crashing[0].crash}), and no pod has"
        " served this generation yet: it is kept from it until the pod runs, and then loaded alone"
    )
    message += f". Generation {plan.good} keeps serving" if plan.good is not None else ""
    return Hold("ServerCrashing", message)


def _plan_together(
    plan: ModelPlan, below: Sequence[ModelPlan], above: Sequence[ModelPlan]
) -> ModelPlan:
    """Return the plan of a model among the plans of what it calls and of what calls it.

    What was refused together with others is tried again with other ones, and when one of these is
    asked for once more. An ensemble that serves stays as it is while a member's wanted generation
    is not served: Triton would drop both the new ensemble and the old one where they do not fit.
    Without a member that it calls, none can load.
    """
    others = [(each, each.link) for each in below] + [(each, each.wanted) for each in above]
    asked = (f"{each.folder}={its} {each.record.retry}".rstrip() for each, its in others)
    context = short_digest(" ".join(asked))
    refusal, hold = plan.refusal, plan.hold
    depends = bool(below) or (refusal is not None and refusal.reason == BREAKS_ENSEMBLE)
    if refusal is not None and depends and refusal.context_hash not in ("", context):
        refusal = None
    late = [
        each
        for each in below
        if each.wanted is not None and (each.link != each.wanted or each.refusal is not None)
    ]
    lacking = [each for each in late if each.link is None]
    if hold is None and (lacking or (late and plan.good not in (None, plan.wanted))):
        member = (lacking or late)[0].folder
        message = f"it waits for its member {member!r}, whose present spec is not served; mend that"
        message += f". Generation {plan.good} keeps serving" if plan.good is not None else ""
        hold = Hold("WaitingForMember", message)
    return replace(plan, context=context, refusal=refusal, hold=hold)


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
        and not verdict.record.is_asked_again
    )
    return ModelPlan(verdict, good or None, failure if refused else None)
