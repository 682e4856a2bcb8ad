"""A server's pods have a PodDisruptionBudget while there are two of them or more."""

import pytest

from tests.unit.reconcile.world import Operator, World

BUDGET = "PodDisruptionBudget"


@pytest.fixture
async def serving(world: World, operator: Operator) -> World:
    world.server("vision", replicas=1)
    world.model("resnet", serverRef={"name": "vision"})
    await operator.settle()
    return world


async def test_it_comes_with_the_second_pod_and_goes_with_it(
    serving: World, operator: Operator
) -> None:
    assert serving.all_of(BUDGET) == set()

    serving.server("vision", replicas=2)
    await operator.settle()
    assert serving.all_of(BUDGET) == {"vision"}
    serving.server("vision", replicas=3)
    await operator.settle()
    assert serving.writes.count(("apply", BUDGET, "vision")) == 1

    serving.server("vision", replicas=1)
    await operator.settle()
    assert serving.all_of(BUDGET) == set()


async def test_it_follows_the_number_that_somebody_else_sets(
    serving: World, operator: Operator
) -> None:
    serving.autoscaler("other", "vision")
    serving.scale("vision", 2)
    await operator.settle()

    assert serving.all_of(BUDGET) == {"vision"}
