"""`rollout: Auto`: pods are replaced with a spare one where it finds a node, else in place."""

import pytest

from tests.unit.reconcile.test_scenarios import SHARED, assert_all_serve
from tests.unit.reconcile.world import Operator, World
from triton_operator import names


@pytest.fixture
async def vision(world: World, operator: Operator) -> World:
    world.server("vision", replicas=2, rollout="Auto")
    world.model("resnet", **SHARED)
    await operator.settle()
    return world


def surge(world: World) -> int:
    deployment = world.get("Deployment", "vision")
    assert deployment is not None
    return int(deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"])


async def roll(world: World, operator: Operator, **spec: object) -> tuple[list[int], list[str]]:
    """Change a server; return the surges and the words of Progressing, each time they change."""
    world.server("vision", replicas=2, rollout="Auto", **spec)
    surges, told = [surge(world)], [""]
    for _ in range(60):
        await operator.run(seconds=2)
        now = world.condition("vision", "Progressing", of=names.KIND_SERVER)
        surges += [surge(world)] if surge(world) != surges[-1] else []
        told += [now] if now != told[-1] else []
        ready = [pod for pod in world.server_pods("vision") if pod.ready]
        assert len(ready) >= (2 if 0 not in surges else 1)
    assert_all_serve(world, "vision", "resnet")
    return surges, told[1:]


async def test_where_there_is_room_there_are_never_fewer_pods(
    vision: World, operator: Operator
) -> None:
    surges, told = await roll(vision, operator, logVerbosity=1)

    assert surges == [1]
    assert "True ReplacingInPlace" not in told


async def test_where_there_is_none_an_old_pod_goes_first_and_then_all_is_as_before(
    vision: World, operator: Operator
) -> None:
    vision.places = 2
    before = len(vision.writes)
    surges, told = await roll(vision, operator, logVerbosity=1)

    assert surges == [1, 0, 1]
    assert "True ReplacingInPlace" in told
    assert "False Unschedulable" not in told
    assert told[-1] == "False Complete"
    # The change, the way there and the way back.
    assert vision.writes[before:].count(("apply", "Deployment", "vision")) == 3
    assert "Unschedulable" not in vision.warnings("vision")


async def test_where_a_quota_refuses_a_spare_pod_an_old_one_goes_first_too(
    vision: World, operator: Operator
) -> None:
    vision.quota = 2
    surges, told = await roll(vision, operator, logVerbosity=1)

    assert surges == [1, 0, 1]
    assert set(told) == {"True ReplacingInPlace", "False Complete"}
    assert told[-1] == "False Complete"
    assert vision.warnings("vision") == []


@pytest.mark.parametrize("rollout", ["ResourceAware", "Availability", "Auto"])
async def test_new_pods_that_cannot_load_what_served_replace_no_more_than_one(
    world: World, operator: Operator, rollout: str
) -> None:
    world.server("vision", replicas=3, rollout=rollout)
    world.model("resnet", **SHARED)
    world.model("other", **SHARED)
    await operator.settle()
    world.triton.short.add("resnet")
    world.server("vision", replicas=3, rollout=rollout, logVerbosity=1)
    for _ in range(40):
        operator.restart()
        await operator.run(seconds=2)
    serving = [loaded for loaded in world.serving("vision") if "resnet" in loaded]

    assert len(serving) == (2 if rollout == "ResourceAware" else 3)
    assert all("other" in loaded for loaded in world.serving("vision"))
    assert world.condition("vision", of=names.KIND_SERVER) == "False RolloutFailed"
    assert world.warnings("vision") == ["RolloutFailed"]

    world.triton.short.clear()
    world.server("vision", replicas=3, rollout=rollout)
    await operator.settle()
    assert len(world.serving("vision")) == 3
    assert_all_serve(world, "vision", "resnet", "other")
    assert world.condition("vision", of=names.KIND_SERVER) == "True AllPodsReady"


@pytest.mark.exhaustive
async def test_a_paused_rollout_goes_on_only_when_a_new_pod_serves_the_model(
    world: World, operator: Operator
) -> None:
    def serving() -> int:
        return sum("resnet" in loaded for loaded in world.serving("vision"))

    world.server("vision", replicas=2, rollout="Availability")
    world.model("resnet", **SHARED)
    world.model("other", **SHARED)
    await operator.settle()
    world.triton.short.add("resnet")
    world.server("vision", replicas=2, rollout="Availability", logVerbosity=1)
    # The new pod tries the model again every five minutes.
    await operator.run(seconds=700)
    assert serving() == 2
    assert world.warnings("vision") == ["RolloutFailed"]

    world.model("resnet", "pass  # no better", **SHARED)
    await operator.run(seconds=100)
    assert serving() == 2
    assert world.condition("vision", of=names.KIND_SERVER) == "False RolloutFailed"

    world.triton.short.clear()
    world.model("resnet", "pass  # better", **SHARED)
    await operator.run(seconds=100)
    assert_all_serve(world, "vision", "resnet", "other")
    assert world.condition("vision", of=names.KIND_SERVER) == "True AllPodsReady"
    assert world.warnings("vision") == ["RolloutFailed"]


async def test_it_outlives_the_operator(vision: World, operator: Operator) -> None:
    vision.places = 2
    vision.server("vision", replicas=2, rollout="Auto", logVerbosity=1)
    while surge(vision) == 1:
        await operator.run(seconds=2)
    surges = [surge(vision)]
    for _ in range(20):
        operator.restart()
        await operator.run(seconds=2)
        surges += [surge(vision)] if surge(vision) != surges[-1] else []

    assert surges == [0, 1]
