"""What GitOps tools see of objects on a real cluster, at every moment of their lives."""

from itertools import groupby

import pytest
import yaml

from tests.cluster.support.installation import Installation
from tests.cluster.support.kube import Seen, difference, kubectl
from tests.cluster.support.manifests import adds, chain, fails, model, server, version
from tests.cluster.support.shell import run
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World
from tests.unit.gitops.judges import HEALTH_OF, judge_by_argo, judge_by_kstatus

pytestmark = pytest.mark.cluster


def wait(world: World, name: str, condition: str, seconds: int = 60) -> str:
    """Return what ``kubectl wait`` says when a condition of a model is true."""
    done = kubectl(
        *("wait", f"tritonmodel/{name}", "--namespace", world.namespace),
        *(f"--for=condition={condition}", f"--timeout={seconds}s"),
        seconds=seconds + 10,
    )
    return done.stdout + done.stderr


def is_end(seen: Seen) -> bool:
    return seen.type == "DELETED"


def phases(seen: tuple[Seen, ...]) -> list[str]:
    """Return what kstatus made of an object over time, each once; Argo CD has to agree."""
    objects = [each.object for each in seen if not is_end(each)]
    judged = judge_by_kstatus(objects)
    for body, phase in zip(objects, judged, strict=True):
        if phase != "Terminating":
            assert judge_by_argo(body)[0] == HEALTH_OF[phase], body
    return [phase for phase, _ in groupby(judged)]


def test_each_moment_of_a_model_and_its_server_is_seen_for_what_it_is(world: World) -> None:
    """Every version that the API server ever had is judged: none may be ready too early."""
    good, broken = (
        model("phases", version(1, code)) for code in (adds(1), fails("no such weights"))
    )
    with (
        world.kube.watch("TritonModel", world.namespace) as models,
        world.kube.watch("TritonServer", world.namespace) as servers,
    ):
        world.apply(good)
        assert "condition met" in wait(world, "phases", "Ready")
        world.apply(broken)
        assert "condition met" in wait(world, "phases", "Stalled")
        assert world.status("TritonModel", "phases")["transition"] == "BlockedByFailedLoad"
        world.apply(good)
        assert "condition met" in wait(world, "phases", "Ready")
        world.wait_condition("TritonServer", "phases", "Ready", "True")
        kubectl("delete", "tritonmodel/phases", "--namespace", world.namespace)
        for watch in (models, servers):
            wait_for("its end is seen", lambda watch=watch: watch.first(is_end), 30)

    serving = ["InProgress", "Current"]
    seen = [each for each in phases(models.seen()) if each != "Terminating"]
    assert seen == [*serving, "InProgress", "Failed", *serving]
    assert [each for each in phases(servers.seen()) if each != "Terminating"] == serving


@pytest.mark.parametrize("way", ["--server-side=true", "--server-side=false"])
def test_what_was_pushed_is_what_is_there(world: World, way: str) -> None:
    """By server-side apply, as Flux and Helm 4 do, and by client-side apply, as Argo CD does."""
    bounds = {"minReplicas": 1, "maxReplicas": 2}
    push = [
        server("pool", autoscaling=bounds),
        model("first", version(1, adds(1)), on="pool"),
        model("second", version(1, adds(2)), on="pool", files={"labels.txt": "a"}),
        chain("both", "pool", "first", "second"),
        model("alone", version(1, adds(3))),
    ]
    for each in push:
        each["metadata"]["namespace"] = world.namespace
    everything = {"apiVersion": "v1", "kind": "List", "items": push}
    applied = kubectl("apply", "--filename=-", way, stdin=everything)
    assert applied.returncode == 0, applied.stderr
    world.wait_ready("first", "second", "both", "alone")
    for name in ("pool", "alone"):
        world.wait_condition("TritonServer", name, "Ready", "True")

    assert difference(push, way) == ""

    push[0]["spec"]["drainSeconds"] = 2
    assert "+  drainSeconds: 2" in difference(push, way)
    world.empty()


def test_the_operator_changes_nothing_of_its_own_release(operator: Installation) -> None:
    text = run("helm", "get", "manifest", operator.release, "--namespace", operator.namespace)
    objects = [each for each in yaml.safe_load_all(text) if each is not None]

    assert len(objects) > 10
    # Helm does not know what the API server fills in, so each such field is taken for a conflict.
    how = ("--server-side", "--force-conflicts", "--field-manager=helm")
    assert difference(objects, *how) == ""
