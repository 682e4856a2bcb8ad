"""GPUs: pods that get one serve, a pod that gets none is told of in the status."""

import pytest

from tests.cluster.support import triton
from tests.cluster.support.kube import condition
from tests.cluster.support.manifests import adds, model, server, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World

pytestmark = pytest.mark.cluster

GPU = "nvidia.com/gpu"


@pytest.fixture(scope="module", autouse=True)
def _server(world: World) -> None:
    free = sum(int(node["status"]["allocatable"].get(GPU, 0)) for node in world.kube.all("Node"))
    assert free == 2, f"this test is made for two {GPU}, the cluster has {free}"
    world.apply(server("gpus", gpus=1, replicas=3), model("number", version(1, adds(1)), on="gpus"))
    world.wait_ready("number")


def test_each_pod_is_limited_to_its_gpus(world: World) -> None:
    (container,) = world.live("Deployment", "gpus")["spec"]["template"]["spec"]["containers"]

    assert container["resources"]["limits"][GPU] == "1"


def test_two_serve_and_the_third_is_reported(world: World) -> None:
    stuck = world.wait_condition(
        "TritonServer", "gpus", "ScalingLimited", "True", reason="Unschedulable"
    )
    assert f"Insufficient {GPU}" in stuck["message"]

    def two_ready() -> bool:
        status = world.status("TritonServer", "gpus")
        return bool(status["readyReplicas"] == 2 and status["ready"] == "2/3")

    wait_for("two of three pods are ready", two_ready, 40)
    ready = condition(world.get("TritonServer", "gpus"), "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Unschedulable")
    assert f"Insufficient {GPU}" in ready["message"]
    assert condition(world.get("TritonServer", "gpus"), "Available")["status"] == "True"


def test_the_model_is_ready_on_the_pods_there_are(world: World) -> None:
    wait_for(
        "two pods serve it", lambda: world.status("TritonModel", "number")["loaded"] == "2/2", 40
    )
    world.wait_ready("number")

    assert sorted(pod.ready for pod in world.pods("gpus")) == [False, True, True]
    assert triton.number(world.service("gpus"), "number") == 2.0


def test_fewer_replicas_end_the_want(world: World) -> None:
    world.patch("TritonServer", "gpus", {"replicas": 2})

    world.wait_condition("TritonServer", "gpus", "Ready", "True")
    world.wait_condition("TritonServer", "gpus", "ScalingLimited", "False")
