"""Pods are replaced, evicted and scaled away while clients of all kinds send requests.

The clients run through the whole module: a pod that was replaced by one test may leave in the
next one, for it goes on with kept connections until Triton's own time to end is over. What became
of their requests is a table, printed at the end of the run and kept in docs/operations.md.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.cluster.support import triton
from tests.cluster.support.clients import Clients
from tests.cluster.support.drain import draining, uncordon
from tests.cluster.support.gateway import gateway
from tests.cluster.support.installation import Installation
from tests.cluster.support.kube import Object, condition
from tests.cluster.support.load import Load
from tests.cluster.support.manifests import adds, model, server, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import Pod, World

pytestmark = pytest.mark.cluster

SERVER = "rolling"
SELECTOR = f"triton-operator.io/server={SERVER},app.kubernetes.io/component=server"
DRAIN_SECONDS = 5


@pytest.fixture(scope="module")
def clients(
    world: World, figure: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clients]:
    """Clients of two pods."""
    world.apply(
        server(SERVER, replicas=2, drainSeconds=DRAIN_SECONDS),
        model("number", version(1, adds(1)), on=SERVER),
    )
    world.wait_ready("number")
    world.wait_pods(SERVER, 2)
    host = world.service(SERVER)
    with ExitStack() as stack:
        front = stack.enter_context(gateway(tmp_path_factory.mktemp("gateway"), host))

        def load(host: str, *counts: int) -> Load:
            new, grpc, kept, bare = counts
            made = Load(host, "number", new, grpc, most_seconds=1800, pause_seconds=0.05)
            made.keep_alive_clients, made.bare_clients = kept, bare
            return stack.enter_context(made)

        found = Clients(service=load(host, 1, 2, 2, 2), gateway=load(front, 1, 0, 1, 0))
        wait_for("requests are answered", lambda: len(found.requests()) > 50, 20)
        yield found
        for line in found.table():
            figure(line)


@pytest.fixture(autouse=True)
def _nothing_fails(clients: Clients) -> Iterator[None]:
    yield
    more = len(clients.requests()) + 50
    wait_for("requests go on", lambda: len(clients.requests()) > more, 20)
    assert not clients.failed(), clients.failed()[:3]


def uids(pods: list[Pod]) -> set[str]:
    return {pod.uid for pod in pods}


def wait_replaced(world: World, before: list[Pod], seconds: float = 120) -> None:
    """Wait until there are two ready pods, none of them one of before."""

    def replaced() -> bool:
        pods = world.pods(SERVER)
        ready = len(pods) == 2 and all(pod.ready for pod in pods)
        return ready and not uids(pods) & uids(before)

    wait_for("all pods are new", replaced, seconds, seen=lambda: world.pods(SERVER))
    world.wait_condition("TritonServer", SERVER, "Ready", "True")


def surge(world: World) -> int:
    strategy = world.live("Deployment", SERVER)["spec"]["strategy"]
    return int(strategy["rollingUpdate"]["maxSurge"])


def image(world: World) -> Object:
    """Return the other one of two names of the same image."""
    (container,) = world.live("Deployment", SERVER)["spec"]["template"]["spec"]["containers"]
    (pod, *_) = world.pods(SERVER)
    (status,) = world.live("Pod", pod.name)["status"]["containerStatuses"]
    names = [status["imageID"], container["image"]]
    # A server without an image has the operator's default one.
    return {"image": names[0] if names[0] != names[1] else None}


def args(name: str) -> Object:
    return {"args": [f"--id={name}"]}


def requests(millicores: int) -> Object:
    return {"resources": {"requests": {"cpu": f"{millicores}m"}}}


CHANGES: tuple[tuple[str, str, Object | None], ...] = (
    ("ResourceAware", "image", None),
    ("ResourceAware", "args", args("one")),
    ("ResourceAware", "resources", requests(60)),
    ("Availability", "image", None),
    ("Availability", "args", args("two")),
    ("Availability", "resources", requests(50)),
    ("Auto", "image", None),
    ("Auto", "args", args("three")),
    # What the next test finds taken.
    ("Auto", "resources", {"gpus": 1}),
)


@pytest.mark.parametrize(
    ("rollout", "what", "change"), CHANGES, ids=[f"{each[0]}-{each[1]}" for each in CHANGES]
)
def test_a_change_loses_no_request(
    world: World, clients: Clients, rollout: str, what: str, change: Object | None
) -> None:
    surges = 0 if rollout == "ResourceAware" else 1
    world.patch("TritonServer", SERVER, {"rollout": rollout})
    wait_for("the Deployment follows", lambda: surge(world) == surges, 20)
    before, ready, seen = world.pods(SERVER), list[int](), set[int]()
    started = time.monotonic()
    world.patch("TritonServer", SERVER, change or image(world))

    def replaced() -> bool:
        pods = world.pods(SERVER)
        ready.append(sum(pod.ready for pod in pods))
        seen.add(surge(world))
        return not uids(pods) & uids(before)

    wait_for("no old pod stays", replaced, 120, seen=lambda: world.pods(SERVER))
    wait_replaced(world, before)
    clients.tell(f"`{rollout}`, new {what}", started)

    assert seen == {surges}
    assert min(ready) == (1 if rollout == "ResourceAware" else 2)


def test_without_a_free_gpu_auto_replaces_in_place(world: World, clients: Clients) -> None:
    before = world.pods(SERVER)
    started = time.monotonic()
    world.patch("TritonServer", SERVER, {"args": []})
    told = world.wait_condition(
        "TritonServer", SERVER, "Progressing", "True", reason="ReplacingInPlace"
    )
    assert "there is no room for a spare one" in told["message"]
    assert surge(world) == 0
    # A GPU is free when its pod has ended, 50 s later at most.
    wait_replaced(world, before, 180)
    clients.tell("`Auto` without a free GPU, new args", started)
    wait_for("the next rollout may have a spare pod", lambda: surge(world) == 1, 20)


def progress(world: World) -> Object:
    return condition(world.get("TritonServer", SERVER), "Progressing")


def test_a_rollout_that_fails_stops_and_can_be_taken_back(
    world: World, clients: Clients, figure: Callable[[str], None]
) -> None:
    world.patch("TritonServer", SERVER, {"rollout": "ResourceAware", "gpus": 0})
    wait_for("there are two pods again", lambda: len(world.pods(SERVER)) == 2, 60)
    world.wait_condition("TritonServer", SERVER, "Ready", "True", seconds=90)
    before = world.pods(SERVER)

    started = time.monotonic()
    world.patch("TritonServer", SERVER, {"args": ["--no-such-flag=1"]})
    failed = world.wait_condition(
        "TritonServer", SERVER, "Progressing", "False", reason="RolloutFailed"
    )
    told = time.monotonic() - started
    assert "crashes: " in failed["message"]
    refused = "unrecognized option '--no-such-flag=1'"
    wait_for("the argument is named", lambda: refused in progress(world).get("message", ""), 40)
    assert "1 of 2 pods serve on as before" in failed["message"]
    named = progress(world)["message"]
    left = [pod for pod in world.pods(SERVER) if pod.ready]
    assert len(uids(left) & uids(before)) == 1

    world.patch("TritonServer", SERVER, {"args": []})
    world.wait_condition("TritonServer", SERVER, "Ready", "True", seconds=60)
    assert uids(left) < uids(world.pods(SERVER))
    clients.tell("args that Triton refuses, and the way back", started)
    figure(f"args that Triton refuses: told after {told:.0f} s, in these words:")
    figure(f"  {named}")


def test_a_killed_operator_in_a_rollout_loses_no_request(
    world: World, clients: Clients, operator: Installation
) -> None:
    before = world.pods(SERVER)
    started = time.monotonic()
    world.patch("TritonServer", SERVER, args("four"))
    wait_for("the rollout has begun", lambda: uids(before) - uids(world.pods(SERVER)), 20)
    operator.kill()
    operator.wait_ready()
    wait_replaced(world, before)
    clients.tell("the operator is killed in a rollout", started)


def test_a_drain_takes_one_pod_at_a_time(world: World, clients: Clients, tmp_path: Path) -> None:
    def allowed() -> int:
        return int(world.live("PodDisruptionBudget", SERVER)["status"]["disruptionsAllowed"])

    wait_for("one pod may go", lambda: allowed() == 1, 30)
    before = world.pods(SERVER)
    (node,) = {pod.node for pod in before}
    started = time.monotonic()
    with draining(tmp_path, node, SELECTOR) as drain:
        # The only node takes no pods now: without the budget both would be gone.
        refused = "it would violate the pod's disruption budget"
        wait_for("the second one may not go", lambda: refused in drain.said(), 30, seen=drain.said)

        def left() -> int:
            return len(uids([pod for pod in world.pods(SERVER) if pod.ready]) & uids(before))

        # The budget is taken from before the pod that goes is told to.
        wait_for("one pod goes", lambda: left() < 2, 10)
        assert left() == 1
        uncordon(node)
        drain.wait(180)
        assert "drained" in drain.said()
    wait_replaced(world, before)
    clients.tell("`kubectl drain` of both pods", started)


def test_a_new_control_key_loses_no_request_and_keeps_old_pods_loaded(
    world: World, clients: Clients
) -> None:
    before, old_key = world.pods(SERVER), world.control_key(SERVER)
    old_secret = world.key_secret(SERVER)
    world.patch("TritonServer", SERVER, {"rollout": "Availability", **requests(999_000)})
    world.annotate("TritonServer", SERVER, rotate_control_key="monday")
    wait_for("there is a new key", lambda: world.control_key(SERVER) != old_key, 20)
    wait_for("a pod waits for a node", lambda: len(world.pods(SERVER)) == 3, 20)

    # Only pods of the old key are ready: they still take what is new.
    world.apply(model("number", version(1, adds(2)), on=SERVER))
    world.wait_answer(SERVER, "number", 3.0)
    assert uids(before) < uids(world.pods(SERVER))
    assert "controlKey" not in world.status("TritonServer", SERVER)
    assert world.get("Secret", old_secret) is not None

    started = time.monotonic()
    world.patch("TritonServer", SERVER, requests(60))
    wait_replaced(world, before)
    clients.tell("a new control key of both pods", started)
    wait_for(
        "the request is carried out",
        lambda: world.status("TritonServer", SERVER).get("controlKey") == {"request": "monday"},
        90,
        seen=lambda: world.status("TritonServer", SERVER),
    )
    assert world.get("Secret", old_secret) is None
    new_key = world.control_key(SERVER)
    for key, status in ((old_key, HTTPStatus.FORBIDDEN), (new_key, HTTPStatus.OK)):
        for pod in world.pods(SERVER):
            assert triton.ask(pod.ip, "/v2/repository/index", {}, headers=key).status == status


def test_fewer_replicas_lose_no_request_and_need_no_budget(
    world: World, clients: Clients, figure: Callable[[str], None]
) -> None:
    started = time.monotonic()
    world.patch("TritonServer", SERVER, {"replicas": 1})
    world.wait_pods(SERVER, 1)
    world.wait_gone("PodDisruptionBudget", SERVER)
    wait_for(
        "the pods that were replaced are gone",
        lambda: len(world.kube.all("Pod", world.namespace, SELECTOR)) == 1,
        90,
    )
    clients.tell("`replicas` from 2 to 1, and all that were replaced gone", started)
    figure(f"what bare connections lost: {Counter(each.error for each in clients.lost())}")
