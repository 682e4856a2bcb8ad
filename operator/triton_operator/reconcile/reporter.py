"""Statuses and Events: written when there is something new to say, and only then."""

from collections.abc import Callable
from datetime import datetime

from triton_operator import names
from triton_operator.api.model import TritonModelStatus
from triton_operator.api.server import TritonServerStatus
from triton_operator.desired.deployment import template_revision
from triton_operator.desired.metadata import ChildNames
from triton_operator.errors import InvalidSpecError, OperatorError
from triton_operator.observed import ModelRecord, ServerRecord, ServerWorld, Workload
from triton_operator.plan.assessment import Assessment
from triton_operator.plan.events import Event, find_events, is_passing
from triton_operator.plan.model_status import SERVER_INVALID, assess_model, report_unserved
from triton_operator.plan.models import ModelPlan
from triton_operator.plan.pods import explain_stuck, note_rejection
from triton_operator.plan.progress import assess_progress, leave_time
from triton_operator.plan.replacement import await_room
from triton_operator.plan.replicas import carries_out, explain_rivals
from triton_operator.plan.server_status import ServerReport, assess_server, assess_server_failure
from triton_operator.plan.stalled import is_lasting
from triton_operator.ports import Clock, Cluster, Key
from triton_operator.reconcile.state import Pass

_PASSING_SECONDS = 2.0
"""How long a model may wait for a pod untold: where pods are quick, that saves a write."""

_ANSWERS = frozenset({"Repaired", "ControlKeyRotated"})
"""Events of a server that say that what its user asked for is done."""


class Reporter:
    """Tells users what a pass has found."""

    def __init__(
        self, cluster: Cluster, clock: Clock, wake: Callable[[Key], None] = lambda _: None
    ) -> None:
        self._cluster = cluster
        self._now = clock
        self._passing: dict[Key, datetime] = {}
        """Since when a model waits for a pod although its status does not say so yet."""
        self._wake = wake

    async def report(self, this: Pass) -> float | None:
        """Write the statuses of a server and its models as far as the pass has come.

        Return the seconds until there is more to tell, if there may be.
        """
        now, problem = self._now(), this.problem
        untold = {model: load.untold_seconds(now) for model, load in this.loads.items()}
        pauses: list[float | None] = [left for left in untold.values() if left > 0]
        child = ChildNames(this.record.meta.name)
        latest = self._cluster.observe(this.record.key)
        workload = Workload.parse(latest.child("Deployment", child.deployment))
        revision = template_revision(this.children.deployment)
        pods = (*this.served,)
        if this.in_place:
            pods, workload = await_room(pods, workload, this.server, now=now)
        workload = note_rejection(workload, pods, this.world.ended_pods(), revision, now=now)
        deadline = this.children.deployment["spec"]["progressDeadlineSeconds"]
        workload = leave_time(workload, pods, this.sync, seconds=deadline, now=now)
        seen = Assessment(
            server=this.record.meta.name,
            namespace=this.record.meta.namespace,
            revision=revision,
            pods=this.served,
            sync=this.sync,
            refusals=this.refusals,
            long_loads={model: load for model, load in this.loads.items() if untold[model] <= 0},
            blocked=explain_stuck(pods, workload, now=now)
            or str(problem or "")
            or ("the server has 0 replicas" if workload.observed and not workload.desired else ""),
            given_up=bool(workload.stalled) or (problem is not None and is_lasting(problem.reason)),
            unreachable=problem if latest.child("Service", child.service) is None else None,
        )
        for plan in this.plans:
            if plan.record in this.world.leaving:
                continue
            pauses.append(await self.write_model(plan.record, assess_model(plan, seen, now=now)))
        if workload.observed or problem:
            # Before its controller has seen the Deployment there is nothing to tell.
            report = ServerReport(
                replicas=workload.replicas,
                progress=assess_progress(
                    pods, workload, revision, in_place=this.in_place, loss=this.loss, now=now
                ).waiting_for(this.sync),
                plans=this.plans,
                problem=problem,
                scaling=this.scaling,
                rivals=explain_rivals(this.server, this.world.autoscalers),
                claim=this.claim,
                repaired=this.sync.repaired,
                rotated=this.key_plan.rotated,
            )
            status = assess_server(this.record, report, now=now)
            carried_out = carries_out(this.server, this.world.autoscalers)
            await self._write_server(this.record, status, scaled=carried_out)
        return min((pause for pause in pauses if pause is not None), default=None)

    async def report_failure(
        self, world: ServerWorld, record: ServerRecord, error: OperatorError
    ) -> None:
        """Write why a pass could not be made."""
        invalid = isinstance(error, InvalidSpecError)
        status = assess_server_failure(record, error, accepted=not invalid, now=self._now())
        await self._write_server(record, status)
        if not invalid:
            return
        message = f"TritonServer {record.meta.name!r} cannot be served as written: {error}"
        for model in world.models:
            report = report_unserved(model, SERVER_INVALID, message, served=True, now=self._now())
            await self.write_model(model, report)

    async def write_model(self, record: ModelRecord, status: TritonModelStatus) -> float | None:
        """Write a model's status and the Events of what is new in it; nothing if nothing is.

        Return the seconds after which to come back with what is not worth a write yet.
        """
        latest = self._cluster.model(record.key)
        since = self._passing.pop(record.key, None)
        if latest is None or latest.status == status:
            return None
        # A pass may take minutes: by now the model may be somebody else's to report.
        moved = latest.server_name != record.server_name or latest.meta.deletion_timestamp
        if moved or latest.status.observed_generation > status.observed_generation:
            return None
        if is_passing(latest.status, status):
            now = self._now()
            since = since or now
            left = _PASSING_SECONDS - (now - since).total_seconds()
            if left > 0:
                self._passing[record.key] = since
                return left
        await self._cluster.write_status(names.KIND_MODEL, record.meta, status)
        if latest.status.server not in ("", status.server):
            # It has moved: the server that it leaves may let go of it.
            self._wake((record.meta.namespace, latest.status.server))
        for event in find_events(latest.status, status):
            await self._cluster.record_event(names.KIND_MODEL, record.meta, event)
        return None

    async def record(self, plan: ModelPlan, event: Event) -> None:
        """Attach an Event to a model."""
        await self._cluster.record_event(names.KIND_MODEL, plan.record.meta, event)

    async def _write_server(
        self, record: ServerRecord, status: TritonServerStatus, *, scaled: bool = False
    ) -> None:
        """Write a server's status; ``scaled`` says that pods come and go as it was decided."""
        latest = self._cluster.server(record.key)
        if latest is None or latest.status == status:
            return
        await self._cluster.write_status(names.KIND_SERVER, record.meta, status)
        for event in find_events(latest.status, status):
            told = event.reason in _ANSWERS or (scaled and event.reason == "Scaled")
            if told or event.type == "Warning":
                await self._cluster.record_event(names.KIND_SERVER, record.meta, event)
