"""How much the operator writes: little for a new model, nothing for a settled world."""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.cluster.support.audit import AuditLog, Entry
from tests.cluster.support.manifests import adds, chain, model, server, version
from tests.cluster.support.waiting import holds_for, wait_for
from tests.cluster.support.world import World, names

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        not AuditLog.exists(), reason="only the local test cluster has an audit log to count in"
    ),
]

MOST_OBJECTS = 8
"""Written once each, the Event among them."""
MOST_STATUSES = 4
"""Of one object: files, pods and loads on their way, where these take seconds, and the end."""
SETTLED_SECONDS = 65
"""More than the time after which the operator checks everything again."""


def assert_few(writes: list[Entry]) -> None:
    """Few objects are written; how often a status is depends on how slow the machine is."""
    counts = Counter((entry.resource, entry.name) for entry in writes)
    statuses = {what: n for what, n in counts.items() if what[0].endswith("/status")}
    assert counts.total() - sum(statuses.values()) <= MOST_OBJECTS, counts
    assert max(statuses.values()) <= MOST_STATUSES, statuses


def told(log: AuditLog, world: World) -> str:
    counts = Counter(f"{entry.verb} {entry.resource}" for entry in log.writes(world.namespace))
    return ", ".join(f"{count}x {what}" for what, count in counts.items())


def test_a_new_model_with_its_own_server_costs_few_writes(
    world: World, figure: Callable[[str], None]
) -> None:
    log = AuditLog()

    world.apply(model("single", version(1, adds(1))))
    world.wait_ready("single")
    world.wait_condition("TritonServer", "single", "Ready", "True")

    # What comes late counts as well.
    settled = wait_for("writes end", lambda: quiet_since(log, world, seconds=3), 30)
    writes = log.writes(world.namespace)
    requests = [entry for entry in log.entries(world.namespace) if entry.verb != "watch"]
    assert settled
    figure(f"new model with its own server: {len(writes)} writes ({told(log, world)})")
    figure(f"new model with its own server: {len(requests)} requests in all")
    assert_few(writes)
    assert not [entry for entry in requests if entry.status >= 400], [str(e) for e in requests]


def test_a_new_model_on_a_shared_server_costs_few_writes(
    world: World, figure: Callable[[str], None]
) -> None:
    world.apply(server("many", replicas=2), model("one", version(1, adds(1)), on="many"))
    world.wait_ready("one")
    world.wait_pods("many", 2)
    wait_for("the server is settled", lambda: quiet_since(AuditLog(), world, seconds=3), 30)
    log = AuditLog()

    world.apply(model("two", version(1, adds(2)), on="many"))
    world.wait_ready("two")

    wait_for("writes end", lambda: quiet_since(log, world, seconds=3), 30)
    writes = log.writes(world.namespace)
    figure(f"new model on a shared server: {len(writes)} writes ({told(log, world)})")
    assert_few(writes)


def test_a_settled_cluster_costs_no_write(world: World) -> None:
    world.apply(
        chain("both", "many", "one", "two"), model("lost", version(1, adds(1)), on="nowhere")
    )
    world.patch("TritonServer", "many", {"replicas": 3})
    world.wait_pods("many", 3)
    world.wait_ready("both", "single")
    world.wait_condition("TritonServer", "many", "Ready", "True")
    wait_for("writes end", lambda: quiet_since(AuditLog(), world, seconds=3), 30)
    wait_for("no namespace of other tests is on its way out", lambda: not going(world), 120)
    log = AuditLog()

    def nothing_written() -> bool:
        return not log.writes()

    holds_for("the operator has written nothing", nothing_written, SETTLED_SECONDS)


def going(world: World) -> list[str]:
    """Return the namespaces that are being deleted, where the operator is refused what it tries."""
    found = world.kube.all("Namespace")
    return names(each for each in found if "deletionTimestamp" in each["metadata"])


def quiet_since(log: AuditLog, world: World, *, seconds: float) -> bool:
    """Return whether the operator writes nothing in a namespace for some seconds."""
    before = len(log.writes(world.namespace))
    try:
        holds_for("quiet", lambda: len(log.writes(world.namespace)) == before, seconds)
    except AssertionError:
        return False
    return True
