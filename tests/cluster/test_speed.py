"""How long it takes from `kubectl apply` to an answer, with the image at hand."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster import settings
from tests.cluster.support import triton
from tests.cluster.support.kube import Object
from tests.cluster.support.manifests import adds, model, server, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World

pytestmark = pytest.mark.cluster

MOST_SECONDS = 6.0
BY_HAND_SECONDS = 3.5
"""What a Deployment written by hand takes then: where that takes longer, so may ours."""
TIMES = 3

CONFIG = """\
backend: "python"
max_batch_size: 8
input { name: "IN" data_type: TYPE_FP32 dims: 1 }
output { name: "OUT" data_type: TYPE_FP32 dims: 1 }
instance_group { kind: KIND_CPU }
"""


def seconds_to_answer(world: World, on: str, name: str, *objects: Object) -> float:
    """Apply objects; return the seconds until a Service answers a model's first request."""
    start = time.monotonic()
    world.apply(*objects)

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


def by_hand(name: str) -> tuple[Object, ...]:
    """Return what somebody without the operator writes for the same model."""
    labels = {"app": name}
    files = {"config": "config.pbtxt", "code": "1/model.py"}
    container = {
        "name": "triton",
        "image": settings.TRITON_IMAGE,
        "args": ["tritonserver", "--model-repository=/models"],
        "readinessProbe": {
            "httpGet": {"path": "/v2/health/ready", "port": 8000},
            "periodSeconds": 1,
        },
        "volumeMounts": [
            {"name": "memory", "mountPath": "/dev/shm"},
            *(
                {"name": "model", "mountPath": f"/models/{name}/{path}", "subPath": key}
                for key, path in files.items()
            ),
        ],
    }
    volumes = [
        {"name": "model", "configMap": {"name": name}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
    ]
    pod = {"terminationGracePeriodSeconds": 1, "containers": [container], "volumes": volumes}

    def named(api_version: str, kind: str, **fields: Any) -> Object:
        return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}

    return (
        named("v1", "ConfigMap", data={"config": CONFIG, "code": adds(1)}),
        named(
            "apps/v1",
            "Deployment",
            spec={
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        ),
        named("v1", "Service", spec={"selector": labels, "ports": [{"port": 8000}]}),
    )


def told(seconds: list[float]) -> str:
    each = ", ".join(f"{value:.2f}" for value in seconds)
    return f"median {statistics.median(seconds):.2f} s of {each}"


def test_a_model_answers_soon_after_it_is_applied(
    world: World, figure: Callable[[str], None]
) -> None:
    world.apply(server("running"), model("first", version(1, adds(1)), on="running"))
    world.wait_ready("first")
    plain, own, running = list[float](), list[float](), list[float]()
    # In turn, so that a machine that is slow for a while is so for all three.
    for index in range(TIMES):
        name = f"plain-{index}"
        plain.append(seconds_to_answer(world, name, name, *by_hand(name)))
        world.delete("Deployment", name)
        name = f"own-{index}"
        own.append(seconds_to_answer(world, name, name, model(name, version(1, adds(1)))))
        world.wait_ready(name)
        world.delete("TritonModel", name)
        world.wait_gone("TritonServer", name)
        wait_for("its pods are gone", lambda: world.all("Pod") == world.all("Pod", "running"), 60)
        name = f"on-running-{index}"
        added = model(name, version(1, adds(1)), on="running")
        running.append(seconds_to_answer(world, "running", name, added))
        world.wait_ready(name)

    figure(f"applied → answering, a Deployment written by hand: {told(plain)}")
    figure(f"applied → answering, with its own server: {told(own)}")
    figure(f"applied → answering, on a server that runs: {told(running)}")
    most = MOST_SECONDS * max(1.0, statistics.median(plain) / BY_HAND_SECONDS)
    assert statistics.median(own) <= most
    assert statistics.median(running) <= most
