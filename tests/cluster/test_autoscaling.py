"""Replicas follow the load: up with a step of it, down after it, and no request fails."""

import time
from collections.abc import Callable
from statistics import median

import pytest

from tests.cluster.support.kube import kubectl
from tests.cluster.support.load import Load
from tests.cluster.support.manifests import PYTHON, adds, model, server, version
from tests.cluster.support.waiting import holds_for, wait_for
from tests.cluster.support.world import World

pytestmark = pytest.mark.cluster

SERVER = "elastic"
SERVICE_SECONDS = 0.1
TARGET_MILLISECONDS = 500
BOUNDS = {
    "minReplicas": 1,
    "maxReplicas": 3,
    "targetQueueTimeMilliseconds": TARGET_MILLISECONDS,
    "scaleDown": {
        "stabilizationWindowSeconds": 20,
        "longestWindowSeconds": 20,
        "periodSeconds": 5,
    },
}


def sleeps() -> str:
    """Return a model.py that takes its time for every request, and adds one."""
    code = adds(1).replace(
        "    def answer(self, request):\n",
        f"    def answer(self, request):\n        time.sleep({SERVICE_SECONDS})\n",
    )
    return f"import time\n\n{code}"


@pytest.fixture(scope="module", autouse=True)
def _server(world: World) -> None:
    world.apply(
        server(SERVER, autoscaling=BOUNDS, drainSeconds=5),
        model("sleeper", version(1, sleeps()), on=SERVER, config={**PYTHON, "maxBatchSize": 1}),
    )
    world.wait_ready("sleeper")
    world.wait_pods(SERVER, 1)


def replicas(world: World) -> int:
    return int(world.live("Deployment", SERVER)["spec"]["replicas"])


def scaled(world: World) -> list[str]:
    """Return what the Events said of the number of pods, oldest first."""
    found = [
        (event["eventTime"], event["message"])
        for event in world.all("Event")
        if event["reason"] == "Scaled" and event["involvedObject"]["name"] == SERVER
    ]
    return [message for _, message in sorted(found)]


def test_a_step_in_load_is_followed_up_and_down_without_a_failed_request(
    world: World,
    figure: Callable[[str], None],
) -> None:
    host = world.service(SERVER)
    with Load(
        host, "sleeper", http_clients=1, grpc_clients=1, pause_seconds=1.0, most_seconds=300
    ) as trickle:
        holds_for("one pod is enough for little", lambda: replicas(world) == 1, 15)

        step = time.monotonic()
        # So many clients that the load hardly falls while they wait: 25 requests/s for 10.
        with Load(host, "sleeper", http_clients=48, grpc_clients=0, pause_seconds=1.9) as load:
            wait_for("more pods are asked for", lambda: replicas(world) > 1, 30)
            decided = time.monotonic() - step
            world.wait_pods(SERVER, 3, 90)
            grown = time.monotonic() - step

            def calm() -> bool:
                status = world.status("TritonServer", SERVER)["autoscaling"]
                waited = status.get("queueTimeMilliseconds")
                full = status.get("podsAnswering") == "3/3"
                return bool(full and waited is not None and waited < TARGET_MILLISECONDS)

            wait_for(
                "the wait is below the target again",
                calm,
                60,
                seen=lambda: world.status("TritonServer", SERVER)["autoscaling"],
            )
            status = world.status("TritonServer", SERVER)["autoscaling"]
            up = scaled(world)
            table = kubectl("get", "ts", SERVER, "-n", world.namespace).stdout
        ended = time.monotonic()
        world.wait_pods(SERVER, 1, 90)
        shrunk = time.monotonic() - ended
        more = len(trickle.requests()) + 6
        wait_for("requests go on", lambda: len(trickle.requests()) > more, 20)

    took = [each.seconds for each in load.requests()]
    quarter = len(took) // 4
    figure(
        f"autoscaling: 3 pods ready {grown:.1f} s after the step, back to 1 {shrunk:.1f} s after"
        f" the load; {len(took)} requests, {len(load.failed())} failed,"
        f" median {median(took[:quarter]):.2f} s before, {median(took[-quarter:]):.2f} s after"
    )

    assert not load.failed(), load.failed()[:3]
    assert not trickle.failed(), trickle.failed()[:3]
    assert up[0].startswith("from 1 to "), up
    assert "sleeper: " in up[0]
    assert "requests/s" in up[0]
    assert status["decisions"][-1]["previous"] == 1
    assert status["desired"] == 3
    assert "3" in table.splitlines()[1].split()
    assert any(message.startswith(("from 3 to ", "from 2 to 1")) for message in scaled(world))
    told = f"a step to 2.5 times the capacity: more pods were asked for {decided:.1f} s later"
    figure(f"{told} (goal 10 s)")
    # A step just after a tick takes two of them, of 5 s each; a third is slow, but no fault.
    assert decided <= 20, told
