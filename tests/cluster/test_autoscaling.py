"""Replicas follow the load: up with a step of it, down after it, and no request fails.

The load is open: perf_analyzer sends at set times, however long the answers take.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean

import pytest

from tests.cluster.support import triton
from tests.cluster.support.installation import Installation
from tests.cluster.support.kube import Object, condition, kubectl
from tests.cluster.support.load import Load, Request
from tests.cluster.support.manifests import PYTHON, model, server, sleeps, version
from tests.cluster.support.perf_analyzer import OpenLoad, Stage, SteadyLoad
from tests.cluster.support.waiting import holds_for, wait_for
from tests.cluster.support.world import World

pytestmark = pytest.mark.cluster

SERVER = "elastic"
SERVICE_SECONDS = 0.1
TARGET = 500
"""Milliseconds in the queue."""
CAPACITY = 1 / SERVICE_SECONDS
"""Requests per second of one pod."""
BOUNDS = {
    "minReplicas": 2,
    "maxReplicas": 8,
    "targetQueueTimeMilliseconds": TARGET,
    "scaleDown": {
        "stabilizationWindowSeconds": 20,
        "longestWindowSeconds": 20,
        "periodSeconds": 5,
    },
}

QUIET = 12
"""Seconds of one pod's capacity, before it is three times that and then the one again."""
CAUGHT_UP = 80
"""Seconds after the step from which on the wait is below the target."""
TRICKLE = {"http_clients": 0, "grpc_clients": 1, "value": SERVICE_SECONDS, "pause_seconds": 0.5}
"""A little of gRPC beside the open load, whose channel moves from pod to pod."""


def sleeper(name: str, on: str) -> Object:
    """Return a model that takes as long for a request as the request says."""
    return model(name, version(1, sleeps()), on=on, config={**PYTHON, "maxBatchSize": 1})


def replicas(world: World, name: str = SERVER) -> int:
    return int(world.live("Deployment", name)["spec"]["replicas"])


def wait_settled(world: World, seconds: float) -> int:
    """Return the number of pods, once it has stood for longer than a lower need has to last."""

    def settled() -> int:
        now = replicas(world)
        try:
            holds_for("the number stands", lambda: replicas(world) == now, 25)
        except AssertionError:
            return 0
        return now

    return wait_for("the number of pods stands", settled, seconds, seen=lambda: scaled(world))


def autoscaling(world: World, name: str = SERVER) -> Object:
    """Return what the status says of the load; empty before it says something."""
    return dict((world.status("TritonServer", name) or {}).get("autoscaling") or {})


def scaled(world: World, name: str = SERVER) -> list[str]:
    """Return what the Events said of the number of pods, oldest first."""
    found = [
        (event["eventTime"], event["message"])
        for event in world.all("Event")
        if event["reason"] == "Scaled" and event["involvedObject"]["name"] == name
    ]
    return [message for _, message in sorted(found)]


@pytest.fixture
def alone(world: World) -> Iterator[Callable[..., str]]:
    """Makes a server with a model of the same name; it goes at the end of the test."""
    made: list[str] = []

    def make(name: str, **spec: object) -> str:
        made.append(name)
        world.apply(server(name, **spec), sleeper(name, name))
        world.wait_ready(name)
        world.wait_pods(name, 1)
        return world.service(name)

    yield make
    for name in made:
        world.delete("TritonModel", name)
        world.delete("TritonServer", name)


def test_a_pod_that_hangs_gets_another_beside_it(
    world: World, alone: Callable[..., str], figure: Callable[[str], None]
) -> None:
    host = alone("hangs", autoscaling=BOUNDS | {"minReplicas": 1})
    hang = 40.0

    def hold_up() -> None:
        triton.ask(host, "/v2/models/hangs/infer", triton.number_request(hang), seconds=2 * hang)

    with OpenLoad(host, "hangs", "http", (Stage(50, 3.0),), SERVICE_SECONDS) as load:
        # At 3 a second this takes longer than a tick, which learns how long one takes.
        wait_for("it has answered some", lambda: answered(host, "hangs") >= 24, 30)
        sent = time.monotonic()
        hanging = threading.Thread(target=hold_up)
        hanging.start()
        wait_for("one more is asked for", lambda: replicas(world, "hangs") == 2, hang - 2)
        decided = time.monotonic() - sent
        event, *more = wait_for("the Event", lambda: scaled(world, "hangs"), 5)
        requests = load.requests(90)
        hanging.join(hang)

    figure(f"autoscaling, a pod that hangs: one more asked for {decided:.1f} s later")
    assert not more, "one, not one after the other"
    assert event.startswith("from 1 to 2: hangs: "), event
    assert "waiting was finished on 1 pod" in event, event
    during = [each for each in requests if sent < each.at < sent + hang - 1]
    assert any(each.seconds < 1 for each in during[-20:]), "the new pod takes its part of the load"


def test_pods_without_a_gpu_are_told_of_and_not_asked_for_again(
    world: World, alone: Callable[..., str]
) -> None:
    bounds = BOUNDS | {"minReplicas": 1, "scaleUp": {"maxPods": 2, "periodSeconds": 15}}
    host = alone("greedy", gpus=1, drainSeconds=0, autoscaling=bounds)

    with OpenLoad(host, "greedy", "grpc", (Stage(90, 3.5 * CAPACITY),), SERVICE_SECONDS) as load:
        wait_for("a third GPU is wanted", lambda: replicas(world, "greedy") == 3, 30)
        limited = world.wait_condition(
            "TritonServer", "greedy", "ScalingLimited", "True", reason="Unschedulable"
        )
        told = scaled(world, "greedy")

        def stays() -> bool:
            load.check()
            return replicas(world, "greedy") == 3 and scaled(world, "greedy") == told

        # The next step of two would come 15 s after the first.
        holds_for("no more are asked for", stays, 22)

        def need() -> int:
            (load_of,) = autoscaling(world, "greedy")["models"]
            return int(load_of["desired"])

        wait_for("more than three are needed", lambda: need() > 3, 40, seen=need)
        assert stays()

    assert "Insufficient nvidia.com/gpu" in limited["message"]
    assert sum(pod.ready for pod in world.pods("greedy")) == 2
    ready = condition(world.get("TritonServer", "greedy"), "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Unschedulable")


def answered(host: str, name: str) -> int:
    """Return how many requests a server's pod has answered."""
    (stats,) = triton.ask(host, f"/v2/models/{name}/stats").json()["model_stats"]
    return int(stats["inference_count"])


@dataclass(frozen=True)
class Day:
    """The load that the tests below happen under, each part of it for as long as they take."""

    always: SteadyLoad
    peak: SteadyLoad
    grpc: Load

    def check(self) -> None:
        """Fail if a request has failed so far."""
        self.always.check()
        self.peak.check()
        assert not self.grpc.failed(), self.grpc.failed()[:3]


@pytest.fixture(scope="module")
def day(world: World) -> Iterator[Day]:
    world.apply(server(SERVER, autoscaling=BOUNDS, drainSeconds=5), sleeper("sleeper", SERVER))
    world.wait_ready("sleeper")
    world.wait_pods(SERVER, 2)
    host = world.service(SERVER)
    with (
        Load(host, "sleeper", most_seconds=1800, **TRICKLE) as grpc,
        SteadyLoad(host, "sleeper", "http", CAPACITY, SERVICE_SECONDS) as always,
        SteadyLoad(host, "sleeper", "http", 2 * CAPACITY, SERVICE_SECONDS) as peak,
    ):
        always.start()
        yield Day(always, peak, grpc)


def test_a_step_to_three_times_the_load_of_a_pod_is_followed(
    world: World, day: Day, figure: Callable[[str], None]
) -> None:
    holds_for("two pods are enough for the load of one", lambda: replicas(world) == 2, QUIET)
    begun = time.monotonic()
    day.peak.start()
    wait_for("more pods are asked for", lambda: replicas(world) > 2, 30)
    decided = time.monotonic() - begun

    def calm() -> bool:
        day.check()
        status = autoscaling(world)
        full = status["podsAnswering"] == "{0}/{0}".format(replicas(world))
        return full and status.get("queueTimeMilliseconds", TARGET) < TARGET

    # The last test bounds the wait itself; the status tells of it up to 30 s later.
    wait_for("the wait is below the target", calm, 110, seen=lambda: autoscaling(world))
    grown = time.monotonic() - begun
    pods = wait_settled(world, 120)
    day.check()
    status = autoscaling(world)
    head, row = kubectl("get", "ts", SERVER, "-n", world.namespace).stdout.splitlines()
    described = kubectl("describe", "ts", SERVER, "-n", world.namespace).stdout
    up = scaled(world)

    told = f"a step from 1x to 3x of a pod's load: decided {decided:.1f} s later"
    figure(f"{told} (goal 10 s), the wait below the target after {grown:.1f} s; {pods} pods")
    assert pods >= 4, "three pods' load, and some room"
    assert status["desired"] == pods
    columns = dict(zip(head.split(), row.split(), strict=False))
    assert (columns["READY"], columns["DESIRED"]) == (f"{pods}/{pods}", str(pods))
    assert float(columns["QUEUE"]) < TARGET
    assert up[0].startswith("from 2 to "), up
    for part in ("sleeper: ", " requests/s keep ", " pods busy"):
        assert part in up[0], up
        assert part in described, described
    assert "Scaled" in described
    assert "Queue Time Milliseconds:" in described
    # A step just after a tick takes two of them, of 5 s each; a third is slow, but no fault.
    assert decided <= 20, told


def test_a_killed_operator_leaves_the_number_as_it_is(
    world: World, day: Day, operator: Installation, figure: Callable[[str], None]
) -> None:
    before, made = replicas(world), len(scaled(world))
    seen: set[int] = set()
    begun = time.monotonic()
    operator.kill()

    def ticks() -> bool:
        """Return whether the new operator has told of what it sees."""
        day.check()
        seen.add(replicas(world))
        return str(autoscaling(world).get("hold", "")).startswith("the operator has not watched")

    wait_for("a new operator has looked", ticks, 60, seen=lambda: autoscaling(world))
    again = time.monotonic() - begun
    figure(f"autoscaling, operator killed under load: it decides again {again:.0f} s later")
    holds_for("the load goes on", lambda: not seen.add(replicas(world)), 8)

    assert min(seen) == before, "it must not fall for want of memory"
    assert max(seen) <= before + 1, f"{before} pods were enough: {scaled(world)[made:]}"


def test_less_load_takes_pods_away_and_no_request_fails(
    world: World, day: Day, figure: Callable[[str], None]
) -> None:
    day.peak.end()
    wait_for(
        "two pods are left", lambda: replicas(world) == 2, 240, seen=lambda: autoscaling(world)
    )
    left = time.monotonic()
    holds_for("two pods are enough again", lambda: replicas(world) == 2, 5)
    always, peak, grpc = day.always.requests(120), day.peak.requests(120), day.grpc.requests()
    day.check()
    http = [*always, *peak]

    def mean(begin: float, end: float) -> float:
        """Return the mean time of the requests that were sent between two times."""
        return fmean(each.seconds for each in http if begin <= each.at < end)

    begin, end = peak[0].at, peak[-1].at
    caught_up = min(begin + CAUGHT_UP, end - 20)
    late = mean(caught_up, end)
    figure(
        f"{len(http)} requests over HTTP and {len(grpc)} over gRPC through up, kill and down, none"
        f" failed; mean answer {mean(always[0].at, begin):.2f} s before the step,"
        f" {_slowest(http):.1f} s the slowest, {late:.2f} s in the peak from"
        f" {caught_up - begin:.0f} s after the step to its end {end - begin:.0f} s after it"
    )
    assert always[-1].at > left, "the load goes on while pods are taken away"
    assert late < TARGET / 1000 + SERVICE_SECONDS
    assert all(each.value == pytest.approx(SERVICE_SECONDS) for each in (*http, *grpc))
    assert any(" to 2: " in message for message in scaled(world)), scaled(world)


def _slowest(requests: list[Request]) -> float:
    return max(each.seconds for each in requests)
