"""Immutable pods: a change makes new ones, a broken change is taken back, and no request fails."""

import time
from collections.abc import Callable

import pytest

from tests.cluster.support import triton
from tests.cluster.support.kube import Object
from tests.cluster.support.load import Load
from tests.cluster.support.manifests import PYTHON, adds, fails, model, server, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World

pytestmark = pytest.mark.cluster

SERVER = "immutable"
SPEC = {"replicas": 2, "drainSeconds": 5}
CLIENTS = 3
"""Of a load: each of them may have a request on its way."""
REFUSED = {**PYTHON, "modelRepositoryAgents": {"agents": [{"name": "nosuch"}]}}
"""By Triton, which alone knows its agents."""


@pytest.fixture(scope="module", autouse=True)
def _server(world: World) -> None:
    """Two pods that serve a model which changes and one which never does."""
    world.apply(
        server(SERVER, modelUpdates="Rollout", **SPEC),
        model("steady", version(1, adds(100)), on=SERVER),
        model("changing", version(1, adds(1)), on=SERVER),
    )
    world.wait_ready("steady", "changing")
    world.wait_pods(SERVER, 2)


def leaving_too(world: World) -> list[Object]:
    """Return all pods of the server, those that leave among them."""
    selector = f"triton-operator.io/server={SERVER},app.kubernetes.io/component=server"
    return world.kube.all("Pod", world.namespace, selector)


def revisions(world: World) -> set[str]:
    """Return the repository revisions that the pods of the server are of."""
    return {
        body["metadata"]["annotations"].get("triton-operator.io/repository-revision", "links")
        for body in leaving_too(world)
        if "deletionTimestamp" not in body["metadata"]
    }


def wait_rolled(world: World, old: set[str]) -> str:
    """Wait until two ready pods are of one revision, and of none of the old ones."""

    def rolled() -> str:
        now = revisions(world)
        pods = world.pods(SERVER)
        whole = len(now) == 1 and len(pods) == 2 and all(pod.ready for pod in pods)
        return now.pop() if whole and not now & old else ""

    found = wait_for("the pods are of a new revision", rolled, 90, seen=lambda: world.pods(SERVER))
    return str(found)


def test_nothing_can_be_loaded_into_the_pods(world: World) -> None:
    (container,) = world.live("Deployment", SERVER)["spec"]["template"]["spec"]["containers"]

    assert "--model-control-mode=none" in container["args"]
    key = world.control_key(SERVER)
    path = "/v2/repository/models/steady/load"
    answer = triton.ask(world.pods(SERVER)[0].ip, path, {}, headers=key)
    assert "not allowed" in answer.text


def test_a_change_replaces_the_pods_without_a_failed_request(
    world: World, figure: Callable[[str], None]
) -> None:
    old = revisions(world)
    config = {**PYTHON, "dynamicBatching": {"maxQueueDelayMicroseconds": 100}}
    with Load(world.service(SERVER), "changing") as load, Load(load.host, "steady", 1, 0) as other:
        wait_for("requests are answered", lambda: len(load.requests()) > 20, 10)
        started = time.monotonic()
        world.apply(
            model("changing", version(1, adds(1)), version(2, adds(2)), on=SERVER, config=config)
        )
        wait_rolled(world, old)
        took = time.monotonic() - started
        world.wait_ready("changing", "steady")
        # Until then a gRPC channel may stay with a pod that drains.
        wait_for("the old pods have ended", lambda: len(leaving_too(world)) == 2, 60)
        end = len(load.requests()) + 2 * CLIENTS
        wait_for("requests go on", lambda: len(load.requests()) > end + 20, 10)

    assert not load.failed(), load.failed()[:3]
    assert not other.failed(), other.failed()[:3]
    assert set(load.values()) == {2.0, 3.0}
    assert {each.value for each in load.requests()[end:]} == {3.0}
    figure(f"config and version changed by Rollout on 2 pods: {took:.1f} s; {load.summary()}")


@pytest.mark.parametrize("broken", ["load", "config"])
def test_a_broken_change_is_taken_back_without_a_failed_request(
    world: World, figure: Callable[[str], None], broken: str
) -> None:
    good = world.status("TritonModel", "changing")["configHash"]
    (revision,) = revisions(world)
    change = {
        "load": model("changing", version(1, fails("no such tokenizer")), on=SERVER),
        # A server of Triton's that stays up is ready without such a model.
        "config": model("changing", version(1, adds(1)), on=SERVER, config=REFUSED),
    }[broken]
    with Load(world.service(SERVER), "changing") as load:
        started = time.monotonic()
        world.apply(change)
        blocked = world.wait_condition(
            "TritonModel", "changing", "Loaded", "False", reason="BlockedByFailedLoad", seconds=90
        )
        told = time.monotonic() - started
        world.wait_pods(SERVER, 2)
        wait_for("all pods are of the old revision", lambda: revisions(world) == {revision}, 60)
        took = time.monotonic() - started
        world.wait_pods(SERVER, 2)

    words = {"load": "no such tokenizer", "config": "libtritonrepoagent_nosuch.so"}
    assert words[broken] in blocked["message"]
    assert "keeps serving" in blocked["message"]
    status = world.status("TritonModel", "changing")
    assert status["configHash"] == good
    assert status["lastFailure"]["reason"] == "LoadFailed"
    assert not load.failed(), load.failed()[:3]
    assert len(load.values()) == 1
    assert world.status("TritonModel", "steady")["transition"] == "UpToDate"
    assert "lastFailure" not in world.status("TritonModel", "steady")
    figure(f"broken update by Rollout: told after {told:.1f} s, back after {took:.1f} s")


@pytest.mark.parametrize("mode", ["HotReload", "Rollout"])
def test_a_change_of_the_mode_loses_no_request(world: World, mode: str) -> None:
    world.apply(model("changing", version(1, adds(1)), on=SERVER))
    world.wait_ready("changing")
    world.wait_pods(SERVER, 2)
    # For a moment a Service still leads to those that leave, which serve what was before.
    wait_for("the others are gone", lambda: len(leaving_too(world)) == 2, 90)
    old = revisions(world)
    with Load(world.service(SERVER), "changing") as load:
        world.patch("TritonServer", SERVER, {"modelUpdates": mode})
        now = wait_rolled(world, old)
        world.wait_ready("changing", "steady")

    assert (now == "links") == (mode == "HotReload")
    assert not load.failed(), load.failed()[:3]
    assert set(load.values()) == {2.0}
