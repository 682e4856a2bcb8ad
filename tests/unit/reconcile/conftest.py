import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.unit.reconcile.world import Operator, World
from triton_operator.reconcile import attempt


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits in this world: what the kubelet sees is seen at once."""
    monkeypatch.setattr(attempt, "_BLAME_SECONDS", 0.0)


@pytest.fixture(autouse=True)
async def _nothing_goes_on() -> AsyncIterator[None]:
    """Give up the loads that a test has left, as the end of a process would."""
    yield
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def operator(world: World) -> Operator:
    return Operator(world)
