"""What pods refused is tried once more when its user asks, as safely as the first time."""

from collections.abc import Callable

import pytest

from tests.unit.reconcile.test_scenarios import (
    SHARED,
    assert_all_serve,
    calling,
    ending,
    hash_of,
    typed,
)
from tests.unit.reconcile.world import NAMESPACE, Operator, World, killed_at_each_moment
from triton_operator import names

FAR_SECONDS = 320.0
"""More than the pause after which the operator tries by itself what it may."""


def ask(world: World, request: str, model: str = "resnet") -> None:
    """Annotate the model, as its user would."""
    meta = world.objects[(names.KIND_MODEL, NAMESPACE, model)]["metadata"]
    meta["annotations"] = {names.ANNOTATION_RETRY: request} if request else {}


def tries(world: World) -> int:
    """Loads of the model by all processes that run."""
    return sum(process.loads.count("resnet") for process in world.processes("vision"))


async def blocked(world: World, operator: Operator, code: str = "pass  # better") -> str:
    """Two pods serve a model, and the first one has refused an update; return what they serve."""
    world.server("vision", replicas=2)
    world.model("resnet", **SHARED)
    world.model("steady", **SHARED)
    await operator.settle()
    if code not in ("die", "wedge"):
        world.triton.short.add("resnet")
    world.model("resnet", code, **SHARED)
    await operator.settle()
    assert world.condition("resnet") == "False BlockedByFailedLoad"
    return hash_of(world, "resnet")


async def test_a_refused_update_is_served_when_it_is_asked_for_once_more(
    world: World, operator: Operator
) -> None:
    old = await blocked(world, operator)
    world.triton.short.clear()
    before = tries(world)
    await operator.run(seconds=FAR_SECONDS)
    assert tries(world) == before

    ask(world, "monday")
    await operator.settle()

    assert_all_serve(world, "vision", "resnet", "steady")
    assert hash_of(world, "resnet") != old
    assert tries(world) == before + 2
    assert world.model_status("resnet").retry == "monday"


@pytest.mark.exhaustive
@pytest.mark.parametrize("code", ["pass  # better", "die"])
async def test_each_request_is_one_try_also_for_an_operator_without_memory(
    world: World, operator: Operator, code: str
) -> None:
    old = await blocked(world, operator, code)
    first = world.model_status("resnet").last_failure
    deaths: list[str] = []
    died = world.triton.died

    def die(uid: str) -> None:
        deaths.append(uid)
        died(uid)

    world.triton.died = die
    news = world.warnings("resnet")

    def told() -> int:
        """Times that a pod refused it: in vain, or with its life."""
        refused = "\n".join(line for p in world.processes("vision") for line in p.log)
        return len(deaths) + refused.count("failed to load 'resnet'")

    before = told()
    for number, request in enumerate(("monday", "tuesday"), start=1):
        ask(world, request)
        await operator.settle()
        operator.restart()
        await operator.run(seconds=FAR_SECONDS)
        await operator.settle()

        assert told() == before + number
        assert [loaded["resnet"] for loaded in world.serving("vision")] == [old, old]
        status = world.model_status("resnet")
        assert (status.transition, status.retry) == ("BlockedByFailedLoad", request)
        assert world.warnings("resnet") == news + number * ["BlockedByFailedLoad"]

    last = world.model_status("resnet").last_failure
    assert first is not None
    assert last is not None
    assert last.time > first.time
    ask(world, "")
    await operator.settle()
    assert told() == before + 2


async def test_a_first_version_is_tried_at_once(world: World, operator: Operator) -> None:
    world.triton.short.add("resnet")
    world.server("vision", replicas=2)
    world.model("resnet", **SHARED)
    await operator.settle()
    assert world.condition("resnet") == "False LoadFailed"
    refused = len(world.warnings("resnet"))

    ask(world, "monday")
    await operator.settle()
    assert world.condition("resnet") == "False LoadFailed"
    assert len(world.warnings("resnet")) == refused + 1

    world.triton.short.clear()
    ask(world, "tuesday")
    await operator.settle()
    assert_all_serve(world, "vision", "resnet")


async def test_a_request_of_a_model_that_is_served_loads_nothing(
    world: World, operator: Operator
) -> None:
    world.server("vision", replicas=2)
    world.model("resnet", **SHARED)
    await operator.settle()
    before = tries(world)

    ask(world, "monday")
    await operator.settle()

    assert tries(world) == before
    assert world.model_status("resnet").retry == "monday"
    assert world.warnings("resnet") == []


@pytest.mark.parametrize("newcomer", [False, True], ids=["an update", "a newcomer"])
async def test_new_pods_are_made_once_more_for_an_immutable_server(
    world: World, operator: Operator, *, newcomer: bool
) -> None:
    world.server("vision", replicas=2, modelUpdates="Rollout")
    world.model("steady", **SHARED)
    if not newcomer:
        world.model("resnet", **SHARED)
    await operator.settle()
    world.triton.short.add("resnet")
    world.model("resnet", "pass  # better", **SHARED)
    await operator.settle(steps=80)
    refused, serving = world.condition("resnet"), world.serving("vision")
    assert refused == f"False {'LoadFailed' if newcomer else 'BlockedByFailedLoad'}"
    pods = {pod.uid for pod in world.server_pods("vision")}

    ask(world, "monday")
    await operator.settle(steps=80)
    assert world.condition("resnet") == refused
    assert world.model_status("resnet").retry == "monday"
    assert world.serving("vision") == serving
    again = {pod.uid for pod in world.server_pods("vision")}
    # ResourceAware: one pod went for the try, and one came back.
    assert len(again - pods) == 1
    await operator.run(seconds=FAR_SECONDS)
    assert {pod.uid for pod in world.server_pods("vision")} == again

    world.triton.short.clear()
    ask(world, "tuesday")
    await operator.settle(steps=80)
    assert_all_serve(world, "vision", "resnet", "steady")


@pytest.mark.parametrize("asked", ["member", "whole"])
async def test_an_ensemble_and_a_member_that_changed_together_are_tried_together(
    world: World, operator: Operator, asked: str
) -> None:
    world.server("vision", replicas=2)
    world.model("whole", "", config=calling([1]), **SHARED)
    world.model("member", config=typed([1]), **SHARED)
    await operator.settle()
    served = world.serving("vision")
    world.triton.short.add("member")
    world.model("member", config=typed([2]), **SHARED)
    world.model("whole", "", config=calling([2]), **SHARED)
    await operator.settle()
    assert world.condition("member") == "False BlockedByFailedLoad"

    ask(world, "monday", asked)
    await operator.settle()
    assert world.serving("vision") == served
    assert world.model_status(asked).retry == "monday"

    world.triton.short.clear()
    ask(world, "tuesday", asked)
    await operator.settle()
    assert_all_serve(world, "vision", "member", "whole")
    # The ensemble brought its member along: no moment without either.
    dropped = [line for p in world.processes("vision") for line in p.log if "in ensemble" in line]
    assert dropped == []


async def test_a_load_that_does_not_end_once_more_is_taken_back_once_more(
    world: World, operator: Operator
) -> None:
    old = await blocked(world, operator, "wedge")
    pods = set(world.triton.processes)

    for request in ("monday", "tuesday"):
        ask(world, request)
        await operator.settle()
        status = world.model_status("resnet")
        assert (status.transition, status.retry) == ("BlockedByFailedLoad", request)
        assert status.last_failure is not None
        assert status.last_failure.reason == "LoadTimedOut"
        assert hash_of(world, "resnet") == old
        assert world.claims["vision-repository"].links[("vision", "resnet")] == ("resnet", old)
        assert set(world.triton.processes) == pods


def succeed(world: World) -> None:
    world.triton.short.clear()


def fail(_: World) -> None:
    """There is no memory yet."""


@pytest.mark.exhaustive
@pytest.mark.parametrize("end", [succeed, fail])
async def test_an_operator_killed_before_or_after_any_call_reaches_the_same_end(
    end: Callable[[World], None],
) -> None:
    async def begun() -> tuple[World, Operator]:
        world = World()
        operator = Operator(world)
        await blocked(world, operator)
        end(world)
        ask(world, "monday")
        return world, operator

    expected, operator = await begun()
    await operator.settle()

    async for moment, world, operator in killed_at_each_moment(begun):
        await operator.settle()
        assert ending(world) == ending(expected), f"killed at moment {moment}"
        assert world.model_status("resnet").retry == "monday"
    assert moment > 8
