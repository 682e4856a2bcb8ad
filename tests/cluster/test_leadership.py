"""Two operators: one acts, and when it is gone, stuck or told to go, the other goes on."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.support.audit import AuditLog
from tests.cluster.support.installation import NAMESPACE, Installation
from tests.cluster.support.kube import Kube
from tests.cluster.support.load import Load
from tests.cluster.support.manifests import PYTHON, adds, model, server, sleeps, slow, version
from tests.cluster.support.waiting import holds_for, wait_for
from tests.cluster.support.world import World, names

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        not AuditLog.exists(), reason="only the local test cluster tells who wrote what, and when"
    ),
]

TAKEN_OVER_SECONDS = 15
HANDED_OVER_SECONDS = 5
QUIET_SECONDS = 8
"""Longer than a new leader needs for its first pass over every server."""
SERVER, ELASTIC = "pair", "elastic"
KINDS = ("TritonServer", "TritonModel", "Deployment", "Service", "PersistentVolumeClaim", "Job")


@pytest.fixture(scope="module", autouse=True)
def _two(operator: Installation) -> Iterator[None]:
    operator.install(replicas=2)
    yield
    operator.install()


@pytest.fixture(scope="module", autouse=True)
def _served(world: World, _two: None) -> None:
    bounds = {"minReplicas": 1, "maxReplicas": 2, "targetQueueTimeMilliseconds": 500}
    world.apply(
        server(SERVER, replicas=2),
        model("number", version(1, adds(1)), on=SERVER),
        server(ELASTIC, autoscaling=bounds, drainSeconds=5),
        model("sleeper", version(1, sleeps()), on=ELASTIC, config={**PYTHON, "maxBatchSize": 1}),
    )
    world.wait_ready("number", "sleeper")
    world.wait_pods(SERVER, 2)
    world.wait_pods(ELASTIC, 1)


@pytest.fixture(autouse=True)
def _all_ready(operator: Installation) -> None:
    operator.wait_ready(120)


def wait_taken(operator: Installation, before: dict[str, object], seconds: float) -> float:
    """Return the seconds until the Lease was taken anew, be it by the next process of its pod."""
    begun = time.monotonic()

    def taken() -> bool:
        now = operator.lease()
        return bool(now.get("holderIdentity")) and now["acquireTime"] != before["acquireTime"]

    wait_for("another process leads", taken, seconds, every=0.05, seen=operator.lease)
    return time.monotonic() - begun


def versions(world: World) -> dict[str, str]:
    """Return which version every object has that an operator could have written."""
    return {
        f"{kind} {body['metadata']['name']}": body["metadata"]["resourceVersion"]
        for kind in KINDS
        for body in world.all(kind)
    } | {f"Pod {body['metadata']['name']}": body["metadata"]["uid"] for body in world.all("Pod")}


def wait_quiet(kube: Kube, log: AuditLog) -> None:
    def quiet() -> bool:
        before = len(log.writes())
        try:
            holds_for("nothing is written", lambda: len(log.writes()) == before, 4)
        except AssertionError:
            return False
        return True

    # In one that is on its way out the operator goes on trying for as long as there are servers.
    wait_for("no namespace leaves", lambda: not leaving(kube), 120, seen=lambda: leaving(kube))
    wait_for("the world is settled", quiet, 120)


def leaving(kube: Kube) -> list[str]:
    bodies = kube.all("Namespace", "")
    return names(each for each in bodies if "deletionTimestamp" in each["metadata"])


@pytest.mark.parametrize(
    "how", ["the process is killed", "the pod is removed", "the pod is deleted"]
)
def test_a_settled_world_is_not_touched_by_a_new_leader(
    world: World, operator: Installation, how: str, figure: Callable[[str], None]
) -> None:
    world.wait_available(SERVER, ELASTIC)
    wait_quiet(world.kube, AuditLog())
    log, before, lease = AuditLog(), versions(world), operator.lease()
    leader = operator.leader()

    match how:
        case "the process is killed":
            operator.signal(leader, signal.SIGKILL)
        case "the pod is removed":
            operator.kube.delete("Pod", NAMESPACE, leader, now=True)
        case "the pod is deleted":
            operator.kube.delete("Pod", NAMESPACE, leader)
    took = wait_taken(operator, lease, 60)
    figure(f"{how}: another process leads {took:.1f} s later")
    holds_for("nothing is written", lambda: not log.writes(), QUIET_SECONDS)

    assert not log.writes(), [str(entry) for entry in log.writes()]
    assert versions(world) == before
    assert took < (HANDED_OVER_SECONDS if how == "the pod is deleted" else TAKEN_OVER_SECONDS)


def test_a_kill_under_load_in_the_middle_of_an_update_and_of_scaling(
    world: World, operator: Installation, figure: Callable[[str], None]
) -> None:
    log, lease, leader = AuditLog(), operator.lease(), operator.leader()
    jobs = {body["metadata"]["name"] for body in world.all("Job")}
    told = {body["metadata"]["name"] for body in world.all("Event")}
    with (
        world.kube.watch("Deployment", world.namespace) as deployments,
        Load(world.service(SERVER), "number", http_clients=1) as load,
        Load(
            world.service(ELASTIC),
            "sleeper",
            http_clients=10,
            grpc_clients=0,
            value=0.1,
            pause_seconds=0.5,
        ) as much,
    ):
        world.apply(model("number", version(1, slow(3, 2)), on=SERVER))
        wait_for("one pod serves what is new", lambda: load.first(4.0), 30, every=0.02)
        # Force, so that it cannot come back under the same name: the other one has to do it all.
        operator.signal(leader, signal.SIGKILL)
        killed = time.monotonic()
        operator.kube.delete("Pod", NAMESPACE, leader, now=True)
        took = wait_taken(operator, lease, TAKEN_OVER_SECONDS)
        assert operator.leader() != leader
        world.wait_ready("number", seconds=60)
        updated = time.monotonic() - killed
        world.wait_pods(ELASTIC, 2, 90)
        replicas = [
            seen.object["spec"]["replicas"]
            for seen in deployments.seen()
            if seen.object["metadata"]["name"] == ELASTIC
        ]
    figure(
        f"kill -9 in the middle of an update: the standby leads {took:.1f} s later, the update is"
        f" done {updated:.1f} s later; {len(load.requests()) + len(much.requests())} requests,"
        f" {len(load.failed()) + len(much.failed())} failed"
    )
    writes = log.writes(world.namespace)
    made = Counter(e.name for e in writes if e.verb == "create" and e.resource == "jobs")
    events = Counter(
        (each["involvedObject"]["name"], each["reason"], each["message"])
        for each in world.all("Event")
        if each["metadata"]["name"] not in told
        and each["involvedObject"]["kind"] in ("TritonModel", "TritonServer")
    )
    assert not load.failed(), load.failed()[:3]
    assert not much.failed(), much.failed()[:3]
    assert replicas == sorted(replicas), replicas
    assert len({body["metadata"]["name"] for body in world.all("Job")} - jobs) <= 1
    assert all(count == 1 for count in made.values()), made
    assert sum(each.resource == "deployments" for each in writes) <= 1, list(map(str, writes))
    assert events
    assert all(count == 1 for count in events.values()), events
    assert not [each for each in writes if each.status >= 400], list(map(str, writes))


def test_a_leader_that_was_halted_writes_nothing_when_it_wakes(
    world: World, operator: Installation, figure: Callable[[str], None]
) -> None:
    leader, lease = operator.leader(), operator.lease()
    starts = restarts(operator, leader)
    operator.signal(leader, signal.SIGSTOP)
    try:
        log = AuditLog()
        # What the halted one finds in its connections when it wakes is work for it.
        world.apply(model("number", version(1, adds(5)), on=SERVER))
        took = wait_taken(operator, lease, TAKEN_OVER_SECONDS)
    finally:
        operator.signal(leader, signal.SIGCONT)
    woken = time.monotonic()
    wait_for("the halted one has ended", lambda: restarts(operator, leader) > starts, 30)
    ended = time.monotonic() - woken
    world.wait_answer(SERVER, "number", 6.0, seconds=60)
    holds_for("it goes on so", lambda: operator.leader() != leader, 3)

    figure(
        f"SIGSTOP: the standby leads {took:.1f} s later; the other one has ended"
        f" {ended:.1f} s after SIGCONT"
    )
    found = log.entries()
    assert [each for each in found if each.writes and each.pod != leader and each.name == "number"]
    assert not [str(each) for each in found if each.writes and each.pod == leader]
    last = operator.kube.get("Pod", NAMESPACE, leader)
    assert last is not None
    state = last["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert state["exitCode"] == 3, state


def restarts(operator: Installation, pod: str) -> int:
    body = operator.kube.get("Pod", NAMESPACE, pod)
    assert body is not None, f"{pod} is gone"
    return int(body["status"]["containerStatuses"][0]["restartCount"])
