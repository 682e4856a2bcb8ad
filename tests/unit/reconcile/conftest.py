import pytest

from tests.unit.reconcile.world import Operator, World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def operator(world: World) -> Operator:
    return Operator(world)
