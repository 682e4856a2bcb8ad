"""How long it takes from `kubectl apply` to an answer, with the image at hand."""

import statistics
import time
from collections.abc import Callable

import pytest

from tests.cluster.support import triton
from tests.cluster.support.manifests import adds, model, server, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World

pytestmark = pytest.mark.cluster

MOST_SECONDS = 6.0
TIMES = 3


def seconds_to_answer(world: World, on: str, name: str) -> float:
    """Return the seconds until the Service answers a model's first request."""
    start = time.monotonic()

    def answered() -> bool:
        service = world.get("Service", on)
        if service is None or not triton.connects(service["spec"]["clusterIP"]):
            return False
        try:
            return triton.number(service["spec"]["clusterIP"], name) == 2.0
        except (OSError, AssertionError):
            return False

    wait_for(f"{name} answers", answered, 60, every=0.05)
    return time.monotonic() - start


def told(seconds: list[float]) -> str:
    each = ", ".join(f"{value:.2f}" for value in seconds)
    return f"median {statistics.median(seconds):.2f} s of {each}"


def test_a_model_with_its_own_server(world: World, figure: Callable[[str], None]) -> None:
    took = []
    for index in range(TIMES):
        name = f"own-{index}"
        world.apply(model(name, version(1, adds(1))))
        took.append(seconds_to_answer(world, name, name))
        world.wait_ready(name)
        world.delete("TritonModel", name)
        world.wait_gone("TritonServer", name)
        wait_for("its pod is gone", lambda name=name: not world.all("Pod", name), 60)

    figure(f"applied → answering, with its own server: {told(took)}")
    assert statistics.median(took) <= MOST_SECONDS


def test_a_model_on_a_server_that_runs(world: World, figure: Callable[[str], None]) -> None:
    world.apply(server("running"), model("first", version(1, adds(1)), on="running"))
    world.wait_ready("first")
    took = []
    for index in range(TIMES):
        name = f"on-running-{index}"
        world.apply(model(name, version(1, adds(1)), on="running"))
        took.append(seconds_to_answer(world, "running", name))
        world.wait_ready(name)

    figure(f"applied → answering, on a server that runs: {told(took)}")
    assert statistics.median(took) <= MOST_SECONDS
