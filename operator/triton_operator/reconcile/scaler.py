"""How many pods the load asks for: all servers with ``autoscaling``, scraped and decided together.

A tick only decides. It wakes the server when there is something new; the pass, which is the one
writer of the Deployment, asks what was decided.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from triton_operator.api.autoscaling import AutoscalingStatus
from triton_operator.api.server import TritonServer
from triton_operator.autoscaling.decision import Decision, Observed, Pool, advise, decide
from triton_operator.autoscaling.idleness import order_by_idleness
from triton_operator.autoscaling.samples import PodSample
from triton_operator.autoscaling.shapes import shapes_by_model
from triton_operator.autoscaling.sharing import EVERYWHERE, Budget
from triton_operator.autoscaling.startup import estimate_startup, measure_startups, recall_startups
from triton_operator.autoscaling.status import build_status
from triton_operator.desired.metadata import ChildNames
from triton_operator.observed import Pod, Served, ServerRecord, Workload
from triton_operator.plan.pods import is_hanging, is_unschedulable
from triton_operator.plan.replicas import Scaling, carries_out, plan_replicas
from triton_operator.ports import (
    UNEXPECTED,
    Clock,
    Cluster,
    Key,
    PodScraper,
    ScrapeFailure,
    Telemetry,
)
from triton_operator.reconcile.faults import Faults
from triton_operator.reconcile.followed import Followed, Seen
from triton_operator.settings import Settings

_TELL_SECONDS = 30.0
"""How often the status is written for numbers alone; another number of pods is told at once."""

_logger = logging.getLogger(__name__)


class Scaler:
    """Decides for all servers that passes tell it of."""

    def __init__(
        self,
        cluster: Cluster,
        scraper: PodScraper,
        settings: Settings,
        clock: Clock,
        wake: Callable[[Key], None],
        *,
        telemetry: Telemetry,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._scraper = scraper
        self._settings = settings
        self._now = clock
        self._wake = wake
        self._telemetry = telemetry
        self._monotonic = monotonic
        self._followed: dict[Key, Followed] = {}
        self._ticked_at = monotonic()
        self._asked = 0
        self._deciding = asyncio.Lock()
        self._faults = Faults(_logger, "autoscaling")

    def follow(
        self,
        record: ServerRecord,
        server: TritonServer,
        served: Mapping[Pod, Served | None],
        *,
        acting: bool,
    ) -> Scaling:
        """Take in what the pods of a server serve; return what was decided for it.

        Without ``acting`` that is only advice, and no number that was decided before counts later.
        """
        key = record.key
        if server.spec.autoscaling is None:
            self.forget(key)
            return Scaling()
        known = self._followed.get(key)
        if known is None or known.uid != record.meta.uid:
            told = record.status.autoscaling or AutoscalingStatus()
            known = self._followed[key] = Followed(record.meta.uid, wanted=told.desired)
            known.startups = recall_startups(told.startup_seconds)
        known.hear(served)
        if not acting:
            known.scaling = replace(known.scaling, desired=None, limit="", idle=())
        return known.scaling

    def forget(self, key: Key) -> None:
        """Leave a server alone."""
        self._followed.pop(key, None)

    def silent_seconds(self) -> float:
        """Return how long ago the last tick began."""
        return self._monotonic() - self._ticked_at

    def asked(self) -> int:
        """Return how many pods the last tick asks."""
        return self._asked

    def statuses(self) -> dict[Key, AutoscalingStatus]:
        """Return what the last tick saw and wanted, of each server that it decided for."""
        return {key: each.status for key, each in self._followed.items() if each.status is not None}

    async def run(self) -> None:
        """Tick for as long as the process lives."""
        while True:
            begun, failed = self._monotonic(), ""
            self._ticked_at = begun
            try:
                failed = await self.tick()
            except Exception:
                # A bug must not end the autoscaling of all servers for good.
                failed = UNEXPECTED
                _logger.exception("autoscaling: unexpected failure")
            spent = self._monotonic() - begun
            self._telemetry.passed("autoscaling", spent, failed)
            await asyncio.sleep(max(0.0, self._settings.autoscaling_interval_seconds - spent))

    async def tick(self) -> str:
        """Ask all pods once, and decide for each server; return the reason if one failed.

        What fails with one server keeps no other waiting, and is tried again in the next tick.
        """
        self._faults.begin_round()
        servers: list[Seen] = []
        for key, followed in self._followed.items():
            with self._faults.keep(key):
                found = self._look_at(key)
                followed.claim = found.claim() if found is not None else None
                if found is not None:
                    servers.append(found)
        self._asked = sum(len(each.pods) for each in servers)
        budget = self._plan_budget()
        await asyncio.gather(*(self._visit(each, budget) for each in servers))
        return UNEXPECTED if self._faults else ""

    def _look_at(self, key: Key) -> Seen | None:
        """Return what is to be decided on; None where nothing is."""
        followed, world = self._followed[key], self._cluster.observe(key)
        record = world.server
        if record is None or record.spec is None or record.meta.deletion_timestamp is not None:
            return None
        spec = record.spec.spec.autoscaling
        workload = Workload.parse(world.child("Deployment", ChildNames(key[1]).deployment))
        if spec is None or record.meta.uid != followed.uid or not workload.exists:
            return None
        pods = [pod for pod in world.server_pods() if not is_hanging(pod, now=self._now())]
        living = [pod for pod in pods if not pod.terminating]
        ready = tuple(pod for pod in living if pod.ready)
        followed.startups = measure_startups(
            living,
            followed.startups,
            timeout_seconds=record.spec.spec.startup_timeout_seconds,
        )
        unplaced = sum(is_unschedulable(pod, now=self._now()) for pod in living)
        unmade = max(0, workload.desired - len(living)) if workload.refused else 0
        pool = Pool(
            desired=plan_replicas(
                record.spec, workload, followed.scaling.desired, world.autoscalers
            ),
            ready=len(ready),
            startup_seconds=estimate_startup(followed.startups),
            unschedulable=unplaced + unmade,
            rolling_out=workload.rolling_out,
        )
        told = followed.scaling.status or record.status.autoscaling
        acting = carries_out(record.spec, world.autoscalers)
        replicas = max(pool.desired, workload.desired)
        extra = max(0, len(pods) - replicas)
        return Seen(key, followed, record.spec, spec, acting, told, ready, pool, replicas, extra)

    def _plan_budget(self) -> Budget:
        """Return what the limits of GPUs, if there are any, leave to each server in this tick."""
        limits = dict(self._settings.namespace_max_gpus)
        if self._settings.max_gpus:
            limits[EVERYWHERE] = self._settings.max_gpus
        claims = (
            each.hold(each.claim) if key in self._faults else each.claim
            for key, each in self._followed.items()
            if each.claim is not None
        )
        return Budget(limits, claims)

    async def _visit(self, server: Seen, budget: Budget) -> None:
        """Ask the pods of one server, and decide for it, however long those of others take."""
        with self._faults.keep(server.key):
            followed, staying = server.followed, {pod.uid for pod in server.pods}
            served = {pod: each for pod, each in followed.served.items() if pod.uid in staying}
            answers, followed.shapes = await asyncio.gather(
                self._scraper.scrape(server.pods), self._scraper.shapes(served, followed.shapes)
            )
            await self._decide(server, answers, budget)

    async def _decide(
        self, server: Seen, answers: Mapping[Pod, PodSample | ScrapeFailure], budget: Budget
    ) -> None:
        followed, spec, at = server.followed, server.spec, self._monotonic()
        samples = []
        for pod in server.pods:
            answer = answers[pod]
            if isinstance(answer, PodSample):
                samples.append(answer)
            else:
                self._telemetry.scrape_failed(server.key, answer.reason)
                _logger.debug("pod %s: %s: %s", pod.name, answer.reason, answer.message)
        # Beside the event loop: it is arithmetic, for dozens of milliseconds where models are many.
        # One at a time: more threads would take the interpreter from the loop, and be no faster.
        async with self._deciding:
            room, pool = budget.bound(server.name), server.pool
            if room is not None:
                pool = replace(pool, most=room.pods, most_of=room.scope)
            seen = Observed(at, pool, samples, shapes_by_model(followed.shapes))
            decision, memory = await asyncio.to_thread(decide, spec, seen, followed.memory)
            if server.acting:
                budget.take(server.name, decision.desired)
        staying = {pod.uid for pod in server.pods}
        idle = order_by_idleness(staying, followed.memory.samples, samples)
        # What is only advised is no step that a limit of steps could count.
        followed.memory = memory if server.acting else replace(memory, changes=())
        if not server.acting and followed.wanted is not None:
            decision = advise(decision, followed.wanted)
        followed.need, followed.wanted = decision.wanted, decision.desired
        self._tell(server, decision, idle, at)

    def _tell(self, server: Seen, decision: Decision, idle: tuple[str, ...], at: float) -> None:
        """Keep what was decided for the next pass; wake the server if that is news."""
        followed, before = server.followed, server.followed.scaling
        measured = server.pool.startup_seconds if followed.startups else None
        status = build_status(decision, server.told, measured, self._now())
        limit = decision.limit if server.acting else ""
        followed.status = status
        changed = decision.desired != decision.previous
        if changed:
            up = decision.desired > decision.previous
            self._telemetry.decided(server.key, "up" if up else "down")
        first = followed.told_at is None and bool(decision.needs)
        due = first or (followed.told_at is not None and at - followed.told_at >= _TELL_SECONDS)
        news = status != server.told or bool(limit) != bool(before.limit)
        tells = changed or (due and news)
        followed.scaling = Scaling(
            desired=decision.desired if server.acting else None,
            limit=limit if tells else before.limit,
            idle=idle if server.acting else (),
            status=status if tells else before.status,
        )
        if tells:
            followed.told_at = at
            self._wake(server.key)
