"""Pods are replaced, evicted and scaled away while clients of all kinds send requests.

The clients run through the whole module: a pod that was replaced by one test may leave in the
next one, for it goes on with kept connections until Triton's own time to end is over.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.cluster.support.gateway import gateway
from tests.cluster.support.kube import Object, kubectl
from tests.cluster.support.load import Load, Request
from tests.cluster.support.manifests import adds, model, server, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import Pod, World

pytestmark = pytest.mark.cluster

SERVER = "rolling"
DRAIN_SECONDS = 3
GPU = "nvidia.com/gpu"


class Clients:
    """All kinds of clients, each with what became of its requests."""

    def __init__(self, **loads: Load) -> None:
        self._loads = loads
        self._seen: Counter[str] = Counter()

    def requests(self) -> list[tuple[str, Request]]:
        return [
            (f"{each.protocol} of {kind}", each)
            for kind, load in self._loads.items()
            for each in load.requests()
        ]

    def failed(self) -> list[tuple[str, Request]]:
        """Return what failed, but for what bare connections lose."""
        return [(who, r) for who, r in self.requests() if r.error and r.protocol[:4] != "bare"]

    def lost(self) -> list[Request]:
        return [r for _, r in self.requests() if r.error and r.protocol.startswith("bare")]

    def told(self) -> str:
        """Say how many requests of each kind there were since the last time, and the bare ones."""
        now = Counter(who for who, _ in self.requests())
        new, self._seen = now - self._seen, now
        counts = ", ".join(f"{count} {who}" for who, count in sorted(new.items()))
        return f"{counts}; {len(self.failed())} failed; bare connections lost {len(self.lost())}"


@pytest.fixture(scope="module")
def clients(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
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
            made = Load(host, "number", new, grpc, most_seconds=900, pause_seconds=0.05)
            made.keep_alive_clients, made.bare_clients = kept, bare
            return stack.enter_context(made)

        found = Clients(service=load(host, 1, 2, 2, 2), gateway=load(front, 1, 0, 1, 0))
        wait_for("requests are answered", lambda: len(found.requests()) > 50, 20)
        yield found


@pytest.fixture(autouse=True)
def _nothing_fails(clients: Clients) -> Iterator[None]:
    yield
    more = len(clients.requests()) + 50
    wait_for("requests go on", lambda: len(clients.requests()) > more, 20)
    assert not clients.failed(), clients.failed()[:3]


def uids(pods: list[Pod]) -> set[str]:
    return {pod.uid for pod in pods}


def wait_replaced(world: World, before: list[Pod], count: int = 2) -> None:
    """Wait until there are so many ready pods, none of them one of before."""

    def replaced() -> bool:
        pods = world.pods(SERVER)
        ready = len(pods) == count and all(pod.ready for pod in pods)
        return ready and not uids(pods) & uids(before)

    wait_for("all pods are new", replaced, 120, seen=lambda: world.pods(SERVER))
    world.wait_condition("TritonServer", SERVER, "Ready", "True")


def surge(world: World) -> int:
    strategy = world.live("Deployment", SERVER)["spec"]["strategy"]
    return int(strategy["rollingUpdate"]["maxSurge"])


ARGS = {"args": ["--log-format=ISO8601"]}
RESOURCES = {"resources": {"requests": {"cpu": "60m", "memory": "128Mi"}}}


@pytest.mark.parametrize(
    ("rollout", "change", "surges"),
    [("ResourceAware", ARGS, {0}), ("Availability", RESOURCES, {1}), ("Auto", {"gpus": 1}, {1})],
    ids=["ResourceAware", "Availability", "Auto"],
)
def test_a_change_loses_no_request(
    world: World,
    clients: Clients,
    figure: Callable[[str], None],
    rollout: str,
    change: Object,
    surges: set[int],
) -> None:
    world.patch("TritonServer", SERVER, {"rollout": rollout})
    wait_for("the Deployment follows", lambda: surge(world) in surges, 20)
    before, ready, seen = world.pods(SERVER), list[int](), set[int]()
    started = time.monotonic()
    world.patch("TritonServer", SERVER, change)

    def replaced() -> bool:
        pods = world.pods(SERVER)
        ready.append(sum(pod.ready for pod in pods))
        seen.add(surge(world))
        return not uids(pods) & uids(before)

    wait_for("no old pod stays", replaced, 120, seen=lambda: world.pods(SERVER))
    wait_replaced(world, before)

    assert seen == surges
    assert min(ready) == (1 if rollout == "ResourceAware" else 2)
    took = time.monotonic() - started
    figure(f"{rollout}, {next(iter(change))} of 2 pods: {took:.0f} s; {clients.told()}")


def test_without_a_free_gpu_auto_replaces_in_place(
    world: World, clients: Clients, figure: Callable[[str], None]
) -> None:
    before = world.pods(SERVER)
    started = time.monotonic()
    world.patch("TritonServer", SERVER, {"args": []})
    told = world.wait_condition(
        "TritonServer", SERVER, "Progressing", "True", reason="ReplacingInPlace"
    )
    assert "no node has room for a spare one" in told["message"]
    assert surge(world) == 0
    wait_replaced(world, before)
    took = time.monotonic() - started
    wait_for("the next rollout may have a spare pod", lambda: surge(world) == 1, 20)
    figure(f"Auto without a free GPU, args of 2 pods: {took:.0f} s; {clients.told()}")


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
    assert "1 of 2 pods serve on as before" in failed["message"]
    left = [pod for pod in world.pods(SERVER) if pod.ready]
    assert len(uids(left) & uids(before)) == 1

    world.patch("TritonServer", SERVER, {"args": []})
    world.wait_condition("TritonServer", SERVER, "Ready", "True", seconds=60)
    assert uids(left) < uids(world.pods(SERVER))
    took = time.monotonic() - started
    figure(f"args that Triton refuses: told after {told:.0f} s, taken back after {took:.0f} s;")
    figure(f"  its words: {failed['message']}")
    figure(f"  {clients.told()}")


def evict(world: World, pod: Pod) -> str:
    """Ask for what a drain asks for; return why it is refused."""
    path = f"/api/v1/namespaces/{world.namespace}/pods/{pod.name}/eviction"
    wish = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod.name}}
    done = kubectl("create", "--raw", path, "-f", "-", stdin=wish)
    return "" if done.returncode == 0 else done.stderr


def test_drains_take_one_pod_at_a_time(
    world: World, clients: Clients, figure: Callable[[str], None]
) -> None:
    def allowed() -> int:
        return int(world.live("PodDisruptionBudget", SERVER)["status"]["disruptionsAllowed"])

    wait_for("one pod may go", lambda: allowed() == 1, 30)
    started = time.monotonic()
    before = world.pods(SERVER)
    first, second = before
    assert evict(world, first) == ""
    assert "disruption budget" in evict(world, second)
    wait_for("the second one may go", lambda: not evict(world, second), 60)
    wait_replaced(world, before)
    took = time.monotonic() - started
    figure(f"drain of both pods, one by one: {took:.0f} s; {clients.told()}")


def test_fewer_replicas_lose_no_request_and_need_no_budget(
    world: World, clients: Clients, figure: Callable[[str], None]
) -> None:
    started = time.monotonic()
    world.patch("TritonServer", SERVER, {"replicas": 1})
    world.wait_pods(SERVER, 1)
    world.wait_gone("PodDisruptionBudget", SERVER)
    selector = f"triton-operator.io/server={SERVER},app.kubernetes.io/component=server"
    wait_for(
        "the pods that were replaced are gone",
        lambda: len(world.kube.all("Pod", world.namespace, selector)) == 1,
        90,
    )
    took = time.monotonic() - started
    figure(f"from 2 pods to 1, and all that were replaced gone: {took:.0f} s; {clients.told()}")
    figure(f"  what bare connections lost: {Counter(each.error for each in clients.lost())}")
