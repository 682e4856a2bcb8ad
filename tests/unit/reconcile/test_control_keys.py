"""A new control key: new pods get it, and those of the old one are loaded until they go."""

import pytest

from tests.unit.reconcile.test_scenarios import SHARED, assert_all_serve
from tests.unit.reconcile.world import NAMESPACE, Operator, World, killed_at_each_moment
from triton_operator import names
from triton_operator.desired.metadata import ChildNames
from triton_operator.observed import Workload

FIRST = "vision-control-key"
MONDAY, TUESDAY = (ChildNames("vision").control_key(day) for day in ("monday", "tuesday"))


def ask(world: World, request: str) -> None:
    body = world.objects[(names.KIND_SERVER, NAMESPACE, "vision")]
    annotations = body["metadata"].setdefault("annotations", {})
    annotations[names.ANNOTATION_ROTATE_CONTROL_KEY] = request


def answered(world: World) -> str:
    status = world.server_status("vision").control_key
    return status.request if status is not None else ""


def other_keys(world: World) -> frozenset[str]:
    return Workload.parse(world.get("Deployment", "vision")).other_keys


async def serve(world: World, operator: Operator, replicas: int = 2) -> World:
    world.server("vision", replicas=replicas, rollout="Availability")
    world.model("resnet", **SHARED)
    await operator.settle()
    assert_all_serve(world, "vision", "resnet")
    return world


@pytest.fixture
async def vision(world: World, operator: Operator) -> World:
    return await serve(world, operator)


async def test_a_request_replaces_the_key_and_all_pods_and_says_so(
    vision: World, operator: Operator
) -> None:
    before = {pod.uid for pod in vision.server_pods("vision")}
    ask(vision, "monday")

    await operator.settle()

    pods = vision.server_pods("vision")
    assert {pod.control_key for pod in pods} == {MONDAY}
    assert not before & {pod.uid for pod in pods}
    assert vision.all_of("Secret") == {MONDAY}
    assert other_keys(vision) == frozenset()
    assert answered(vision) == "monday"
    told = [e for who, e in vision.events if who == "vision" and e.reason == "ControlKeyRotated"]
    assert len(told) == 1
    assert_all_serve(vision, "vision", "resnet")


async def test_pods_of_the_old_key_are_loaded_until_they_are_replaced(
    vision: World, operator: Operator
) -> None:
    vision.places, served = 2, vision.serving("vision")
    ask(vision, "monday")
    await operator.settle()
    old = [pod for pod in vision.server_pods("vision") if pod.control_key == FIRST]
    assert len(old) == 2
    assert vision.all_of("Secret") == {FIRST, MONDAY}
    assert answered(vision) == ""

    vision.model("resnet", "pass  # better", **SHARED)
    vision.model("second", **SHARED)
    await operator.settle()
    assert {pod.uid for pod in old} == set(vision.triton.processes)
    for before, now in zip(served, vision.serving("vision"), strict=True):
        assert now.keys() == {"resnet", "second"}
        assert now["resnet"] != before["resnet"]

    vision.places = None
    await operator.settle()
    assert {pod.control_key for pod in vision.server_pods("vision")} == {MONDAY}
    assert vision.all_of("Secret") == {MONDAY}
    assert answered(vision) == "monday"
    assert_all_serve(vision, "vision", "resnet", "second")


async def test_a_server_that_is_asked_nothing_new_keeps_its_key(
    vision: World, operator: Operator
) -> None:
    ask(vision, "monday")
    await operator.settle()
    before = len(vision.writes)

    await operator.run_once()
    operator.restart()
    await operator.run_once()
    assert vision.writes[before:] == []

    del vision.objects[(names.KIND_SERVER, NAMESPACE, "vision")]["metadata"]["annotations"]
    await operator.settle()
    assert vision.writes[before:] == []
    assert answered(vision) == "monday"


async def test_the_next_request_is_another_key(vision: World, operator: Operator) -> None:
    for day, secret in (("monday", MONDAY), ("tuesday", TUESDAY), ("monday", MONDAY)):
        key = {ref: body["metadata"]["uid"] for ref, body in vision.objects.items()}
        ask(vision, day)
        await operator.settle()
        assert vision.all_of("Secret") == {secret}
        assert answered(vision) == day
        assert vision.objects[("Secret", NAMESPACE, secret)]["metadata"]["uid"] not in key.values()


@pytest.mark.exhaustive
@pytest.mark.parametrize("then", ["monday", "tuesday"], ids=["kept", "changed"])
async def test_an_operator_killed_before_or_after_any_call_of_a_rotation_carries_it_out(
    then: str,
) -> None:
    """At no moment is a Secret gone that a pod needs: the fake refuses that."""

    async def begun() -> tuple[World, Operator]:
        world = World()
        operator = Operator(world)
        await serve(world, operator, replicas=1)
        ask(world, "monday")
        return world, operator

    async for moment, world, operator in killed_at_each_moment(begun):
        ask(world, then)
        await operator.settle()

        secret = ChildNames("vision").control_key(then)
        assert world.all_of("Secret") == {secret}, f"killed at moment {moment}"
        assert {pod.control_key for pod in world.server_pods("vision")} == {secret}
        assert other_keys(world) == frozenset()
        assert answered(world) == then
        assert_all_serve(world, "vision", "resnet")
    assert moment > 10
