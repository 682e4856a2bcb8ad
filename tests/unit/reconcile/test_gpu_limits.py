"""Limits of GPUs: one that does not bind changes nothing, and one that binds is not exceeded."""

from collections.abc import Callable
from math import ceil
from typing import Any

import pytest

from tests.unit.reconcile.test_autoscaling import live
from tests.unit.reconcile.world import Operator, World
from triton_operator import names

BOUNDS: dict[str, Any] = {
    "minReplicas": 1,
    "maxReplicas": 16,
    "targetQueueTimeMilliseconds": 500,
    "scaleDown": {"stabilizationWindowSeconds": 10, "longestWindowSeconds": 10},
}


def serve(world: World, server: str, **fields: Any) -> None:
    world.server(server, gpus=1, autoscaling=BOUNDS | fields)
    world.model(f"model-of-{server}", serverRef={"name": server})


def restart(_world: World, operator: Operator) -> None:
    operator.restart()


def restart_stuck(world: World, operator: Operator) -> None:
    operator.restart()
    world.load.stuck.add("vision")


def roll_out(world: World, _operator: Operator) -> None:
    world.server("vision", gpus=1, autoscaling=BOUNDS, image="triton:next")
    world.load.arrivals["vision"] = 0.0


def fall_silent(world: World, _operator: Operator) -> None:
    world.triton.deaf |= world.all_of("Pod")
    world.load.arrivals["vision"] = 0.0


def surge(world: World, _operator: Operator) -> None:
    world.load.arrivals["vision"] = 80.0


@pytest.mark.parametrize(
    ("happens", "hold"),
    [
        (restart, "the operator has not watched for a whole stabilization window yet"),
        (restart_stuck, "no request of model-of-vision was finished yet"),
        (roll_out, "pods are being replaced"),
        (fall_silent, "only 0 of "),
        pytest.param(surge, "", marks=pytest.mark.exhaustive),
    ],
)
async def test_a_limit_that_does_not_bind_changes_nothing_and_is_not_told(
    happens: Callable[[World, Operator], None], hold: str
) -> None:
    free = await watch(happens)
    numbers = [number for number, *_ in free]

    assert max(numbers) >= 6
    assert any(hold in told for _, told, *_ in free[_HAPPENS_AT:])
    assert {limited for *_, limited in free} == {"False NotLimited"}
    assert await watch(happens, max_gpus=1000, namespace_max_gpus={"team": 1000}) == free


_HAPPENS_AT = 15
"""The tick."""


async def watch(happens: Callable[[World, Operator], None], **limits: Any) -> list[Any]:
    """Return what each tick leads to, before and after something happens to a busy server."""
    world = World()
    operator = Operator(world, **limits)
    serve(world, "vision")
    await operator.settle()
    world.load.arrivals["vision"] = 40.0
    seen = []
    for step in range(_HAPPENS_AT + 24):
        if step == _HAPPENS_AT:
            happens(world, operator)
        await operator.run_once()
        world.step()
        status = world.server_status("vision").autoscaling
        assert status is not None
        limited = world.condition("vision", "ScalingLimited", of=names.KIND_SERVER)
        seen.append((live(world), status.hold, status.decisions, limited))
    return seen


async def test_while_gpus_change_hands_no_more_are_asked_for_than_the_limit_allows(
    world: World,
) -> None:
    servers = ("low", "high", "higher")
    operator = Operator(world, max_gpus=10)
    for priority, server in enumerate(servers):
        serve(world, server, priority=priority)
    await operator.settle()
    world.load.arrivals["low"] = 120.0
    await operator.run(seconds=20)
    assert [live(world, server) for server in servers] == [8, 1, 1]

    world.load.arrivals |= {"high": 35.0, "higher": 15.0}
    for _ in range(40):
        await operator.run_once()
        world.step()
        assert sum(live(world, server) for server in servers) <= 10
        pods = sum(len(world.server_pods(server)) for server in servers)
        assert pods <= 10, "those that drain have their GPUs still"
    low, high, higher = (live(world, server) for server in servers)
    assert low + high + higher == 10
    assert high >= 4
    assert higher >= 2


@pytest.mark.exhaustive
async def test_nobody_rises_while_a_lowered_limit_is_exceeded(world: World) -> None:
    operator = Operator(world, max_gpus=10)
    serve(world, "low")
    serve(world, "high", priority=1)
    await operator.settle()
    world.load.arrivals["low"] = 120.0
    await operator.run(seconds=20)
    assert (live(world, "low"), live(world, "high")) == (9, 1)

    operator.settings["max_gpus"] = 6
    operator.restart()
    world.load.arrivals["high"] = 120.0
    before = [9, 1]
    for _ in range(40):
        await operator.run_once()
        world.step()
        now = [live(world, "low"), live(world, "high")]
        assert now[1] == before[1] or sum(now) <= 6
        assert before[0] - now[0] <= ceil(before[0] / 4), "down in steps"
        before = now
    assert before == [1, 5]


async def test_servers_that_rise_in_one_tick_do_not_take_the_same_gpus(world: World) -> None:
    operator = Operator(world, max_gpus=6)
    serve(world, "first")
    serve(world, "second")
    await operator.settle()
    world.load.arrivals |= {"first": 120.0, "second": 120.0}
    numbers = []
    for _ in range(8):
        await operator.run_once()
        world.step()
        numbers.append(live(world, "first") + live(world, "second"))
    assert max(numbers) == numbers[-1] == 6
