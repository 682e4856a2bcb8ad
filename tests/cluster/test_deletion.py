"""What is deleted leaves nothing behind, takes nothing else with it, and never hangs."""

import json
import time
from collections.abc import Callable

import pytest

from tests.cluster import settings
from tests.cluster.support import triton
from tests.cluster.support.installation import NAMESPACE, SELECTOR
from tests.cluster.support.kube import condition, kubectl
from tests.cluster.support.manifests import adds, claim, looker, model, server, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World, names

pytestmark = pytest.mark.cluster

CHILDREN = ("Deployment", "Service", "Secret", "PersistentVolumeClaim", "Job", "ConfigMap", "Pod")


def children(world: World, of: str) -> list[str]:
    """Return what there is of a server's children."""
    return [f"{kind}/{name}" for kind in CHILDREN for name in names(world.all(kind, of))]


def wait_no_children(world: World, of: str, *but: str, seconds: float = 90) -> None:
    # A pod that is deleted while Triton starts takes its whole grace of 50 s to go.
    def rest() -> list[str]:
        return [child for child in children(world, of) if child not in but]

    wait_for(f"nothing is left of {of}", lambda: not rest(), seconds, seen=rest)


class TestModel:
    """A model that is removed from a server that others share."""

    def test_is_unloaded_on_every_pod_and_its_files_go(self, world: World) -> None:
        world.apply(
            server("shared", replicas=2),
            model("stays", version(1, adds(1)), on="shared"),
            model("goes", version(1, adds(2)), on="shared"),
        )
        world.wait_ready("stays", "goes")
        pods = world.wait_pods("shared", 2)
        assert any("generations/goes/" in path for path in world.files(pods[0].name, "/repository"))

        world.delete("TritonModel", "goes")
        world.wait_gone("TritonModel", "goes", seconds=5)

        for pod in pods:
            wait_for(
                f"it is unloaded on {pod.name}",
                lambda pod=pod: not triton.answers(pod.ip, "goes"),
                15,
            )
        wait_for(
            "its files are gone",
            lambda: not [f for f in world.files(pods[0].name, "/repository") if "goes" in f],
            15,
            seen=lambda: world.files(pods[0].name, "/repository"),
        )
        assert [triton.number(pod.ip, "stays") for pod in pods] == [2.0, 2.0]
        assert [pod.uid for pod in world.pods("shared")] == [pod.uid for pod in pods]
        assert world.status("TritonServer", "shared")["models"] == ["stays"]


class TestServer:
    """A server that is deleted, with a claim of its own or on one of the user's."""

    def test_of_a_model_goes_with_it_and_all_that_was_made_for_it(self, world: World) -> None:
        world.apply(model("alone", version(1, adds(1))))
        world.wait_ready("alone")
        volume = world.live("PersistentVolumeClaim", "alone-repository")["spec"]["volumeName"]
        folder = settings.folders().volumes
        kinds = {child.split("/")[0] for child in children(world, "alone")}
        assert kinds == set(CHILDREN)

        world.delete("TritonModel", "alone")

        world.wait_gone("TritonModel", "alone", seconds=5)
        world.wait_gone("TritonServer", "alone", seconds=15)
        wait_no_children(world, "alone")
        wait_for(
            "its volume is gone",
            lambda: world.kube.get("PersistentVolume", "", volume) is None,
            15,
        )
        assert not list(folder.glob(f"*{volume}*"))

    def test_on_a_claim_of_the_user_takes_its_files_and_no_others(self, world: World) -> None:
        world.apply(claim("ours"), looker("looker", "ours", settings.TRITON_IMAGE))
        wait_for(
            "the looker runs",
            lambda: condition(world.get("Pod", "looker"), "Ready").get("status") == "True",
            30,
        )
        world.sh("looker", "mkdir -p /claim/precious && echo kept > /claim/precious/file")
        for name in ("first", "second"):
            world.apply(
                server(name, repository={"claimName": "ours"}),
                model(f"on-{name}", version(1, adds(1)), on=name),
            )
        world.wait_ready("on-first", "on-second")
        files = world.files("looker", "/claim")
        assert "servers/first/on-first" in files
        assert "servers/second/on-second" in files

        world.delete("TritonServer", "first")
        world.wait_gone("TritonServer", "first", seconds=30)
        wait_no_children(world, "first")

        files = world.files("looker", "/claim")
        assert not [path for path in files if "first" in path], files
        assert world.sh("looker", "cat /claim/precious/file").strip() == "kept"
        assert triton.number(world.service("second"), "on-second") == 2.0
        assert condition(world.get("TritonModel", "on-first"), "Ready")["status"] == "False"
        wait_for(
            "the model says that its server is gone",
            lambda: (
                condition(world.get("TritonModel", "on-first"), "Accepted")["reason"]
                == "ServerNotFound"
            ),
            10,
        )
        world.delete("TritonServer", "second")
        world.wait_gone("TritonServer", "second", seconds=30)
        assert world.live("PersistentVolumeClaim", "ours")["status"]["phase"] == "Bound"

    def test_is_made_anew_under_its_old_name(self, world: World) -> None:
        world.apply(model("phoenix", version(1, adds(1))))
        world.wait_ready("phoenix")
        world.delete("TritonModel", "phoenix")
        world.wait_gone("TritonModel", "phoenix", seconds=5)

        world.apply(model("phoenix", version(1, adds(2))))

        world.wait_ready("phoenix", seconds=90)
        world.wait_answer("phoenix", "phoenix", 3.0)


class TestNothingHangs:
    """Deletion ends whatever state pods and claims are in."""

    def test_with_pods_that_never_ran(self, world: World, figure: Callable[[str], None]) -> None:
        world.apply(
            claim("spare"),
            server(
                "stuck",
                image="localhost/no-such-image:none",
                imagePullPolicy="Never",
                repository={"claimName": "spare"},
            ),
            model("never", version(1, adds(1)), on="stuck"),
        )
        told = world.wait_condition(
            "TritonModel", "never", "Ready", "False", reason="NoReadyPods", seconds=30
        )
        wait_for(
            "the status says what keeps the pod",
            lambda: (
                "no-such-image"
                in condition(world.get("TritonServer", "stuck"), "Ready").get("message", "")
            ),
            20,
            seen=lambda: (told, world.status("TritonServer", "stuck")),
        )

        start = time.monotonic()
        world.delete("TritonModel", "never")
        world.delete("TritonServer", "stuck")
        world.wait_gone("TritonModel", "never", seconds=5)
        world.wait_gone("TritonServer", "stuck", seconds=30)
        figure(f"server whose pods never ran: deleted in {time.monotonic() - start:.1f} s")

    def test_with_pods_that_were_killed(self, world: World) -> None:
        world.apply(model("killed", version(1, adds(1))))
        world.wait_ready("killed")

        for pod in world.pods("killed"):
            world.delete("Pod", pod.name, now=True)
        world.delete("TritonModel", "killed")

        world.wait_gone("TritonModel", "killed", seconds=5)
        world.wait_gone("TritonServer", "killed", seconds=15)
        wait_no_children(world, "killed")

    def test_without_the_claim_that_it_names(self, world: World) -> None:
        world.apply(
            server("claimless", repository={"claimName": "not-there"}),
            model("waits", version(1, adds(1)), on="claimless"),
        )
        told = wait_for(
            "the status names the claim",
            lambda: next(
                (
                    ready
                    for kind, name in (("TritonModel", "waits"), ("TritonServer", "claimless"))
                    if "not-there"
                    in (ready := condition(world.get(kind, name), "Ready")).get("message", "")
                ),
                None,
            ),
            20,
            seen=lambda: world.status("TritonModel", "waits"),
        )
        assert told["status"] == "False"

        world.delete("TritonServer", "claimless")
        world.wait_gone("TritonServer", "claimless", seconds=15)
        wait_no_children(world, "claimless")

    def test_with_the_whole_namespace(self, world: World, namespaces: Callable[[str], str]) -> None:
        doomed = World(world.kube, namespaces("doomed"))
        doomed.apply(
            claim("ours"),
            server("there", repository={"claimName": "ours"}),
            model("with-it", version(1, adds(1)), on="there"),
            model("own", version(1, adds(1))),
        )
        doomed.wait_ready("with-it", "own")

        world.kube.delete("Namespace", "", doomed.namespace)

        wait_for(
            "the namespace is gone",
            lambda: world.kube.get("Namespace", "", doomed.namespace) is None,
            90,
            seen=lambda: world.kube.get("Namespace", "", doomed.namespace),
        )
        log = kubectl("logs", "--namespace", NAMESPACE, "--selector", SELECTOR, "--tail=-1").stdout
        lines = [line for line in log.splitlines() if doomed.namespace in line]
        assert any("Serving" in line for line in lines)
        assert not [line for line in lines if json.loads(line)["severity"] != "info"]
