"""Somebody else's autoscaler on a server's Deployment is told, and not fought."""

from typing import Any

import pytest

from tests.unit.reconcile.world import Operator, World
from triton_operator import names
from triton_operator.observed import AUTOSCALER

BOUNDS: dict[str, Any] = {
    "minReplicas": 1,
    "maxReplicas": 8,
    "targetQueueTimeMilliseconds": 500,
    "scaleDown": {"stabilizationWindowSeconds": 60, "longestWindowSeconds": 60},
}


def live(world: World) -> int:
    deployment = world.get("Deployment", "vision")
    assert deployment is not None
    return int(deployment["spec"]["replicas"])


def limited(world: World) -> str:
    return world.condition("vision", "ScalingLimited", of=names.KIND_SERVER)


def explained(world: World) -> str:
    conditions = world.server_status("vision").conditions
    return next(each.message for each in conditions if each.type == "ScalingLimited")


async def stays(world: World, operator: Operator, number: int, *, seconds: float = 30) -> None:
    """Hold that the Deployment never has another number."""
    until = world.now.timestamp() + seconds
    while world.now.timestamp() < until:
        await operator.run(seconds=2)
        assert live(world) == number


@pytest.fixture
async def serving(world: World, operator: Operator) -> World:
    world.server("vision", autoscaling=BOUNDS)
    world.model("resnet", serverRef={"name": "vision"})
    await operator.settle()
    return world


async def test_its_number_stays_and_ours_is_advice(serving: World, operator: Operator) -> None:
    serving.autoscaler("other", "vision")
    serving.scale("vision", 2)
    serving.load.arrivals["vision"] = 60.0
    await stays(serving, operator, 2, seconds=120)

    assert limited(serving) == "True ForeignAutoscaler"
    assert "HorizontalPodAutoscaler other " in explained(serving)
    status = serving.server_status("vision").autoscaling
    assert status is not None
    assert status.desired is not None
    assert status.desired > 2
    assert status.decisions
    told = [event.reason for _, event in serving.events]
    assert told.count("ForeignAutoscaler") == 1
    assert "Scaled" not in told


async def test_a_number_that_changes_during_a_pass_is_not_put_back(
    serving: World, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.autoscaler("other", "vision")
    await operator.run(seconds=10)
    asked = serving.triton.observe

    async def observe(pod: Any, key: str) -> Any:
        serving.scale("vision", 4)
        return await asked(pod, key)

    monkeypatch.setattr(serving.triton, "observe", observe)
    await operator.run_once()

    assert live(serving) == 4


async def test_when_it_goes_its_number_is_where_ours_begins(
    serving: World, operator: Operator
) -> None:
    await operator.run(seconds=60)
    serving.load.arrivals["vision"] = 15.0
    await operator.run(seconds=30)
    assert live(serving) > 1
    serving.autoscaler("other", "vision")
    serving.scale("vision", 6)
    # It goes before there was time for another decision.
    await operator.reconciler.reconcile(("team", "vision"))
    serving.remove(AUTOSCALER, "other")
    await operator.reconciler.reconcile(("team", "vision"))

    assert live(serving) == 6
    assert limited(serving) == "False NotLimited"

    serving.load.arrivals["vision"] = 70.0
    await operator.run(seconds=60)
    assert live(serving) == 8


async def test_the_number_goes_from_hand_to_hand_without_a_jump(
    world: World, operator: Operator
) -> None:
    world.server("vision", replicas=3)
    world.model("resnet", serverRef={"name": "vision"})
    await operator.settle()
    world.load.arrivals["vision"] = 15.0

    # A window in which no pod is taken away, so that only a jump can change the number.
    window = {"stabilizationWindowSeconds": 600, "longestWindowSeconds": 600}
    world.server("vision", autoscaling=BOUNDS | {"scaleDown": window})
    await stays(world, operator, 3)
    world.autoscaler("other", "vision")
    await stays(world, operator, 3)
    world.scale("vision", 4)
    await stays(world, operator, 4)
    world.remove(AUTOSCALER, "other")
    await stays(world, operator, 4)
    world.server("vision", replicas=4)
    await stays(world, operator, 4)
    assert limited(world) == "False NotLimited"


async def test_replicas_of_the_spec_do_not_fight_it_either(
    world: World, operator: Operator
) -> None:
    world.server("vision", replicas=3)
    world.model("resnet", serverRef={"name": "vision"})
    await operator.settle()
    world.autoscaler("other", "vision")
    world.scale("vision", 5)
    await stays(world, operator, 5)
    assert limited(world) == "True ForeignAutoscaler"

    world.remove(AUTOSCALER, "other")
    await operator.run_once()
    assert live(world) == 3
    await operator.settle()
    assert limited(world) == "False NotLimited"


async def test_without_a_number_of_ours_it_is_no_rival(world: World, operator: Operator) -> None:
    world.server("vision")
    world.model("resnet", serverRef={"name": "vision"})
    world.autoscaler("other", "vision")
    await operator.settle()
    assert live(world) == 1
    world.scale("vision", 0)
    await stays(world, operator, 0)
    assert limited(world) == "False NotLimited"


async def test_one_on_the_server_itself_sets_replicas_and_is_no_rival(
    world: World, operator: Operator
) -> None:
    world.server("vision", replicas=2)
    world.model("resnet", serverRef={"name": "vision"})
    world.autoscaler("other", "vision", names.KIND_SERVER)
    await operator.settle()
    world.server("vision", replicas=4)
    await operator.run_once()
    assert live(world) == 4
    assert limited(world) == "False NotLimited"


async def test_one_that_can_write_no_number_is_told_and_stops_nobody(
    serving: World, operator: Operator
) -> None:
    await operator.run(seconds=60)
    serving.autoscaler("other", "vision", names.KIND_SERVER)
    serving.load.arrivals["vision"] = 60.0
    await operator.run(seconds=60)

    assert limited(serving) == "True ForeignAutoscaler"
    assert live(serving) > 1


async def test_one_beside_advice_is_what_the_advice_is_compared_with(
    world: World, operator: Operator
) -> None:
    world.server("vision", autoscaling=BOUNDS | {"mode": "Observe"})
    world.model("resnet", serverRef={"name": "vision"})
    world.autoscaler("other", "vision")
    await operator.settle()
    assert limited(world) == "False NotLimited"


async def test_one_on_anything_else_is_of_no_concern(serving: World, operator: Operator) -> None:
    serving.autoscaler("other", "website")
    await operator.run(seconds=10)
    assert limited(serving) == "False NotLimited"
