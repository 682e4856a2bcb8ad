"""The operator goes and comes back: nothing hangs meanwhile, and nothing is touched then.

Runs after all other modules, which need the operator.
"""

from collections.abc import Iterator

import pytest

from tests.cluster.support import triton
from tests.cluster.support.installation import Installation
from tests.cluster.support.kube import kubectl
from tests.cluster.support.manifests import adds, claim, model, server, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World

pytestmark = pytest.mark.cluster

CRDS = ("tritonmodels.triton-operator.io", "tritonservers.triton-operator.io")


@pytest.fixture(scope="module")
def _served(world: World) -> None:
    world.apply(
        claim("ours"),
        server("guest", repository={"claimName": "ours"}),
        model("on-guest", version(1, adds(1)), on="guest"),
        server("stays", repository={"claimName": "ours"}),
        model("on-stays", version(1, adds(1)), on="stays"),
        model("own", version(1, adds(1))),
    )
    world.wait_ready("on-guest", "on-stays", "own")
    for name in ("guest", "stays", "own"):
        world.wait_condition("TritonServer", name, "Ready", "True")
    world.wait_available("guest", "stays", "own")


@pytest.fixture(scope="module")
def versions(world: World, _served: None) -> dict[str, str]:
    """Which version every child that stays had before the operator went."""
    return versions_of_children(world)


@pytest.fixture(scope="module", autouse=True)
def _uninstalled(versions: dict[str, str], operator: Installation) -> Iterator[None]:
    operator.uninstall()
    yield
    if not operator.pods():
        operator.install()


def versions_of_children(world: World) -> dict[str, str]:
    return {
        f"{kind}/{body['metadata']['name']}": body["metadata"]["resourceVersion"]
        for kind in ("Deployment", "Service", "PersistentVolumeClaim", "Secret")
        for name in ("stays", "own")
        for body in world.all(kind, name)
    }


def test_the_operator_is_gone_and_what_it_served_is_not(
    world: World, operator: Installation
) -> None:
    assert not operator.pods()
    for kind in CRDS:
        assert world.kube.get("CustomResourceDefinition", "", kind) is not None
    assert triton.number(world.service("own"), "own") == 2.0
    assert triton.number(world.service("stays"), "on-stays") == 2.0


def test_a_server_on_a_claim_of_the_user_can_be_deleted(world: World) -> None:
    done = kubectl("delete", "-n", world.namespace, "tritonserver/guest", "tritonmodel/on-guest")

    assert done.returncode == 0, done.stderr
    world.wait_gone("Deployment", "guest")


def test_the_next_operator_takes_over_without_touching_anything(
    world: World, operator: Installation, versions: dict[str, str]
) -> None:
    operator.install()
    world.apply(model("later", version(1, adds(2)), on="stays"))
    world.wait_ready("later", "own", "on-stays")

    assert versions_of_children(world) == versions
    world.patch("TritonModel", "own", {"versions": [version(1, adds(3))]})
    world.wait_ready("own")
    wait_for("own is served anew", lambda: triton.number(world.service("own"), "own") == 4.0, 10)
