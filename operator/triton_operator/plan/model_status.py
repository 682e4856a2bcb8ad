"""What to tell about one model: conditions, counts, where it is served, what failed last."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from triton_operator.api.conditions import ConditionType, find_condition
from triton_operator.api.model import LastFailure, TritonModelStatus
from triton_operator.observed import ModelRecord, ServedModel
from triton_operator.plan.acceptance import Rejected
from triton_operator.plan.assessment import SILENT_SECONDS, Assessment, Ongoing
from triton_operator.plan.clients import (
    HTTP_PORT,
    explain_unreached,
    find_urls,
    find_versions,
    lags,
)
from triton_operator.plan.findings import Finding, date_findings
from triton_operator.plan.loads import serves
from triton_operator.plan.models import ModelPlan
from triton_operator.plan.stalled import is_lasting
from triton_operator.plan.sync_status import (
    SYNC_BLOCKED,
    assess_sync,
    find_artifacts,
    find_problem,
    find_progress,
)

SERVER_INVALID = "ServerInvalid"
"""Reason of a model whose server cannot be made as its spec wants it."""

PODS_UNREACHABLE = "PodsUnreachable"


@dataclass(frozen=True, slots=True)
class _Count:
    """Pods, as far as one model is concerned."""

    serving: int
    """Those that serve what the model's link points to."""
    silent: int
    """Those that do not answer, and should by now."""
    keeping: int
    """Those that serve its good generation."""
    ready: int

    @property
    def told(self) -> str:
        """The share that serves it, for people."""
        return f"{self.serving} of {self.ready} ready pods serve it"


def assess_model(plan: ModelPlan, seen: Assessment, *, now: datetime) -> TritonModelStatus:
    """Return the status of a model that its server has taken."""
    before = plan.record.status
    current = seen.current()
    serving = [p for p, served in current.items() if served is not None and serves(served, plan)]
    kept = sum(
        served is not None
        and plan.good is not None
        and served.get(plan.folder, ServedModel()).config_hash == plan.good
        for served in seen.answering().values()
    )
    # What is about to be taken back is served nowhere, whatever a pod says.
    refused = plan.object in seen.refusals
    everywhere = bool(current) and len(serving) == len(current) and not refused
    loaded_all = everywhere and plan.link is not None and plan.link == plan.wanted
    up_to_date = loaded_all and seen.unreachable is None
    failure = _failure(plan, seen, now)
    accepted = _accepted(plan, kept)
    synced = assess_sync(plan, seen.sync, kept, everywhere=everywhere)
    count = _Count(len(serving), _silent(plan, seen, now), kept, len(current))
    loaded = _loaded(plan, seen, count, failure, (accepted, synced), done=loaded_all)
    findings: tuple[Finding, ...] = (accepted, synced, loaded)
    missing = next((f for f in findings if not f.holds), explain_unreached(seen))
    if missing is None:
        findings = (*findings, Finding(ConditionType.READY, True, "Serving", count.told))
    else:
        # Who has a server of its own is the only one who can mend it.
        alone = seen.given_up and plan.record.owns_server and not current
        findings = (*findings, *_unready(missing.reason, missing.message, given_up=alone))
    good = plan.link if everywhere and plan.link else plan.good
    moving = before.server not in ("", seen.server) and not up_to_date
    status = TritonModelStatus(
        observed_generation=plan.record.meta.generation,
        conditions=date_findings(plan.record, findings, now=now),
        model_name=plan.folder,
        server=seen.server,
        config_hash=good or "",
        loaded_replicas=len(serving),
        replicas=len(current),
        loaded=f"{len(serving)}/{len(current)}",
        versions=find_versions(plan, seen),
        urls=find_urls(plan, seen),
        transition=_transition(plan, failure, up_to_date=up_to_date and not lags(plan, seen)),
        last_failure=failure
        or (None if synced.holds else _sync_failure(plan, seen, now))
        or before.last_failure,
        retry=plan.record.retry if failure is not None or loaded_all else before.retry,
        sync=None if synced.holds else find_progress(plan, seen.sync),
        artifacts=find_artifacts(plan, seen.sync),
    )
    return _keep_old_server(status, before) if moving else status


def _keep_old_server(status: TritonModelStatus, before: TritonModelStatus) -> TritonModelStatus:
    """Return a status that leaves a model to the server which serves it until this one does.

    That server goes by these fields: what it serves, and that it has to.
    """
    kept = {
        name: getattr(before, name)
        for name in ("server", "model_name", "config_hash", "versions", "urls")
    }
    return status.model_copy(update=kept)


def report_unserved(
    record: ModelRecord, reason: str, message: str, *, served: bool, now: datetime
) -> TritonModelStatus:
    """Return the status of a model that no server has taken.

    What it served before is kept while the server is there that ``served`` it.
    """
    findings = (
        Finding(ConditionType.ACCEPTED, False, reason, message),
        *_unready(reason, message, given_up=reason == SERVER_INVALID and record.owns_server),
    )
    return record.status.model_copy(
        update={
            "observed_generation": record.meta.generation,
            "conditions": date_findings(record, findings, now=now),
            "transition": "InvalidSpec",
            "loaded": "0/0",
            "loaded_replicas": 0,
            "replicas": 0,
        }
        | ({} if served else {"versions": (), "urls": None})
    )


def _unready(reason: str, message: str, *, given_up: bool) -> tuple[Finding, ...]:
    ready = Finding(ConditionType.READY, False, reason, message)
    if given_up or is_lasting(reason):
        return (ready, Finding(ConditionType.STALLED, True, reason, message))
    return (ready,)


def _accepted(plan: ModelPlan, kept: int) -> Finding:
    if isinstance(plan.verdict, Rejected):
        message = plan.verdict.message
        message += "; what was served before keeps serving" if kept else ""
        return Finding(ConditionType.ACCEPTED, False, plan.verdict.reason, message)
    return Finding(ConditionType.ACCEPTED, True, "Valid")


def _sync_failure(plan: ModelPlan, seen: Assessment, now: datetime) -> LastFailure | None:
    """Return why the wanted generation could not be written, dated when it was first seen."""
    problem = find_problem(plan, seen.sync)
    if problem is None or problem.reason == SYNC_BLOCKED or plan.wanted is None:
        return None
    failure = LastFailure(
        reason=problem.reason, message=problem.message, time=now, config_hash=plan.wanted
    )
    return _dated(plan, failure)


def _loaded(
    plan: ModelPlan,
    seen: Assessment,
    pods: _Count,
    failure: LastFailure | None,
    before: Iterable[Finding],
    *,
    done: bool,
) -> Finding:
    """Return whether all pods have loaded it; ``before`` has to hold until any is told to."""
    failure = None if done else failure
    if failure is not None and plan.good not in (None, plan.wanted):
        message = failure.message
        message += f"; generation {plan.good} keeps serving" if pods.keeping else ""
        return Finding(ConditionType.LOADED, False, "BlockedByFailedLoad", message)
    if failure is not None:
        message = f"{pods.told}: {failure.message}"
        return Finding(ConditionType.LOADED, False, "LoadFailed", message)
    if plan.hold is not None:
        return Finding(ConditionType.LOADED, False, plan.hold.reason, plan.hold.message)
    if not pods.ready:
        starting = "new pods are starting" if seen.older else "no pod of the server is ready yet"
        message = seen.blocked or starting
        message += f"; {seen.older} of an older revision serve on" if seen.older else ""
        return Finding(ConditionType.LOADED, False, "NoReadyPods", message)
    if pods.serving < pods.ready:
        missing = (replace(each, type=ConditionType.LOADED) for each in before if not each.holds)
        return next(missing, _loading(pods, seen.long_loads.get(plan.folder)))
    message = f"on {pods.serving} of {pods.ready} ready pods"
    return Finding(ConditionType.LOADED, True, "Loaded", message)


def _loading(pods: _Count, load: Ongoing | None) -> Finding:
    if not pods.silent:
        message = f"{pods.told}; {load.told}" if load is not None else pods.told
        return Finding(ConditionType.LOADED, False, "Loading", message)
    message = (
        f"{pods.told}, {pods.silent} gave the operator no answer on port {HTTP_PORT}:"
        " does a NetworkPolicy or a service mesh keep it out?"
    )
    return Finding(ConditionType.LOADED, False, PODS_UNREACHABLE, message)


def _silent(plan: ModelPlan, seen: Assessment, now: datetime) -> int:
    """Return how many pods do not answer; none as long as that may be for a moment only."""
    loaded = find_condition(plan.record.status.conditions, ConditionType.LOADED)
    # A pod that loads may be too busy to answer.
    if plan.loading is not None or loaded is None or loaded.status == "True":
        return 0
    since = loaded.last_transition_time
    return seen.silent(now) if (now - since).total_seconds() >= SILENT_SECONDS else 0


def _failure(plan: ModelPlan, seen: Assessment, now: datetime) -> LastFailure | None:
    """Return the failure that the wanted generation has now, dated when it was first seen."""
    if plan.refusal is not None and plan.object not in seen.refusals:
        return plan.refusal
    refusal = seen.refusals.get(plan.object)
    if refusal is None or plan.wanted is None:
        return None
    if plan.link != plan.wanted:
        # Another generation was refused, which the link points to meanwhile.
        return plan.refusal
    failure = LastFailure(
        reason=refusal.reason,
        message=refusal.message,
        time=now,
        config_hash=plan.wanted,
        context_hash=plan.context,
    )
    # What another try has come to is news, also if it is the same.
    return failure if plan.record.is_asked_again else _dated(plan, failure)


def _dated(plan: ModelPlan, failure: LastFailure) -> LastFailure:
    """Return the failure that the status tells already, if it is the same."""
    before = plan.record.status.last_failure
    same = before is not None and before.model_copy(update={"time": failure.time}) == failure
    return before if before is not None and same else failure


def _transition(plan: ModelPlan, failure: LastFailure | None, *, up_to_date: bool) -> str:
    if isinstance(plan.verdict, Rejected):
        return "InvalidSpec"
    if up_to_date:
        return "UpToDate"
    return "BlockedByFailedLoad" if failure is not None else "InProgress"
