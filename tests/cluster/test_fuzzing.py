"""Objects as nobody should write them, on a real API server: it refuses them, or the operator
says what it makes of them, and neither falls over.

They are those of tests/unit/fuzzing, the same every time. No pod can start for them.
"""

import time
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.cluster.support.installation import SELECTOR, Installation
from tests.cluster.support.kube import Object, Refused, condition, path_of
from tests.cluster.support.manifests import adds, model, server, version
from tests.cluster.support.shell import run
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World
from tests.unit.fuzzing.objects import FILES, specs
from triton_operator.api.model import TritonModel
from triton_operator.api.server import TritonServer

pytestmark = pytest.mark.cluster

SERVERS, MODELS = 100, 200
"""A server costs the API server seven objects more, a model of another server none."""
IDLE = "idle"
REFUSALS = {HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY}


def drawn(strategy: st.SearchStrategy[Object], count: int) -> list[Object]:
    """Return what hypothesis makes, in the same order every time."""
    found: list[Object] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def keep(each: Object) -> None:
        found.append(each)

    keep()
    return found


def asleep(spec: Object) -> Object:
    """Return the spec of a server as one without pods."""
    return {name: spec[name] for name in spec if name != "autoscaling"} | {"replicas": 0}


def random_objects() -> list[Object]:
    servers = [asleep(spec) for spec in drawn(specs(TritonServer), SERVERS)]
    models = [
        {**spec, "server": asleep(spec["server"])}
        if "server" in spec
        else {"serverRef": {"name": IDLE}} | spec
        for spec in drawn(specs(TritonModel, versions=FILES), MODELS)
    ]
    return [
        {
            "apiVersion": "triton-operator.io/v1alpha1",
            "kind": kind,
            "metadata": {"name": f"fuzz-{kind[6:].lower()}-{number}"},
            "spec": spec,
        }
        for kind, made in (("TritonServer", servers), ("TritonModel", models))
        for number, spec in enumerate(made)
    ]


def test_random_objects_are_refused_or_judged_and_the_operator_lives_on(
    world: World, operator: Installation, figure: Callable[[str], None]
) -> None:
    world.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "no-pods"},
            "spec": {"hard": {"pods": "0"}},
        },
        server(IDLE, replicas=0),
    )
    objects, started, before = random_objects(), time.monotonic(), processes(operator)
    refused: Counter[int] = Counter()
    for each in objects:
        try:
            world.kube.json("POST", path_of(each["kind"], world.namespace), each)
        except Refused as refusal:
            refused[refusal.status] += 1
    assert refused.keys() <= REFUSALS, refused
    stored = len(objects) - refused.total()

    def unjudged() -> list[str]:
        return [each["metadata"]["name"] for each in ours(world) if not verdict(each)]

    wait_for("all are judged", lambda: not unjudged(), 240, seen=unjudged)
    verdicts = Counter(verdict(each) for each in ours(world))

    # It still does what it is for.
    world.apply(model("good", version(1, adds(1)), on=IDLE))
    world.wait_condition("TritonModel", "good", "Accepted", "True")
    took = time.monotonic() - started
    assert processes(operator) == before
    for pod in operator.pods():
        log = run("kubectl", "logs", "-n", operator.namespace, pod, f"--since={int(took) + 1}s")
        assert "Traceback" not in log
    figure(
        f"random objects: {len(objects)}, of which the API server refused {refused.total()} and the"
        f" operator judged the others, and the servers that they brought, in {took:.0f} s:"
        f" {told(verdicts)}"
    )
    assert len(objects) == SERVERS + MODELS
    assert refused.total() > 30
    assert stored > 100


def ours(world: World) -> list[Object]:
    """Return all models and servers, also those that models have brought."""
    return [*world.all("TritonModel"), *world.all("TritonServer")]


def verdict(body: Object) -> str:
    """Return status and reason of the condition Accepted, if it is about the present spec."""
    found = condition(body, "Accepted")
    if found.get("observedGeneration") != body["metadata"]["generation"]:
        return ""
    return f"{found['status']} {found['reason']}"


def processes(operator: Installation) -> list[Any]:
    bodies = operator.kube.all("Pod", operator.namespace, SELECTOR)
    return [
        (body["metadata"]["uid"], each["restartCount"])
        for body in bodies
        for each in body["status"]["containerStatuses"]
    ]


def told(verdicts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in verdicts.most_common())
