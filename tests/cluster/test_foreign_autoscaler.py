"""Other autoscalers: they scale a TritonServer, and are told of where they contradict its spec.

Kubernetes' own controller brings a number into the bounds of a HorizontalPodAutoscaler without
any metrics; that is all that is needed of it here.
"""

from typing import Any

import pytest

from tests.cluster.support.kube import Object, kubectl
from tests.cluster.support.manifests import adds, model, server, version
from tests.cluster.support.waiting import holds_for, wait_for
from tests.cluster.support.world import World

pytestmark = pytest.mark.cluster

SERVER = "handed"
HPA = "HorizontalPodAutoscaler"
BOUNDS = {"minReplicas": 1, "maxReplicas": 3, "targetQueueTimeMilliseconds": 500}
_HPA_SECONDS = 60
"""Kubernetes looks at a HorizontalPodAutoscaler every 15 s."""


@pytest.fixture(scope="module", autouse=True)
def _server(world: World) -> None:
    world.apply(server(SERVER, replicas=1), model("number", version(1, adds(1)), on=SERVER))
    world.wait_ready("number")


def hpa(least: int, kind: str = "Deployment") -> Object:
    """Return an autoscaler that has at least so many pods, and at most one more."""
    api = "apps/v1" if kind == "Deployment" else "triton-operator.io/v1alpha1"
    return {
        "apiVersion": "autoscaling/v2",
        "kind": HPA,
        "metadata": {"name": "other"},
        "spec": {
            "scaleTargetRef": {"apiVersion": api, "kind": kind, "name": SERVER},
            "minReplicas": least,
            "maxReplicas": least + 1,
        },
    }


def set_spec(world: World, **fields: Any) -> None:
    """Have exactly one of ``replicas`` and ``autoscaling``, or none."""
    world.patch("TritonServer", SERVER, {"replicas": None, "autoscaling": None} | fields)


def replicas(world: World) -> int:
    return int(world.live("Deployment", SERVER)["spec"]["replicas"])


def wait_replicas(world: World, number: int, seconds: float = 20) -> None:
    wait_for(
        f"the Deployment has {number} replicas",
        lambda: replicas(world) == number,
        seconds,
        seen=lambda: (replicas(world), world.all(HPA)),
    )


def wait_limited(world: World, status: str, reason: str) -> Object:
    return world.wait_condition("TritonServer", SERVER, "ScalingLimited", status, reason=reason)


def decided(world: World) -> Object:
    """Return what the operator's own autoscaler says; empty before it does."""
    return dict((world.status("TritonServer", SERVER) or {}).get("autoscaling") or {})


def test_the_scale_subresource_reaches_the_deployment(world: World) -> None:
    done = kubectl("scale", "ts", SERVER, "-n", world.namespace, "--replicas=2")
    assert done.returncode == 0, done.stderr
    wait_replicas(world, 2)
    assert world.live("TritonServer", SERVER)["spec"]["replicas"] == 2
    set_spec(world, replicas=1)
    wait_replicas(world, 1)


def test_an_autoscaler_on_the_server_sets_its_replicas(world: World) -> None:
    world.apply(hpa(2, "TritonServer"))
    wait_replicas(world, 2, _HPA_SECONDS)
    assert world.live("TritonServer", SERVER)["spec"]["replicas"] == 2
    wait_limited(world, "False", "NotLimited")

    set_spec(world)
    told = wait_limited(world, "True", "ForeignAutoscaler")
    assert "set replicas" in told["message"]
    set_spec(world, autoscaling=BOUNDS)
    told = wait_limited(world, "True", "ForeignAutoscaler")
    assert "in place of autoscaling" in told["message"]
    wait_for("the operator decides", lambda: decided(world).get("desired"), 60)

    def fails() -> bool:
        conditions = world.live(HPA, "other")["status"].get("conditions", ())
        return any(
            each["type"] == "AbleToScale" and each["status"] == "False" for each in conditions
        )

    wait_for("Kubernetes finds nothing to scale", fails, _HPA_SECONDS, seen=lambda: world.all(HPA))
    world.delete(HPA, "other")
    wait_limited(world, "False", "NotLimited")
    assert replicas(world) == 2


def test_the_number_goes_from_hand_to_hand_without_a_jump(world: World) -> None:
    set_spec(world, replicas=1)
    world.wait_pods(SERVER, 1)
    with world.kube.watch("Deployment", world.namespace) as watch:
        set_spec(world, autoscaling=BOUNDS)
        wait_for("the operator decides", lambda: decided(world).get("desired"), 60)

        world.apply(hpa(2))
        told = wait_limited(world, "True", "ForeignAutoscaler")
        assert "HorizontalPodAutoscaler other " in told["message"]
        wait_replicas(world, 2, _HPA_SECONDS)
        world.wait_pods(SERVER, 2)
        # Several ticks of the operator, which finds one pod enough.
        holds_for("the number is the other's", lambda: replicas(world) == 2, 15)
        assert any(event["reason"] == "ForeignAutoscaler" for event in world.all("Event"))

        world.delete(HPA, "other")
        wait_limited(world, "False", "NotLimited")
        holds_for("the number stays", lambda: replicas(world) == 2, 15)

        set_spec(world, replicas=2)
        world.wait_condition("TritonServer", SERVER, "Ready", "True")
        seen = [each.object["spec"]["replicas"] for each in watch.seen() if each.name == SERVER]
    numbers = [new for new, old in zip(seen, [None, *seen], strict=False) if new != old]
    assert numbers in ([1, 2], [2]), numbers
