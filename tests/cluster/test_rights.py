"""The operator uses every right that its chart gives it, and asks for no other.

What it uses is what the API server's audit log says of it, from one life of a release in which
everything happens that it has a right for. Runs after all modules that need the operator.
"""

from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.cluster.support import triton
from tests.cluster.support.audit import AuditLog, Entry
from tests.cluster.support.installation import Installation
from tests.cluster.support.manifests import adds, claim, fails, model, server, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World, names
from tests.unit.chart.rendering import NAME, render
from tests.unit.chart.test_rbac import OURS, Permission, permissions

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        not AuditLog.exists(), reason="only the local test cluster has an audit log to read"
    ),
]

SELDOM = {
    (OURS, "tritonmodels/finalizers", "update"): "asked for by an admission plugin of others",
    (OURS, "tritonservers/finalizers", "update"): "asked for by an admission plugin of others",
    ("batch", "jobs", "get"): "the answer to its creation was lost",
    ("coordination.k8s.io", "leases", "create"): "somebody has deleted it",
    ("", "pods", "delete"): "two loads in a row never ended in it",
}
"""What does not happen here, and when it does."""

BOUNDS = {
    "minReplicas": 1,
    "maxReplicas": 2,
    "scaleDown": {
        "stabilizationWindowSeconds": 10,
        "longestWindowSeconds": 10,
        "periodSeconds": 5,
    },
}


@pytest.fixture(scope="module", autouse=True)
def _installed_again(operator: Installation) -> Iterator[None]:
    yield
    operator.install()


def granted() -> set[Permission]:
    """All that the roles grant which are bound to the operator's account."""
    objects = render(servers={"networkPolicy": {"enabled": True}})
    bound = {
        (each["roleRef"]["kind"], each["roleRef"]["name"])
        for each in objects
        if each["kind"].endswith("RoleBinding")
        and NAME in [subject["name"] for subject in each["subjects"]]
    }
    roles = [each for each in objects if (each["kind"], each["metadata"]["name"]) in bound]
    return {permission for role in roles for permission in permissions(role)}


def used(entries: Iterable[Entry]) -> set[Permission]:
    """All that requests needed; a server-side apply that makes an object needs `create`, too."""
    found = set()
    for entry in entries:
        if entry.resource:
            found.add((entry.group, entry.resource, entry.verb))
            if (entry.verb, entry.status) == ("patch", 201):
                found.add((entry.group, entry.resource, "create"))
    return found


def test_the_rights_that_it_has_are_those_that_it_uses(
    world: World, operator: Installation, figure: Callable[[str], None]
) -> None:
    log = AuditLog()
    operator.install(**{"servers.networkPolicy.enabled": True})
    live_through_everything(world)
    assert not refused(log.entries())
    # From now on there are fewer rights, and for a moment there is an operator that needs more.
    operator.install()
    heirs = operator.pods()
    wait_for("network policies go", lambda: not world.all("NetworkPolicy"), 30)
    operator.uninstall()

    entries = log.entries()
    assert not refused(entry for entry in entries if entry.pod in heirs)
    have, needed = granted(), used(entries)
    figure(f"rights used: {len(needed)} of {len(have)}, in {len(entries)} requests")
    figure(f"rights used: {told(needed)}")
    figure(f"rights granted: {told(have)}")
    assert needed - have == set()
    assert have - needed <= SELDOM.keys(), told(have - needed - SELDOM.keys())


def refused(entries: Iterable[Entry]) -> list[str]:
    return [str(entry) for entry in entries if entry.forbidden]


def live_through_everything(world: World) -> None:
    world.apply(
        claim("ours"),
        server("guest", repository={"claimName": "ours"}),
        model("on-guest", version(1, adds(1)), on="guest"),
        server("pool", service={"headless": True}),
        model("plain", version(1, adds(1)), on="pool"),
        server("elastic", replicas=2),
        model("light", version(1, adds(1)), on="elastic"),
        model("moves", version(1, adds(1))),
    )
    world.wait_ready("on-guest", "plain", "light", "moves")
    world.wait_pods("elastic", 2)
    assert set(names(world.all("NetworkPolicy"))) == {"guest", "pool", "elastic", "moves"}
    assert triton.number(world.service("pool"), "plain") == 2.0

    elastic = {"replicas": None, "autoscaling": BOUNDS}
    world.patch("TritonServer", "elastic", elastic)
    # Not of the one that shrinks: of pods that are rolled, those that are not ready go first.
    world.annotate("TritonServer", "pool", rotate_control_key="today")
    # Only the log tells which model it was that kept a pod of a revision from coming up.
    world.apply(
        server("fixed", modelUpdates="Rollout"), model("never", version(1, fails("no")), on="fixed")
    )
    world.patch("TritonServer", "pool", {"service": {"headless": False}})
    world.patch("TritonModel", "moves", {"server": None, "serverRef": {"name": "pool"}})
    world.apply(model("broken", version(1, fails("no")), on="pool"))
    world.wait_condition("TritonModel", "broken", "Ready", "False", reason="LoadFailed")
    world.wait_gone("TritonServer", "moves")
    world.wait_gone("Service", "pool-pods")

    # Its manifest is there when the Job that reads it is made anew. Nothing else makes one here.
    ((job, uid),) = jobs(world, "elastic").items()
    world.delete("Job", job)
    wait_for("there is another Job", lambda: set(jobs(world, "elastic").values()) - {uid}, 30)
    world.patch("TritonModel", "plain", {"versions": [version(1, adds(3))]})
    world.wait_answer("pool", "plain", 4.0)

    world.delete("TritonModel", "on-guest")
    world.delete("TritonServer", "guest")
    world.wait_gone("TritonServer", "guest", seconds=60)
    world.wait_pods("elastic", 1, seconds=90)
    world.wait_gone("Secret", "pool-control-key", seconds=60)
    wait_for(
        "the log tells why a pod does not come up",
        lambda: (world.status("TritonModel", "never") or {}).get("lastFailure"),
        90,
        seen=lambda: world.status("TritonModel", "never"),
    )


def jobs(world: World, server: str) -> dict[str, str]:
    """Return the uids of the Jobs of a server that stay, by name; a name may come again."""
    found = [body["metadata"] for body in world.all("Job", server)]
    return {each["name"]: each["uid"] for each in found if "deletionTimestamp" not in each}


def told(found: Iterable[Permission]) -> str:
    by_resource: dict[str, list[str]] = {}
    for group, resource, verb in sorted(found):
        by_resource.setdefault(f"{resource}.{group}".rstrip("."), []).append(verb)
    return "; ".join(f"{resource} {' '.join(verbs)}" for resource, verbs in by_resource.items())
