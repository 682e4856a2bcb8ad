"""What pods load: long loads, ensembles, drift, deadly models, moves; and nobody else notices."""

import http
import json
import time
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.support import triton
from tests.cluster.support.installation import Installation
from tests.cluster.support.kube import Object
from tests.cluster.support.load import Load
from tests.cluster.support.manifests import (
    PYTHON,
    adds,
    chain,
    fails,
    kills,
    model,
    server,
    slow,
    version,
)
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World

pytestmark = pytest.mark.cluster

SERVER = "several"
ALL = {**PYTHON, "versionPolicy": {"all": {}}}


@pytest.fixture(scope="module", autouse=True)
def _server(world: World) -> None:
    world.apply(
        server(SERVER, replicas=2, drainSeconds=5),
        model("steady", version(1, adds(100)), on=SERVER),
    )
    world.wait_ready("steady")
    world.wait_pods(SERVER, 2)


def wait_load(load: Load) -> None:
    wait_for("requests are answered", lambda: len(load.requests()) > 10, 10)


def test_a_model_that_loads_for_long_keeps_nobody_waiting(
    world: World, figure: Callable[[str], None]
) -> None:
    load_seconds = 12
    kept = Load(world.service(SERVER), "steady", http_clients=0, keep_alive_clients=8)
    with kept as load:
        wait_load(load)
        world.apply(model("big", version(1, slow(1, load_seconds)), on=SERVER))
        world.wait_condition("TritonModel", "big", "Ready", "False", reason="Loading")
        begun = time.monotonic()
        world.apply(model("small", version(1, adds(2)), on=SERVER))
        world.wait_ready("small")
        took = time.monotonic() - begun

        assert world.status("TritonModel", "big")["transition"] == "InProgress"
        world.wait_ready("big", seconds=120)
    assert triton.number(world.service(SERVER), "big") == 2.0
    longest = max(each.seconds for each in load.requests())
    figure(f"a small model beside one that loads for {load_seconds} s: ready after {took:.1f} s")
    figure(f"{load.summary()} on kept connections beside it, the longest took {longest:.1f} s")
    assert not load.failed(), load.failed()
    # A thread of Triton that loaded it would have kept its connections waiting as long.
    assert longest < load_seconds / 2
    for name in ("big", "small"):
        world.delete("TritonModel", name)


class TestDrift:
    """What somebody does to a pod behind the operator's back is put right and told."""

    @pytest.fixture(scope="class", autouse=True)
    @staticmethod
    def _often(operator: Installation) -> Iterator[None]:
        operator.install(resyncSeconds=3)
        yield
        operator.install()

    @pytest.fixture
    def name(self, world: World) -> str:
        world.apply(model("watched", version(1, adds(1)), on=SERVER))
        world.wait_ready("watched")
        return "watched"

    @pytest.mark.parametrize("what", ["unloaded", "replaced"])
    def test_is_put_right_within_a_resync(
        self, world: World, name: str, what: str, figure: Callable[[str], None]
    ) -> None:
        pod, key = world.pods(SERVER)[0], world.control_key(SERVER)
        good = triton.config_hash(pod.ip, name)
        before = len(self._told(world, name))
        if what == "unloaded":
            path, body = f"/v2/repository/models/{name}/unload", {}
        else:
            path = f"/v2/repository/models/{name}/load"
            config = triton.ask(pod.ip, f"/v2/models/{name}/config").json()
            config["parameters"] = {}
            body = {"parameters": {"config": json.dumps(config)}}
        answer = triton.ask(pod.ip, path, body, headers=key)
        assert answer.status == http.HTTPStatus.OK, answer.text
        begun = time.monotonic()
        wait_for("it drifted", lambda: triton.config_hash(pod.ip, name) != good, 5, every=0.05)

        wait_for("it is back", lambda: triton.config_hash(pod.ip, name) == good, 20)
        took = time.monotonic() - begun
        told = wait_for("it is told", lambda: self._told(world, name)[before:], 15)

        assert pod.name in told[-1]["message"]
        assert told[-1]["type"] == "Warning"
        world.wait_ready(name)
        figure(f"{what} by hand on one pod: put right after {took:.1f} s (resync every 3 s)")

    @staticmethod
    def _told(world: World, name: str) -> list[Object]:
        return [
            event
            for event in world.all("Event")
            if event["involvedObject"]["name"] == name and event["reason"] == "DriftRepaired"
        ]


class TestEnsembles:
    """An ensemble that serves goes on serving, whatever happens to its members."""

    @pytest.fixture(autouse=True)
    def _chain(self, world: World) -> Iterator[None]:
        world.apply(*self.parts("TYPE_FP32", 1, 10))
        world.wait_ready("front", "back", "line")
        yield
        for name in ("line", "front", "back", "fresh"):
            world.delete("TritonModel", name)
        world.wait_gone("TritonModel", "line", "front", "back", "fresh")

    @staticmethod
    def parts(between: str, first: float, second: float) -> list[Object]:
        def tensor(name: str, kind: str) -> Object:
            return {"name": name, "dataType": kind, "dims": [1]}

        front = {**PYTHON, "output": [tensor("OUT", between)]}
        back = {**PYTHON, "input": [tensor("IN", between)]}
        kinds = {"TYPE_FP32": "float32", "TYPE_FP64": "float64"}
        cast = f"(given + {first}).astype('{kinds[between]}')"
        code = adds(first).replace("given + given.dtype.type(" + str(first) + ")", cast)
        code_back = adds(second).replace(
            "given + given.dtype.type(" + str(second) + ")",
            f"(given + {second}).astype('float32')",
        )
        return [
            model("front", version(1, code), on=SERVER, config=front),
            model("back", version(1, code_back), on=SERVER, config=back),
            chain("line", SERVER, "front", "back"),
        ]

    def test_of_a_member_alone_that_does_not_fit(
        self, world: World, figure: Callable[[str], None]
    ) -> None:
        front, back, _ = self.parts("TYPE_FP64", 2, 20)
        with Load(world.service(SERVER), "line") as load:
            wait_load(load)
            world.apply(front)
            held = world.wait_condition(
                "TritonModel", "front", "Accepted", "False", reason="BreaksEnsemble"
            )
            world.apply(back)
            wait_for("both have changed", lambda: load.first(23.0), 30)
            world.wait_ready("front", "back", "line")

        assert "'line'" in held["message"]
        assert "TYPE_FP64[1]" in held["message"]
        assert "TYPE_FP32[1]" in held["message"]
        # Each pod has a moment between the first and the second member, but always its ensemble.
        other = [each for each in load.failed() if "data-type" not in each.error]
        assert not other, other[:3]
        assert set(load.values()) == {12.0, 23.0}
        figure(f"two members of a serving ensemble change together: {load.summary()}")

    def test_of_a_member_that_another_replaces(
        self, world: World, figure: Callable[[str], None]
    ) -> None:
        """One push: a new member, the ensemble that calls it, and the old one is deleted."""
        with Load(world.service(SERVER), "line") as load:
            wait_load(load)
            world.apply(
                model("fresh", version(1, fails("no")), on=SERVER),
                chain("line", SERVER, "front", "fresh"),
            )
            world.delete("TritonModel", "back")
            world.wait_condition("TritonModel", "fresh", "Ready", "False", reason="LoadFailed")
            world.wait_condition("TritonModel", "line", "Ready", "False", reason="WaitingForMember")
            world.apply(model("fresh", version(1, slow(30, 2)), on=SERVER))
            wait_for("the new member is called", lambda: load.first(32.0), 30)
            world.wait_ready("fresh", "line")

        assert not load.failed(), load.failed()[:3]
        assert set(load.values()) == {12.0, 32.0}
        figure(f"a member of a serving ensemble is replaced: {load.summary()}")
        for pod in world.pods(SERVER):
            wait_for("back goes", lambda pod=pod: not triton.answers(pod.ip, "back"), 20)

    def test_of_a_member_that_triton_finds_not_to_fit(self, world: World) -> None:
        """Its config says nothing of its tensors: Triton completes it from the code."""
        bare = {"backend": "python", "maxBatchSize": 8}
        wide = adds(3).replace(
            "    def execute",
            "    @staticmethod\n"
            "    def auto_complete_config(config):\n"
            "        config.add_input({'name': 'IN', 'data_type': 'TYPE_FP32', 'dims': [2]})\n"
            "        config.add_output({'name': 'OUT', 'data_type': 'TYPE_FP32', 'dims': [2]})\n"
            "        return config\n\n"
            "    def execute",
        )
        world.apply(model("back", version(1, wide), on=SERVER, config=bare))
        blocked = world.wait_condition(
            "TritonModel", "back", "Loaded", "False", reason="BlockedByFailedLoad"
        )

        assert "dropped the ensemble 'line'" in blocked["message"]
        assert "shape" in blocked["message"]
        world.wait_condition("TritonModel", "line", "Ready", "True")
        for pod in world.pods(SERVER):
            wait_for("it serves again", lambda pod=pod: triton.answers(pod.ip, "line"), 20)
        assert triton.number(world.service(SERVER), "line") == 12.0


def test_a_version_that_stays_answers_while_others_come_and_go(
    world: World, figure: Callable[[str], None]
) -> None:
    def of(*numbers: int) -> Object:
        versions = (version(number, adds(number)) for number in numbers)
        return model("numbered", *versions, on=SERVER, config=ALL)

    world.apply(of(1))
    world.wait_ready("numbered")
    with Load(world.service(SERVER), "numbered", version=1) as load:
        wait_load(load)
        for numbers in ((1, 2), (1, 3), (1, 3, 4), (1,), (1, 2)):
            world.apply(of(*numbers))
            world.wait_ready("numbered")
            assert world.status("TritonModel", "numbered")["versions"] == list(numbers)
            for number in numbers:
                assert (
                    triton.number(world.service(SERVER), "numbered", version=number) == 1 + number
                )

    assert not load.failed(), load.failed()[:3]
    assert set(load.values()) == {2.0}
    figure(f"version 1 while 2 and 4 come, 3 replaces 2, and all go: {load.summary()}")
    world.delete("TritonModel", "numbered")


def test_updates_of_which_every_fifth_is_broken(
    world: World, figure: Callable[[str], None]
) -> None:
    world.apply(model("often", version(1, adds(0)), on=SERVER))
    world.wait_ready("often")
    blocked = 0
    with Load(world.service(SERVER), "often") as load:
        wait_load(load)
        for number in range(1, 11):
            broken = number % 5 == 0
            code = fails(f"update {number}") if broken else adds(number)
            world.apply(model("often", version(1, code), on=SERVER))
            if broken:
                found = world.wait_condition(
                    "TritonModel", "often", "Loaded", "False", reason="BlockedByFailedLoad"
                )
                blocked += f"update {number}" in found["message"]
            else:
                world.wait_ready("often")

    assert blocked == 2
    assert not load.failed(), load.failed()[:3]
    assert load.first(10.0)
    figure(f"10 updates, 2 of them broken: {load.summary()}")
    world.delete("TritonModel", "often")


def test_a_model_that_moves_is_served_by_the_old_server_until_the_new_one_has_it(
    world: World, figure: Callable[[str], None]
) -> None:
    world.apply(server("next"), model("first", version(1, adds(0)), on="next"))
    world.apply(model("mover", version(1, slow(1, 3)), on=SERVER))
    world.wait_ready("mover", "first")
    new = world.service("next")
    with Load(world.service(SERVER), "mover") as load:
        wait_load(load)
        world.apply(model("mover", version(1, slow(1, 3)), on="next"))
        wait_for("the new server answers", lambda: triton.answers(new, "mover"), 60, every=0.02)
        moved = time.monotonic()
        world.wait_ready("mover")
        assert world.status("TritonModel", "mover")["server"] == "next"
        wait_for(
            "the old server has let it go",
            lambda: not any(triton.answers(pod.ip, "mover") for pod in world.pods(SERVER)),
            30,
        )

    early = [each for each in load.failed() if each.at < moved]
    assert not early, early[:3]
    assert triton.number(new, "mover") == 2.0
    gap = min((each.at for each in load.failed()), default=moved) - moved
    figure(f"moved to another server: the old one answered {gap:.2f} s longer than was needed")


def test_a_model_that_kills_servers_at_their_start_is_found_out(world: World) -> None:
    world.apply(
        server("doomed"),
        model("good", version(1, adds(1)), on="doomed"),
        model("also", version(1, adds(2)), on="doomed"),
        model("deadly", version(1, kills()), on="doomed"),
    )
    world.wait_ready("good", "also", seconds=120)
    found = world.wait_condition(
        "TritonModel", "deadly", "Loaded", "False", reason="LoadFailed", seconds=120
    )

    assert "stopped answering while it loaded" in found["message"]
    world.wait_ready("good", "also", seconds=120)
    assert triton.number(world.service("doomed"), "good") == 2.0
