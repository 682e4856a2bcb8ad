"""Changes under way: the same pods serve what is new, and no request notices more than that."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.support import triton
from tests.cluster.support.installation import Installation
from tests.cluster.support.kube import Object, Seen, condition
from tests.cluster.support.load import Load
from tests.cluster.support.manifests import (
    PYTHON,
    adds,
    breaks_with,
    chain,
    fails,
    model,
    server,
    version,
)
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import Pod, World

pytestmark = pytest.mark.cluster

SERVER = "pair"
MOST_SECONDS = 5.0
"""From the files on the claim until two pods serve them, one after the other."""
MOST_OF_TRITONS_OWN = 1.5
"""Where Triton itself takes most of those seconds to load: the machine is slow, not we."""


@pytest.fixture(scope="module", autouse=True)
def _server(world: World) -> None:
    """Two pods that all tests of this module share, and a model that is never changed."""
    world.apply(
        server(SERVER, replicas=2, drainSeconds=5),
        model("steady", version(1, adds(100)), on=SERVER),
    )
    world.wait_ready("steady")
    world.wait_pods(SERVER, 2)


@pytest.fixture
def name(world: World, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the model that a test serves; removed after it."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40].strip("-")
    yield name
    world.delete("TritonModel", name)
    world.wait_gone("TritonModel", name)


def hashes(world: World, name: str) -> list[str | None]:
    """Return what the pods themselves say that they serve."""
    return [triton.config_hash(pod.ip, name) for pod in world.pods(SERVER)]


def wait_hash(world: World, name: str, not_: str | None = None) -> str:
    """Wait until all pods report one hash that is another than before."""

    def found() -> str | None:
        reported = set(hashes(world, name))
        (one,) = reported if len(reported) == 1 else (None,)
        return one if one != not_ else None

    one = wait_for(f"both pods report a new hash of {name}", found, 30, every=0.05)
    assert one is not None
    return one


def uids(pods: list[Pod]) -> list[str]:
    return [pod.uid for pod in pods]


def sync_ended(world: World) -> Callable[[Seen], bool]:
    """Return what tells that a sync Job made from now on has done its work."""
    before = {pod["metadata"]["name"] for pod in world.all("Pod", SERVER)}

    def ended(seen: Seen) -> bool:
        labels = seen.object["metadata"].get("labels", {})
        statuses = seen.object["status"].get("containerStatuses", [])
        return (
            seen.name not in before
            and labels.get("app.kubernetes.io/component") == "sync"
            and any(each["state"].get("terminated", {}).get("exitCode") == 0 for each in statuses)
        )

    return ended


class TestNewPods:
    """A change of the pods that one of the models cannot bear."""

    def test_that_cannot_load_what_served_replace_no_more_than_one(self, world: World) -> None:
        models = ("bears", version(1, adds(1))), ("breaks", version(1, breaks_with(2, "NEW")))
        plain = {"replicas": 2, "rollout": "Availability", "drainSeconds": 0}
        world.apply(server("changing", **plain), *(model(*each, on="changing") for each in models))
        world.wait_ready("bears", "breaks")
        before = {*uids(world.wait_pods("changing", 2))}

        world.apply(server("changing", **plain, env=[{"name": "NEW", "value": "1"}]))
        told = world.wait_condition(
            "TritonServer", "changing", "Ready", "False", reason="RolloutFailed"
        )
        assert "cannot load model 'breaks', which older pods serve" in told["message"]
        assert "NEW is set" in told["message"]
        pods = world.wait_pods("changing", 3)
        assert before < {*uids(pods)}
        assert world.live("Deployment", "changing")["spec"]["paused"] is True
        assert [triton.number(p.ip, "breaks") for p in pods if p.uid in before] == [3.0, 3.0]

        world.apply(server("changing", **plain, env=[]))
        world.wait_condition("TritonServer", "changing", "Ready", "True", seconds=60)
        assert {*uids(world.wait_pods("changing", 2))} == before
        assert "paused" not in world.live("Deployment", "changing")["spec"]
        world.wait_ready("bears", "breaks")


class TestUpdateUnderLoad:
    """A config change, then a new version, on both pods, under continuous requests."""

    @pytest.mark.parametrize("change", ["config", "version"])
    def test_no_request_fails_and_no_pod_is_replaced(
        self, world: World, change: str, figure: Callable[[str], None]
    ) -> None:
        name = f"changing-{change}"
        world.apply(model(name, version(1, adds(1)), on=SERVER))
        world.wait_ready(name)
        before, old = world.pods(SERVER), wait_hash(world, name)
        changed = {
            "config": model(
                name,
                version(1, adds(1)),
                on=SERVER,
                config={**PYTHON, "dynamicBatching": {"maxQueueDelayMicroseconds": 100}},
            ),
            "version": model(name, version(1, adds(1)), version(2, adds(2)), on=SERVER),
        }[change]
        value = {"config": 2.0, "version": 3.0}[change]

        with Load(world.service(SERVER), name) as load:
            wait_for("requests are answered", lambda: len(load.requests()) > 20, 10)
            with world.kube.watch("Pod", world.namespace) as pods:
                ended = sync_ended(world)
                applied = time.monotonic()
                world.apply(changed)
                new = wait_hash(world, name, old)
                served = time.monotonic()
                world.wait_ready(name)
                synced = wait_for("the sync was seen", lambda: pods.first(ended), 5)
            more = len(load.requests()) + 20
            wait_for("requests go on", lambda: len(load.requests()) > more, 10)

        assert not load.failed(), load.failed()[:3]
        assert load.requests()[-1].value == value
        assert uids(world.pods(SERVER)) == uids(before)
        assert all(pod.ready for pod in world.pods(SERVER))
        assert new not in {None, old}
        status = world.status("TritonModel", name)
        assert status["configHash"] == new
        assert status["loaded"] == "2/2"
        assert status["transition"] == "UpToDate"
        assert status["versions"] == [{"config": 1, "version": 2}[change]]
        loads = [world.load_seconds(pod.name, name)[-1] for pod in before]
        figure(
            f"{change} change on 2 pods: {served - synced.at:.2f} s from the files on the claim"
            f" ({sum(loads):.2f} s by Triton's own log), {served - applied:.2f} s from apply;"
            f" {load.summary()}"
        )
        assert served - synced.at <= max(MOST_SECONDS, MOST_OF_TRITONS_OWN * sum(loads))

    def test_back_to_an_earlier_generation(self, world: World, name: str) -> None:
        # Triton answers 200 and does nothing where the files are older than what it has loaded.
        world.apply(model(name, version(1, adds(1)), on=SERVER))
        world.wait_ready(name)
        first = wait_hash(world, name)
        world.apply(model(name, version(1, adds(2)), on=SERVER))
        world.wait_ready(name)
        second = wait_hash(world, name, first)

        world.apply(model(name, version(1, adds(1)), on=SERVER))
        world.wait_ready(name)

        assert wait_hash(world, name, second) == first
        world.wait_answer(SERVER, name, 2.0)

    def test_a_member_of_an_ensemble(self, world: World, name: str) -> None:
        world.apply(
            model("link", version(1, adds(1)), on=SERVER), chain(name, SERVER, "link", "steady")
        )
        world.wait_ready("link", name)
        host = world.service(SERVER)
        assert triton.number(host, name) == 102.0

        with Load(host, name, http_clients=1) as load:
            world.apply(model("link", version(1, adds(5)), on=SERVER))
            wait_for("the new member answers", lambda: load.first(106.0), 20)
            world.wait_ready("link", name)

        assert not load.failed(), load.failed()[:3]
        assert set(load.values()) == {102.0, 106.0}


class TestBrokenUpdate:
    """What Triton refuses is told in its words, and what worked goes on working."""

    def test_of_a_model_that_serves(
        self, world: World, name: str, figure: Callable[[str], None]
    ) -> None:
        world.apply(model(name, version(1, adds(1)), on=SERVER))
        world.wait_ready(name)
        good, before = wait_hash(world, name), world.pods(SERVER)

        with Load(world.service(SERVER), name) as load:
            world.apply(model(name, version(1, fails("no such tokenizer")), on=SERVER))
            blocked = world.wait_condition(
                "TritonModel", name, "Loaded", "False", reason="BlockedByFailedLoad"
            )
            assert "no such tokenizer" in blocked["message"]
            status = world.status("TritonModel", name)
            assert status["transition"] == "BlockedByFailedLoad"
            assert status["configHash"] == good
            assert "no such tokenizer" in status["lastFailure"]["message"]
            assert condition({"status": status}, "Ready")["status"] == "False"
            self.assert_warned(world, name, "no such tokenizer")
            self.assert_linked(world, before[0], name, good)

            # A pod that starts now finds what works; the one that leaves drains.
            world.delete("Pod", before[0].name)
            after = self._wait_replaced(world, before[0])
            assert hashes(world, name) == [good, good]
            world.apply(model(name, version(1, adds(2)), on=SERVER))
            world.wait_ready(name)
            wait_for("the mended model answers", lambda: load.first(3.0), 10)

        assert not load.failed(), load.failed()[:3]
        assert set(load.values()) == {2.0, 3.0}
        assert set(hashes(world, name)) == {world.status("TritonModel", name)["configHash"]}
        assert uids(world.pods(SERVER)) == uids(after)
        assert before[1].uid in uids(after)
        figure(f"refused update, a pod replaced, update mended: {load.summary()}")

    def test_of_a_version_beside_one_that_serves(self, world: World, name: str) -> None:
        both = {**PYTHON, "versionPolicy": {"all": {}}}
        world.apply(model(name, version(1, adds(1)), on=SERVER, config=both))
        world.wait_ready(name)
        good = wait_hash(world, name)
        broken = version(2, fails("version two is broken"))

        with Load(world.service(SERVER), name, http_clients=1) as load:
            world.apply(model(name, version(1, adds(1)), broken, on=SERVER, config=both))
            blocked = world.wait_condition(
                "TritonModel", name, "Loaded", "False", reason="BlockedByFailedLoad"
            )
            good_version = version(2, adds(2))
            assert hashes(world, name) == [good, good]
            world.apply(model(name, version(1, adds(1)), good_version, on=SERVER, config=both))
            world.wait_ready(name)

        assert "version two is broken" in blocked["message"]
        assert not load.failed(), load.failed()[:3]
        host = world.service(SERVER)
        assert triton.number(host, name, version=1) == 2.0
        assert triton.number(host, name, version=2) == 3.0

    def test_of_a_first_version(self, world: World, name: str) -> None:
        world.apply(model(name, version(1, fails("no weights here")), on=SERVER))
        refused = world.wait_condition("TritonModel", name, "Ready", "False", reason="LoadFailed")
        assert "no weights here" in refused["message"]
        assert world.status("TritonModel", name)["transition"] == "BlockedByFailedLoad"

        # Its neighbours and the pods are none the worse for it.
        assert triton.number(world.service(SERVER), "steady") == 101.0
        assert all(pod.ready for pod in world.pods(SERVER))

        world.apply(model(name, version(1, adds(1)), on=SERVER))
        world.wait_ready(name)
        assert triton.number(world.service(SERVER), name) == 2.0

    def test_is_tried_once_more_when_asked(self, world: World, name: str) -> None:
        world.apply(model(name, version(1, adds(1)), on=SERVER))
        world.wait_ready(name)
        path = f"/dev/shm/{name}"
        lacking = f"    def initialize(self, args):\n        open({path!r}).close()\n\n"
        code = adds(2).replace("    def execute", f"{lacking}    def execute")
        world.apply(model(name, version(1, code), on=SERVER))
        world.wait_condition("TritonModel", name, "Loaded", "False", reason="BlockedByFailedLoad")

        def answered(request: str) -> Object | None:
            status = world.status("TritonModel", name)
            return status if status.get("retry") == request else None

        world.annotate("TritonModel", name, retry="too soon")
        status = wait_for("it is tried, in vain", lambda: answered("too soon"), 40)
        assert status["transition"] == "BlockedByFailedLoad"
        assert triton.number(world.service(SERVER), name) == 2.0

        # What was lacking comes to both pods: another model brings it.
        brings = code.replace(f"open({path!r})", f"open({path!r}, 'w')")
        world.apply(model("brings", version(1, brings), on=SERVER))
        world.wait_ready("brings")
        assert world.status("TritonModel", name)["transition"] == "BlockedByFailedLoad"
        world.annotate("TritonModel", name, retry="now")
        world.wait_ready(name)
        assert triton.number(world.service(SERVER), name) == 3.0
        wait_for("the request is answered", lambda: answered("now"), 20)
        world.delete("TritonModel", "brings")
        world.wait_gone("TritonModel", "brings")

    def test_of_a_config_that_triton_cannot_read(self, world: World, name: str) -> None:
        world.apply(model(name, version(1, adds(1)), on=SERVER))
        world.wait_ready(name)
        good = wait_hash(world, name)

        for change, words in (
            ({"backend": "nosuch"}, "nosuch"),
            # Of this one Triton tells the reason in its log only.
            ({"modelRepositoryAgents": {"agents": [{"name": "nosuch"}]}}, "agent_nosuch.so"),
        ):
            config = {**PYTHON, **change}
            world.apply(model(name, version(1, adds(1)), on=SERVER, config=config))

            def told(words: str = words) -> bool:
                loaded = condition(world.get("TritonModel", name), "Loaded")
                return loaded["reason"] == "BlockedByFailedLoad" and words in loaded["message"]

            wait_for(f"{words!r} is told", told, 30, seen=lambda: world.get("TritonModel", name))
            assert hashes(world, name) == [good, good]

    @staticmethod
    def _wait_replaced(world: World, lost: Pod) -> list[Pod]:
        wait_for("the pod leaves", lambda: lost.uid not in uids(world.pods(SERVER)), 10)
        return world.wait_pods(SERVER, 2)

    @staticmethod
    def assert_warned(world: World, name: str, words: str) -> None:
        def warned() -> list[Object]:
            return [
                event
                for event in world.all("Event")
                if event["involvedObject"]["name"] == name
                and event["type"] == "Warning"
                and words in event["message"]
            ]

        (event,) = wait_for("a Warning tells of it", warned, 10)
        assert event["reason"] == "BlockedByFailedLoad"

    @staticmethod
    def assert_linked(world: World, pod: Pod, name: str, good: str) -> None:
        link = f"/repository/servers/{SERVER}/{name}"
        wait_for(
            "the link is back at the good generation",
            lambda: world.sh(pod.name, f"readlink {link}").strip().endswith(good),
            15,
        )


class TestPodsComeAndGo:
    """A new pod is not Ready before it serves all."""

    def test_a_deleted_pod_is_replaced_by_one_that_serves_all_when_it_is_ready(
        self, world: World, name: str
    ) -> None:
        world.apply(
            model(name, version(1, adds(1)), on=SERVER), chain("both", SERVER, name, "steady")
        )
        world.wait_ready(name, "both")
        wanted = {each: wait_hash(world, each) for each in (name, "both", "steady")}
        lost, kept = world.pods(SERVER)

        def became_ready(seen: Seen) -> bool:
            return (
                seen.object["metadata"]["uid"] not in {lost.uid, kept.uid}
                and condition(seen.object, "Ready").get("status") == "True"
                and seen.object["metadata"].get("labels", {}).get("triton-operator.io/server")
                == SERVER
            )

        with world.kube.watch("Pod", world.namespace) as pods:
            world.delete("Pod", lost.name, now=True)
            ready = wait_for(
                "another pod is ready", lambda: pods.first(became_ready), 40, every=0.01
            )
            address = ready.object["status"]["podIP"]
            served = {each: triton.config_hash(address, each) for each in wanted}
            assert triton.number(address, "both") == 102.0

        assert served == wanted
        world.delete("TritonModel", "both")


class TestOperatorKilled:
    """An operator that ends in the middle of an update leaves it to the next one."""

    SLOW = (
        "import time\n"
        "import triton_python_backend_utils as pb\n"
        "class TritonPythonModel:\n"
        "    def initialize(self, args):\n"
        "        time.sleep(2)\n"
        "    def execute(self, requests):\n"
        "        return [self.answer(each) for each in requests]\n"
        "    def answer(self, request):\n"
        "        given = pb.get_input_tensor_by_name(request, 'IN').as_numpy()\n"
        "        return pb.InferenceResponse([pb.Tensor('OUT', given + given.dtype.type(7))])\n"
    )

    @pytest.fixture(autouse=True)
    def _operator_runs_again(self, operator: Installation) -> Iterator[None]:
        yield
        operator.start()

    def test_while_the_files_are_written(
        self, world: World, name: str, operator: Installation
    ) -> None:
        world.apply(model(name, version(1, adds(1)), on=SERVER))
        world.wait_ready(name)
        before, jobs = world.pods(SERVER), {job["metadata"]["name"] for job in self._jobs(world)}

        with Load(world.service(SERVER), name, http_clients=1) as load:
            world.apply(model(name, version(1, adds(2)), on=SERVER))
            wait_for(
                "a new sync Job",
                lambda: {job["metadata"]["name"] for job in self._jobs(world)} - jobs,
                10,
                every=0.02,
            )
            operator.stop()
            operator.start()
            world.wait_ready(name)

        assert not load.failed(), load.failed()[:3]
        assert triton.number(world.service(SERVER), name) == 3.0
        assert uids(world.pods(SERVER)) == uids(before)

    def test_between_the_first_and_the_second_pod(
        self, world: World, name: str, operator: Installation
    ) -> None:
        world.apply(model(name, version(1, adds(1)), on=SERVER))
        world.wait_ready(name)
        before, old = world.pods(SERVER), wait_hash(world, name)

        with Load(world.service(SERVER), name, http_clients=1) as load:
            world.apply(model(name, version(1, self.SLOW), on=SERVER))
            wait_for(
                "one pod serves what is new",
                lambda: len(set(hashes(world, name))) == 2,
                20,
                every=0.02,
            )
            # The second pod's load takes two seconds.
            operator.stop()
            operator.start()
            world.wait_ready(name)

        assert not load.failed(), load.failed()[:3]
        assert old not in hashes(world, name)
        assert load.values()[8.0]
        assert uids(world.pods(SERVER)) == uids(before)

    def test_after_the_refusal_before_the_way_back(
        self, world: World, name: str, operator: Installation
    ) -> None:
        world.apply(model(name, version(1, adds(1)), on=SERVER))
        world.wait_ready(name)
        good = wait_hash(world, name)

        with Load(world.service(SERVER), name, http_clients=1) as load:
            world.apply(model(name, version(1, fails("broken for good")), on=SERVER))
            wait_for(
                "the refusal is in the status",
                lambda: world.status("TritonModel", name).get("lastFailure"),
                20,
                every=0.02,
            )
            operator.stop()
            operator.start()
            blocked = world.wait_condition(
                "TritonModel", name, "Loaded", "False", reason="BlockedByFailedLoad"
            )
            pod = world.pods(SERVER)[0]
            TestBrokenUpdate.assert_linked(world, pod, name, good)

        assert "broken for good" in blocked["message"]
        assert not load.failed(), load.failed()[:3]
        assert hashes(world, name) == [good, good]

    @staticmethod
    def _jobs(world: World) -> list[Object]:
        return world.all("Job", SERVER)
