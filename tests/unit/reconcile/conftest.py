import pytest

from tests.unit.reconcile.world import Operator, World
from triton_operator.reconcile import attempt


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits in this world: what the kubelet sees is seen at once."""
    monkeypatch.setattr(attempt, "_BLAME_SECONDS", 0.0)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def operator(world: World) -> Operator:
    return Operator(world)
