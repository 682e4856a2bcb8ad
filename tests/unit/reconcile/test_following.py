"""What a server's pass learns from the log of its sync Job, and how rarely it looks."""

from datetime import timedelta
from typing import Any

import pytest

from tests.unit.reconcile.world import NAMESPACE, Cluster, Operator, World
from triton_operator import names
from triton_operator.adapters.telemetry import PrometheusTelemetry
from triton_operator.api.model import TritonModelStatus
from triton_operator.errors import ClusterError
from triton_operator.observed import Pod
from triton_operator.plan.sync import SyncPlan, SyncState
from triton_operator.reconcile.claims import Claims
from triton_operator.reconcile.reporter import Reporter
from triton_operator.reconcile.syncer import Syncer
from triton_operator.repository.outcome import Event, Failure
from triton_operator.settings import Settings

MIB = 1 << 20
SERVER = (NAMESPACE, "vision")
RUNNING = Pod("sync-1-x", uid="uid-1", component="sync", running=True)
OVER = Pod("sync-1-x", uid="uid-1", component="sync", finished=True)


def copied(done: int, total: int | None = 100 * MIB, model: str = "resnet") -> Event:
    return Event("copied", model, bytes=done, total=total)


async def test_progress_is_told_while_a_job_runs_and_gone_when_it_is_over(
    world: World, operator: Operator
) -> None:
    world.copying = [copied(0)]
    world.model("resnet")
    seen = []

    for step in range(12):
        await operator.run(seconds=2)
        world.copying.append(copied(10 * step * MIB))
        sync = world.model_status("resnet").sync
        seen.append(sync.progress if sync else None)

    assert seen[0] is None
    told = [each for each in seen if each]
    assert told == sorted(told, key=lambda text: int(text.partition("%")[0]))
    assert len(set(told)) >= 3
    assert world.condition("resnet", "Synced") == "False Syncing"
    # 24 seconds, of which the Job runs for about 20
    assert 3 <= len(world.log_reads) <= 5

    world.copying = None
    await operator.settle()
    assert world.model_status("resnet").sync is None
    assert world.condition("resnet") == "True Serving"


async def test_a_short_sync_and_a_settled_world_read_no_log(
    world: World, operator: Operator
) -> None:
    world.model("resnet")
    await operator.settle()
    await operator.run(seconds=60)

    assert world.log_reads == []


async def test_a_copy_that_stands_still_writes_nothing(world: World, operator: Operator) -> None:
    world.copying = [copied(50 * MIB)]
    world.model("resnet")
    await operator.run(seconds=20)
    world.writes.clear()

    world.copying.append(copied(50 * MIB + 1))
    await operator.run(seconds=20)

    assert world.writes == []


@pytest.mark.parametrize("kind", [names.KIND_MODEL, names.KIND_SERVER])
async def test_nothing_has_failed_because_a_copy_takes_longer_than_a_start(
    world: World, operator: Operator, kind: str
) -> None:
    world.copying = [copied(50 * MIB)]
    world.model("resnet")
    await operator.run(seconds=12)
    late = {"type": "Progressing", "status": "False", "message": "timed out progressing"}
    world.objects[("Deployment", NAMESPACE, "resnet")]["status"]["conditions"] = [late]
    await operator.run_once()

    assert world.condition("resnet", "Stalled", kind) == "none"
    told = {c.type: c.message for c in world.server_status("resnet").conditions}
    assert told["Ready"] == "0 of 1 pods ready; pods wait for the files of models"


async def test_a_failure_is_told_before_the_others_are_done(
    world: World, operator: Operator
) -> None:
    failed = Event("failed", "gone", reason="SourceNotFound", message="nothing there")
    world.copying = [failed, copied(10 * MIB)]
    world.server("vision")
    for name in ("resnet", "gone"):
        world.model(name, serverRef={"name": "vision"})
    await operator.run(seconds=12)

    assert world.condition("gone", "Synced") == "False SourceNotFound"
    assert world.model_status("gone").sync is None
    assert world.condition("resnet", "Synced") == "False Syncing"
    assert world.model_status("resnet").sync is not None


SILENT = "https://models.example/silent.onnx"
SLOW = {"versions": [{"version": 1, "source": {"uri": SILENT}}], "serverRef": {"name": "vision"}}
SHARED = {"serverRef": {"name": "vision"}}


async def test_a_silent_source_keeps_only_its_own_model_waiting(
    world: World, operator: Operator
) -> None:
    world.silent_sources.add(SILENT)
    world.server("vision", replicas=2)
    world.model("slow", code="", **SLOW)
    world.model("quick", **SHARED)
    await operator.run(seconds=30)
    assert world.condition("quick") == "True Serving"
    assert world.condition("slow", "Synced") == "False Syncing"

    world.model("late", **SHARED)  # while the Job runs
    await operator.run(seconds=20)
    assert world.condition("late") == "True Serving"

    world.model("quick", code="# 2", **SHARED)
    await operator.run(seconds=20)
    assert world.condition("quick") == "True Serving"
    newest = world.model_status("quick").config_hash
    assert [each["quick"] for each in world.serving("vision")] == [newest] * 2

    world.remove(names.KIND_MODEL, "late")
    await operator.run(seconds=20)
    assert [set(each) for each in world.serving("vision")] == [{"quick"}] * 2

    world.silent_sources.clear()
    await operator.settle()
    assert world.condition("slow") == "True Serving"
    assert world.condition("quick") == "True Serving"


async def test_a_generation_that_is_refused_while_a_job_runs_is_taken_back(
    world: World, operator: Operator
) -> None:
    world.server("vision")
    world.model("quick", **SHARED)
    await operator.settle()
    good = world.model_status("quick").config_hash
    world.silent_sources.add(SILENT)
    world.model("slow", code="", **SLOW)
    world.model("quick", code="raise", **SHARED)
    await operator.run(seconds=40)

    assert world.condition("quick", "Loaded") == "False BlockedByFailedLoad"
    assert world.serving("vision") == [{"quick": good}]
    assert world.condition("slow", "Synced") == "False Syncing"


async def test_what_was_told_before_a_read_that_failed_is_read_with_the_next(
    world: World,
) -> None:
    asked: list[int | None] = []
    refusals = [False, True, False]

    class Logs(Cluster):
        async def read_log(self, *_: object, seconds: int | None = None, **__: object) -> str:
            asked.append(seconds)
            if refusals.pop(0):
                raise ClusterError("GET", "log", status=500)
            return "\n".join(event.to_json() for event in world.copying or ())

    cluster = Logs(world)
    settings = Settings(server_image="a", sync_image="b")
    claims = Claims(cluster, lambda: world.now)
    syncer = Syncer(cluster, claims, settings, lambda: world.now, PrometheusTelemetry())
    sync, found = SyncPlan(SyncState.RUNNING, log=RUNNING), []
    for event in (Event("waiting", models=("a", "b")), None, Event("settled", models=("b",))):
        world.copying = [event] if event else []
        found.append((await syncer.follow(SERVER, sync)).unsettled)
        world.now += timedelta(seconds=5)

    assert found == [{"a", "b"}, {"a", "b"}, {"a"}]
    assert asked == [None, 8, 13]


async def test_a_log_that_cannot_be_read_leaves_what_was_known(world: World) -> None:
    syncer = build_syncer(world)
    sync = SyncPlan(SyncState.RUNNING, log=RUNNING)
    world.copying = [copied(MIB), Event("failed", "other", reason="X", message="y")]
    first = await syncer.follow(SERVER, sync)

    world.now += timedelta(seconds=5)
    world.copying = []  # the piece that is read holds nothing of it any more
    second = await syncer.follow(SERVER, sync)
    failing = build_syncer(world, ClusterError("GET", "log", status=500))

    assert second == first
    assert first.copied.keys() == {"resnet"}
    assert first.failures == {"other": Failure("X", "y")}
    assert (await failing.follow(SERVER, sync)).copied == {}


async def test_artifacts_are_read_later_where_the_log_of_a_job_that_is_over_cannot_be_read(
    world: World,
) -> None:
    world.copying = [Event("artifact", "resnet", "pvc://a", 1, sha256="ab", version=1)]
    syncer = build_syncer(world, ClusterError("GET", "log", status=500))
    done = SyncPlan(SyncState.DONE, log=OVER)

    assert not (await syncer.follow(SERVER, done)).artifacts
    world.now += timedelta(seconds=1)
    assert not (await syncer.follow(SERVER, done)).artifacts  # not at every pass
    world.now += timedelta(seconds=5)
    for _ in range(3):
        assert (await syncer.follow(SERVER, done)).artifacts.keys() == {"resnet"}
        world.now += timedelta(minutes=1)
    assert len(world.log_reads) == 1


async def test_artifacts_are_read_once_when_the_job_is_over(world: World) -> None:
    syncer = build_syncer(world)
    world.copying = [copied(MIB)]
    await syncer.follow(SERVER, SyncPlan(SyncState.RUNNING, log=RUNNING))
    world.copying.append(Event("artifact", "resnet", "pvc://a", 1, sha256="ab", version=1))
    done = SyncPlan(SyncState.DONE, log=OVER)

    for _ in range(5):
        found = await syncer.follow(SERVER, done)
        world.now += timedelta(minutes=1)
        assert found.artifacts.keys() == {"resnet"}
        assert found.retry_in is None

    assert len(world.log_reads) == 2
    await syncer.follow(SERVER, SyncPlan(SyncState.DONE))
    assert len(world.log_reads) == 2


@pytest.mark.parametrize("owned", [True, False])
async def test_only_the_first_job_of_a_shared_server_waits_for_models(
    world: World, operator: Operator, owned: bool
) -> None:
    if owned:
        world.model("vision")
        await operator.run_once()
        assert world.all_of("Job")
        return
    world.server("vision")
    pause = await operator.reconciler.reconcile(SERVER)
    assert world.get("Deployment", "vision") is not None
    assert (world.all_of("Job"), pause < 1) == (set(), True)

    world.model("late", serverRef={"name": "vision"})
    await operator.settle()
    jobs = [name for verb, kind, name in world.writes if (verb, kind) == ("create", "Job")]
    assert len(jobs) == 1
    assert world.condition("late") == "True Serving"
    assert world.get(names.KIND_MODEL, "late") is not None


def build_syncer(world: World, *refusals: ClusterError) -> Syncer:
    """Return a syncer of which the first looks into a log are refused."""
    left = list(refusals)

    class Logs(Cluster):
        async def read_log(self, *args: Any, **options: Any) -> str:
            if left:
                raise left.pop(0)
            return await world.read_log(*args, **options)

    cluster = Logs(world)
    settings = Settings(server_image="a", sync_image="b")
    return Syncer(
        cluster,
        Claims(cluster, lambda: world.now),
        settings,
        lambda: world.now,
        PrometheusTelemetry(),
    )


async def test_a_wait_for_a_pod_is_told_when_it_lasts(world: World) -> None:
    cluster = Cluster(world)
    reporter = Reporter(cluster, lambda: world.now)
    world.model("resnet")
    syncing, no_pod, serving = (
        status(world, text) for text in ("False Syncing", "False NoReadyPods", "True Serving")
    )

    async def write(what: TritonModelStatus) -> float | None:
        record = cluster.model((NAMESPACE, "resnet"))
        assert record is not None
        return await reporter.write_model(record, what)

    assert await write(syncing) is None
    assert await write(no_pod) == 2.0
    world.now += timedelta(seconds=1)
    assert await write(no_pod) == 1.0
    assert world.condition("resnet") == "False Syncing"
    world.now += timedelta(seconds=1)
    assert await write(no_pod) is None
    assert world.condition("resnet") == "False NoReadyPods"

    await write(syncing)
    assert await write(no_pod) == 2.0
    assert await write(serving) is None
    assert world.condition("resnet") == "True Serving"
    await write(syncing)
    world.now += timedelta(seconds=60)
    assert await write(no_pod) == 2.0


def status(world: World, ready: str) -> TritonModelStatus:
    value, reason = ready.split()
    ready_condition = {
        "type": "Ready",
        "status": value,
        "reason": reason,
        "observedGeneration": 1,
        "lastTransitionTime": world.now,
    }
    return TritonModelStatus.model_validate({"conditions": [ready_condition]})
