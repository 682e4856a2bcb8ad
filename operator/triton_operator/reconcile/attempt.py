"""One load on one pod, from the request to what became of it."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from triton_operator.errors import OperatorError, ServerUnreachableError
from triton_operator.observed import Pod, Served, ServedModel
from triton_operator.plan.acceptance import BREAKS_ENSEMBLE
from triton_operator.plan.assessment import Refusal
from triton_operator.plan.failure_log import (
    find_config_error,
    find_load_error,
    find_misfit,
    shorten,
)
from triton_operator.plan.loads import Load, Unload, serves
from triton_operator.plan.models import (
    LOAD_FAILED,
    LOAD_TIMED_OUT,
    SERVER_DIED,
    ModelPlan,
)
from triton_operator.ports import Clock, Cluster, Key, ModelServers

_NOT_READ = "failed to poll from model repository"
"""All that Triton answers about a config that it cannot take; only its log says why."""
_BLAME_SECONDS, _BLAME_TRIES = 0.5, 20
"""How often, and how long apart, to look whether the kubelet has seen a server die."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a load."""

    done: bool
    refusal: Refusal | None = None
    """Why the generation is not served; None where nobody knows."""

    @property
    def result(self) -> str:
        """The same in one word."""
        if self.done:
            return "Loaded"
        return self.refusal.reason if self.refusal is not None else "Unclear"


@dataclass(frozen=True, slots=True)
class Errand:
    """A load and what has to be known to judge it."""

    load: Load
    plans: tuple[ModelPlan, ...]
    """Of the model and of what is loaded along with it."""
    above: tuple[ModelPlan, ...]
    """Models that may call this one and that the pod served before."""
    server: Key
    key: str
    timeout_seconds: float
    replaced: bool = False
    """Somebody else loaded something in its place."""

    def is_done(self, served: Served | None) -> bool:
        """Return whether a pod serves all that it was told to load."""
        return served is not None and all(serves(served, plan) for plan in self.plans)


class Attempts:
    """Carries out single loads and unloads, and finds out how they ended."""

    def __init__(self, cluster: Cluster, triton: ModelServers, clock: Clock) -> None:
        self._cluster = cluster
        self._triton = triton
        self._now = clock

    async def observe(self, pod: Pod, key: str | None) -> Served | None:
        """Return what a pod serves, by its own word; None if it does not answer."""
        if not pod.running or pod.terminating or not pod.ip or key is None:
            return None
        try:
            return await self._triton.observe(pod, key)
        except ServerUnreachableError:
            return None

    async def unload(self, unload: Unload, key: str) -> None:
        """Unload a model; a pod that does not answer will not load it again: its link is gone."""
        try:
            await self._triton.unload(unload.pod, key, unload.model)
        except ServerUnreachableError:
            return

    async def load(self, errand: Errand, rivals: Callable[[], Collection[Load]]) -> Outcome:
        """Load a model and return what became of it.

        ``rivals`` are the other unproven loads that go on in the same container.
        """
        action, started = errand.load, self._now()
        try:
            if errand.replaced:
                # Nothing in its folder changed since: Triton would skip a plain load.
                await self._triton.unload(action.pod, errand.key, action.model)
            said = await self._triton.load(
                action.pod, errand.key, action.model, timeout_seconds=errand.timeout_seconds
            )
        except ServerUnreachableError as error:
            in_time = (self._now() - started).total_seconds() < errand.timeout_seconds
            refusal = await self._blame(errand, error, rivals, in_time=in_time)
            served = await self.observe(action.pod, errand.key) if refusal is None else None
            return Outcome(errand.is_done(served), refusal)
        served = await self.observe(action.pod, errand.key)
        if served is not None and errand.is_done(served):
            return await self._check_above(errand, served, started)
        if said is not None:
            reason = said
            if _NOT_READ in said:
                log = await self._read_log(errand, started)
                reason = find_config_error(log, action.model) or said
            return Outcome(False, Refusal(LOAD_FAILED, f"pod {action.pod.name}: {shorten(reason)}"))
        return Outcome(False, await self._explain(errand, served, started))

    async def _check_above(self, errand: Errand, served: Served, started: datetime) -> Outcome:
        """Find ensembles that served before: Triton drops them where the new member does not fit.

        It says so in its log only, and answers 200.
        """
        lost = next((plan for plan in errand.above if not _is_live(served, plan.folder)), None)
        plan = errand.plans[0]
        if lost is None or not errand.load.first or plan.good in (None, plan.wanted):
            return Outcome(True)
        log = await self._read_log(errand, started)
        reason = find_misfit(log, lost.folder) or "its log does not say why"
        message = (
            f"pod {errand.load.pod.name} loaded it, and dropped the ensemble {lost.folder!r} that"
            f" calls it: {reason}; change the ensemble together with it"
        )
        return Outcome(False, Refusal(BREAKS_ENSEMBLE, message))

    async def _blame(
        self,
        errand: Errand,
        error: ServerUnreachableError,
        rivals: Callable[[], Collection[Load]],
        *,
        in_time: bool,
    ) -> Refusal | None:
        """Find out whether a load took its server down; None if something else took the pod.

        Only a container that started again, or runs no more, in a pod that was to stay speaks
        against the model, and only if nothing else unproven was being loaded. A connection that
        broke, a drain or a rollout does not.
        """
        before, others = errand.load.pod, rivals()
        message = f"pod {before.name}: the server stopped answering while it loaded the model"
        for _ in range(_BLAME_TRIES):
            world = self._cluster.observe(errand.server)
            pod = next((pod for pod in world.pods if pod.uid == before.uid), None)
            if pod is None or pod.terminating:
                return None
            if pod.started_at != before.started_at or not pod.running:
                return Refusal(SERVER_DIED, f"{message}: {error}") if not others else None
            await asyncio.sleep(_BLAME_SECONDS)
        if in_time:
            return None
        seconds = int(errand.timeout_seconds)
        return Refusal(
            LOAD_TIMED_OUT,
            f"pod {before.name}: the load did not end within {seconds} s"
            " (spec.startupTimeoutSeconds of the server)",
        )

    async def _explain(
        self, errand: Errand, served: Served | None, started: datetime
    ) -> Refusal | None:
        """Find out why a pod that answered 200 does not serve what it was told to load."""
        if served is None:
            return None
        action = errand.load
        log = await self._read_log(errand, started)
        reason = (
            find_load_error(log, action.model)
            or served.get(action.model, ServedModel()).reason
            or "Triton says it loaded the model but serves another generation of it"
        )
        return Refusal(LOAD_FAILED, f"pod {action.pod.name}: {shorten(reason)}")

    async def _read_log(self, errand: Errand, started: datetime) -> str:
        seconds = int((self._now() - started).total_seconds()) + 5
        try:
            return await self._cluster.read_log(errand.server[0], errand.load.pod, seconds=seconds)
        except OperatorError as error:
            return f"the log could not be read: {error}"


def _is_live(served: Served, model: str) -> bool:
    return bool(served.get(model, ServedModel()).ready_versions)
