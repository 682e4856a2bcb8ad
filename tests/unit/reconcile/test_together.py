"""What happens when two things go on at once: each of them still comes to its end."""

from typing import Any

import pytest

from tests.unit.reconcile.test_claims import ask
from tests.unit.reconcile.test_scenarios import ENSEMBLE, SHARED, assert_all_serve, hash_of
from tests.unit.reconcile.world import Operator, World, killed_at_each_moment
from triton_operator import names

ROLLOUT: dict[str, Any] = {"modelUpdates": "Rollout"}


async def test_a_load_that_goes_on_does_not_outlive_the_change_to_rollout(
    world: World, operator: Operator
) -> None:
    world.server("vision")
    world.model("resnet", **SHARED)
    await operator.settle()
    good = hash_of(world, "resnet")
    world.model("resnet", "hang", **SHARED)
    await operator.run(seconds=10)

    world.server("vision", **ROLLOUT)
    world.model("resnet", "pass  # better", **SHARED)
    await operator.settle(steps=80)

    assert_all_serve(world, "vision", "resnet")
    assert hash_of(world, "resnet") != good
    world.triton.release.set()
    world.model("resnet", "pass  # best", **SHARED)
    await operator.settle(steps=80)
    assert_all_serve(world, "vision", "resnet")


@pytest.mark.parametrize("mode", [{}, ROLLOUT])
async def test_a_new_ensemble_waits_for_a_new_member_that_kills_its_server(
    world: World, operator: Operator, mode: dict[str, Any]
) -> None:
    world.server("vision", **mode)
    world.model("steady", **SHARED)
    await operator.settle()
    world.model("member", "die", **SHARED)
    await operator.settle(steps=80)
    before = len(world.writes)
    world.model("whole", "", config=ENSEMBLE, **SHARED)
    await operator.settle(steps=80)

    assert world.condition("whole") == "False WaitingForMember"
    assert "'member'" in world.message("whole")
    assert ("apply", "Deployment", "vision") not in world.writes[before:]
    assert world.condition("steady") == "True Serving"

    world.model("member", "pass  # mended", **SHARED)
    await operator.settle(steps=80)
    assert_all_serve(world, "vision", "member", "steady", "whole")


async def test_no_manifest_outlives_its_job(world: World, operator: Operator) -> None:
    world.server("vision")
    world.model("resnet", **SHARED)
    await operator.settle()
    for token, code in (("monday", "pass  # 2"), ("tuesday", "raise"), ("friday", "pass  # 3")):
        ask(world, token)
        await operator.run_once()
        world.model("resnet", code, **SHARED)
        await operator.settle()
        assert manifests(world) == used_manifests(world)


@pytest.mark.exhaustive
async def test_an_operator_killed_at_any_moment_leaves_every_job_its_manifest_and_no_other() -> (
    None
):
    async def begun() -> tuple[World, Operator]:
        world = World()
        operator = Operator(world)
        world.server("vision", **ROLLOUT)
        world.model("resnet", **SHARED)
        await operator.settle()
        world.model("resnet", "raise", **SHARED)
        ask(world, "monday")
        return world, operator

    async for moment, world, operator in killed_at_each_moment(begun):
        for _ in range(12):
            await operator.run_once()
            assert used_manifests(world) <= manifests(world), f"killed at moment {moment}"
            world.step()
        await operator.settle()
        assert manifests(world) == used_manifests(world), f"killed at moment {moment}"


def manifests(world: World) -> set[str]:
    return world.all_of("ConfigMap")


def used_manifests(world: World) -> set[str]:
    """The ConfigMaps that Jobs which are to stay name."""
    return {
        job["metadata"]["annotations"][names.ANNOTATION_CONFIG_MAP]
        for job in world.objects.values()
        if job["kind"] == "Job" and "deletionTimestamp" not in job["metadata"]
    }
