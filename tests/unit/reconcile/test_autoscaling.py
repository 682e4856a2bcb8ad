"""Replicas follow the load: what is decided reaches the Deployment, and is told once."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.reconcile.world import NAMESPACE, Operator, World, killed_at_each_moment
from triton_operator import names
from triton_operator.errors import ServerUnreachableError
from triton_operator.observed import Pod, Served, ServerWorld
from triton_operator.ports import Key

BOUNDS: dict[str, Any] = {
    "minReplicas": 1,
    "maxReplicas": 8,
    "targetQueueTimeMilliseconds": 500,
    "scaleDown": {"stabilizationWindowSeconds": 60, "longestWindowSeconds": 60},
}
WINDOW = 60.0


def serve(world: World, **bounds: Any) -> None:
    world.server("vision", autoscaling=BOUNDS | bounds)
    world.model("resnet", serverRef={"name": "vision"})


def live(world: World, server: str = "vision") -> int:
    deployment = world.get("Deployment", server)
    assert deployment is not None
    return int(deployment["spec"]["replicas"])


def scaled(world: World) -> list[str]:
    return [event.message for _, event in world.events if event.reason == "Scaled"]


@pytest.fixture
async def serving(world: World, operator: Operator) -> World:
    serve(world)
    await operator.settle()
    return world


async def test_a_step_in_load_is_followed_within_ten_seconds_and_told_once(
    serving: World, operator: Operator
) -> None:
    await operator.run(seconds=WINDOW)
    serving.load.arrivals["vision"] = 25.0
    await operator.run(seconds=10)
    assert live(serving) > 1
    assert scaled(serving)[0].startswith("from 1 to 2: resnet: ")
    await operator.run(seconds=60)

    status = serving.server_status("vision").autoscaling
    assert status is not None
    assert status.desired == live(serving) <= 8
    assert status.models[0].name == "resnet"
    numbers = [each.desired for each in reversed(status.decisions)]
    assert max(numbers) > 3
    assert [each.previous for each in reversed(status.decisions)] == [1, *numbers[:-1]]
    assert len(status.decisions) == len(scaled(serving))


@pytest.mark.exhaustive
async def test_the_number_falls_after_the_window_and_not_before(
    serving: World, operator: Operator
) -> None:
    await operator.run(seconds=WINDOW)
    serving.load.arrivals["vision"] = 25.0
    await operator.run(seconds=4 * WINDOW)
    most = live(serving)
    serving.load.arrivals["vision"] = 0.0
    await operator.run(seconds=WINDOW - 10)
    assert live(serving) >= most >= 3
    await operator.run(seconds=4 * WINDOW)
    assert live(serving) == 1


async def test_the_idlest_pods_go_first(serving: World, operator: Operator) -> None:
    serving.load.arrivals["vision"] = 25.0
    await operator.run(seconds=4 * WINDOW)
    busy = serving.server_pods("vision")[-1].name
    serving.load.only["vision"] = busy
    serving.load.arrivals["vision"] = 3.0
    await operator.run(seconds=4 * WINDOW)
    assert live(serving) == 1
    assert [pod.name for pod in serving.server_pods("vision")] == [busy]


async def test_a_settled_idle_server_costs_no_write(serving: World, operator: Operator) -> None:
    await operator.run(seconds=2 * WINDOW)
    before = len(serving.writes)
    await operator.run(seconds=600)
    assert serving.writes[before:] == []


async def test_a_server_whose_load_cannot_be_seen_keeps_its_pods_and_says_why(
    serving: World, operator: Operator
) -> None:
    serving.load.arrivals["vision"] = 25.0
    await operator.run(seconds=2 * WINDOW)
    most = live(serving)
    assert most > 1
    serving.load.decoupled.add("resnet")
    serving.load.arrivals["vision"] = 0.0
    await operator.run(seconds=4 * WINDOW)

    assert live(serving) == most
    status = serving.server_status("vision").autoscaling
    assert status is not None
    assert status.hold.startswith("the load of resnet cannot be seen: it is decoupled")
    assert status.utilization is None


async def test_a_pod_that_does_not_answer_a_pass_keeps_its_number_of_instances(
    serving: World, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.load.instances = 4
    serving.load.arrivals["vision"] = 9.0
    await operator.run(seconds=2 * WINDOW)
    assert live(serving) == 1

    async def lose(pod: Pod, key: str) -> Served:
        raise ServerUnreachableError(f"pod {pod.name}: timed out")

    with monkeypatch.context() as patch:
        patch.setattr(serving.triton, "observe", lose)
        await operator.run(seconds=10)

    status = operator.scaler.statuses()[NAMESPACE, "vision"]
    assert status.models[0].offered_load == pytest.approx(9.0 * 0.1 / 4, rel=0.05)
    assert status.hold == ""
    assert scaled(serving) == []


@pytest.mark.exhaustive
async def test_a_steady_load_is_told_seldom(serving: World, operator: Operator) -> None:
    serving.load.arrivals["vision"] = 25.0
    await operator.run(seconds=300)
    before = len(serving.writes)
    await operator.run(seconds=300)
    assert len(serving.writes) - before <= 10


async def test_observe_decides_and_changes_nothing(world: World, operator: Operator) -> None:
    serve(world, mode="Observe", minReplicas=2)
    await operator.settle()
    world.load.arrivals["vision"] = 60.0
    await operator.run(seconds=120)

    status = world.server_status("vision").autoscaling
    assert status is not None
    assert status.desired is not None
    assert status.desired > 2
    assert status.decisions
    assert live(world) == 2
    assert scaled(world) == []


@pytest.mark.parametrize("what", ["pods are silent", "the operator is restarted"])
async def test_advice_stays_while_nothing_new_is_known(
    world: World, operator: Operator, what: str
) -> None:
    serve(world, mode="Observe", minReplicas=2)
    await operator.settle()
    world.load.arrivals["vision"] = 60.0
    await operator.run(seconds=120)
    before = world.server_status("vision").autoscaling
    assert before is not None
    assert before.desired is not None
    assert before.desired > 2

    if what == "pods are silent":
        world.triton.deaf |= world.all_of("Pod")
        await operator.run(seconds=60)
        world.triton.deaf.clear()
    else:
        operator.restart()
    await operator.run(seconds=60)

    after = world.server_status("vision").autoscaling
    assert after is not None
    assert after.desired == before.desired
    assert after.decisions == before.decisions


async def test_a_server_without_autoscaling_is_not_scraped(
    world: World, operator: Operator
) -> None:
    world.server("vision", replicas=2)
    world.model("resnet", serverRef={"name": "vision"})
    await operator.settle()
    assert world.load.scraped == set()
    assert world.server_status("vision").autoscaling is None


async def test_a_restarted_operator_keeps_the_number_and_the_decisions(
    serving: World, operator: Operator
) -> None:
    await operator.run(seconds=WINDOW)
    serving.load.arrivals["vision"] = 25.0
    await operator.run(seconds=60)
    most, told = live(serving), scaled(serving)
    serving.load.arrivals["vision"] = 0.0
    operator.restart()
    await operator.run(seconds=WINDOW - 10)
    assert live(serving) == most
    status = serving.server_status("vision").autoscaling
    assert status is not None
    assert len(status.decisions) == len(told)
    assert scaled(serving) == told


async def test_a_restarted_operator_knows_how_long_pods_start(
    serving: World, operator: Operator
) -> None:
    await operator.run(seconds=WINDOW)
    body = serving.get(names.KIND_SERVER, "vision")
    assert body is not None
    # The one pod that is there started slowly; most of those before it did not.
    assert body["status"]["autoscaling"]["startupSeconds"] > 1
    body["status"]["autoscaling"]["startupSeconds"] = 1
    operator.restart()
    serving.load.arrivals["vision"] = 25.0
    await operator.run(seconds=20)

    status = serving.server_status("vision").autoscaling
    assert status is not None
    assert status.startup_seconds == 1
    assert status.models[0].arrivals_per_second == pytest.approx(25, rel=0.2)


async def test_pods_that_were_ready_before_are_not_slow_after_a_restart(
    world: World, operator: Operator
) -> None:
    serve(world, minReplicas=2)
    await operator.settle()
    await operator.run(seconds=WINDOW)
    before = world.server_status("vision").autoscaling
    assert before is not None
    for each in world.server_pods("vision"):
        pod = world.get("Pod", each.name)
        assert pod is not None
        (ready,) = pod["status"]["conditions"]
        ready["lastTransitionTime"] = (world.now + timedelta(days=3)).isoformat()
    operator.restart()
    world.load.arrivals["vision"] = 1.0
    await operator.run(seconds=40)

    status = world.server_status("vision").autoscaling
    assert status is not None
    assert status.models[0].arrivals_per_second == pytest.approx(1, rel=0.2)
    assert status.startup_seconds == before.startup_seconds


async def test_the_number_changes_hands_without_a_jump(world: World, operator: Operator) -> None:
    world.server("vision", replicas=3)
    world.model("resnet", serverRef={"name": "vision"})
    await operator.settle()
    world.load.arrivals["vision"] = 15.0
    world.server("vision", autoscaling=BOUNDS)
    for _ in range(10):
        await operator.run(seconds=2)
        assert live(world) == 3

    world.server("vision")
    await operator.settle()
    assert live(world) == 3
    assert world.server_status("vision").autoscaling is None

    world.server("vision", replicas=2)
    await operator.settle()
    assert live(world) == 2


async def test_new_bounds_hold_at_once(serving: World, operator: Operator) -> None:
    serve(serving, minReplicas=4)
    await operator.run_once()
    assert live(serving) == 4


async def test_somebody_elses_number_is_put_back(serving: World, operator: Operator) -> None:
    await operator.run(seconds=20)
    deployment = serving.get("Deployment", "vision")
    assert deployment is not None
    deployment["spec"]["replicas"] = 5
    serving.forget_applied("Deployment", "vision")
    await operator.run(seconds=10)
    assert live(serving) == 1


async def test_what_finds_no_node_is_not_asked_for_again(
    serving: World, operator: Operator
) -> None:
    serving.places = 2
    await operator.run(seconds=WINDOW)
    serving.load.arrivals["vision"] = 15.0
    await operator.run(seconds=30)
    first = live(serving)
    assert first >= 2
    serving.load.arrivals["vision"] = 80.0
    await operator.run(seconds=60)
    asked = live(serving)
    await operator.run(seconds=120)
    assert live(serving) == asked
    assert len(scaled(serving)) <= 2
    limited = serving.condition("vision", "ScalingLimited", of=names.KIND_SERVER)
    assert limited == "True Unschedulable"


async def test_the_largest_number_is_told_as_a_limit(serving: World, operator: Operator) -> None:
    serve(serving, maxReplicas=2)
    serving.load.arrivals["vision"] = 80.0
    await operator.run(seconds=60)
    assert live(serving) == 2
    limited = serving.condition("vision", "ScalingLimited", of=names.KIND_SERVER)
    assert limited == "True LimitReached"


async def test_a_limit_of_gpus_is_shared(world: World) -> None:
    operator = Operator(world, max_gpus=4)
    for server, priority in (("first", 1), ("second", 0)):
        world.server(server, gpus=1, autoscaling=BOUNDS | {"priority": priority})
        world.model(f"model-of-{server}", serverRef={"name": server})
        world.load.arrivals[server] = 80.0
    await operator.run(seconds=120)
    assert (live(world, "first"), live(world, "second")) == (3, 1)


async def test_a_limit_of_the_namespace_holds_beside_that_of_all(world: World) -> None:
    operator = Operator(world, max_gpus=6, namespace_max_gpus={"team": 3, "other": 1})
    for server, gpus in (("first", 1), ("second", 1), ("third", 0)):
        world.server(server, gpus=gpus, autoscaling=BOUNDS)
        world.model(f"model-of-{server}", serverRef={"name": server})
        world.load.arrivals[server] = 80.0
    await operator.run(seconds=120)

    assert live(world, "first") + live(world, "second") == 3
    assert live(world, "third") == 8
    limited = {
        each.type: each.message
        for server in ("first", "second")
        for each in world.server_status(server).conditions
    }
    assert "raise namespaceMaxGPUs of team" in limited["ScalingLimited"]


def break_looks(world: World, operator: Operator, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the servers at which a tick, and no pass, fails to look: to be filled.

    Those with ``pods of `` before their names are looked at, but not decided on.
    """
    found: set[str] = set()
    see, ask, tick = world.observe, world.load.scrape, operator.scaler.tick
    ticking = False

    def observe(server: Key) -> ServerWorld:
        if ticking and server[1] in found:
            raise KeyError("a bug")
        return see(server)

    async def scrape(pods: Iterable[Pod]) -> Any:
        asked = tuple(pods)
        if any(f"pods of {pod.name.split('-')[0]}" in found for pod in asked):
            raise KeyError("another bug")
        return await ask(asked)

    async def tick_blindly() -> str:
        nonlocal ticking
        ticking = True
        try:
            return await tick()
        finally:
            ticking = False

    monkeypatch.setattr(world, "observe", observe)
    monkeypatch.setattr(world.load, "scrape", scrape)
    monkeypatch.setattr(operator.scaler, "tick", tick_blindly)
    return found


async def test_a_server_that_cannot_be_looked_at_keeps_no_other_from_it_and_is_told_once(
    world: World,
    operator: Operator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    blind = break_looks(world, operator, monkeypatch)

    def told() -> list[str]:
        return [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]

    async def tick() -> str:
        world.now += timedelta(seconds=5)
        return await operator.scaler.tick()

    for name in ("first", "second", "third"):
        world.server(name, autoscaling=BOUNDS)
        world.model(f"model-of-{name}", serverRef={"name": name})
    await operator.settle()
    assert await tick() == ""

    blind.add("second")
    before = operator.scaler.statuses()
    assert [await tick() for _ in range(3)] == ["Unexpected"] * 3
    after = operator.scaler.statuses()
    fresh = {name: after[NAMESPACE, name] is not before[NAMESPACE, name] for _, name in before}
    assert fresh == {"first": True, "second": False, "third": True}
    assert told() == [f"autoscaling of {NAMESPACE}/second: unexpected failure"]

    blind.clear()
    assert await tick() == ""
    assert operator.scaler.statuses()[NAMESPACE, "second"] is not before[NAMESPACE, "second"]
    blind.add("second")
    assert await tick() == "Unexpected"
    assert len(told()) == 2


@pytest.mark.exhaustive
@pytest.mark.parametrize("broken", ["first", "pods of first"])
async def test_a_server_that_cannot_be_looked_at_keeps_its_gpus(
    world: World, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    operator = Operator(world, max_gpus=4)
    blind = break_looks(world, operator, monkeypatch)
    for server, priority in (("first", 0), ("second", 1)):
        world.server(server, gpus=1, autoscaling=BOUNDS | {"priority": priority})
        world.model(f"model-of-{server}", serverRef={"name": server})
    world.load.arrivals["first"] = 80.0
    await operator.run(seconds=120)
    assert (live(world, "first"), live(world, "second")) == (3, 1)

    blind.add(broken)
    world.load.arrivals["second"] = 80.0
    await operator.run(seconds=60)
    assert (live(world, "first"), live(world, "second")) == (3, 1)
    blind.clear()
    await operator.run(seconds=120)
    assert (live(world, "first"), live(world, "second")) == (1, 3)


@pytest.mark.parametrize("question", ["scrape", "shapes"])
async def test_a_server_that_answers_late_keeps_no_other_waiting(
    world: World, operator: Operator, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    for name in ("first", "second", "third"):
        world.server(name, autoscaling=BOUNDS)
        world.model(f"model-of-{name}", serverRef={"name": name})
    await operator.settle()
    ask, answers = getattr(world.load, question), asyncio.Event()

    async def wait(pods: Iterable[Pod], *known: Any) -> Any:
        asked = pods if isinstance(pods, Mapping) else tuple(pods)
        if any(pod.name.startswith("first") for pod in asked):
            await answers.wait()
        return await ask(asked, *known)

    monkeypatch.setattr(world.load, question, wait)
    before = operator.scaler.statuses()

    def decided() -> set[str]:
        after = operator.scaler.statuses()
        return {key[1] for key, status in after.items() if status is not before[key]}

    world.now += timedelta(seconds=5)
    tick = asyncio.create_task(operator.scaler.tick())
    async with asyncio.timeout(20):
        while decided() != {"second", "third"}:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert not tick.done()
    answers.set()
    assert await tick == ""
    assert decided() == {"first", "second", "third"}


async def test_pods_that_do_not_answer_hold_the_number(serving: World, operator: Operator) -> None:
    await operator.run(seconds=WINDOW)
    serving.load.arrivals["vision"] = 25.0
    await operator.run(seconds=30)
    most = live(serving)
    serving.triton.deaf |= serving.all_of("Pod")
    await operator.run(seconds=3 * WINDOW)
    assert live(serving) == most
    # The time that they take is none in which ticks stand still.
    assert operator.scaler.asked() == most


@pytest.mark.exhaustive
async def test_an_operator_killed_before_or_after_any_call_reaches_the_same_end() -> None:
    async def begun() -> tuple[World, Operator]:
        world = World()
        operator = Operator(world)
        serve(world)
        await operator.settle()
        world.load.arrivals["vision"] = 80.0
        return world, operator

    async for moment, world, operator in killed_at_each_moment(begun):
        await operator.run(seconds=40)
        assert live(world) == 8, f"killed at moment {moment}"
        status = world.server_status("vision").autoscaling
        assert status is not None
    assert moment > 3
