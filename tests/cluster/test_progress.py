"""What the status tells while a big file is copied, and afterwards."""

from hashlib import sha256
from typing import Any

import pytest

from tests.cluster import settings
from tests.cluster.support.audit import AuditLog
from tests.cluster.support.kube import Object, condition, kubectl
from tests.cluster.support.manifests import adds, claim, looker, model, server, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World

pytestmark = pytest.mark.cluster

MEBIBYTE = 1 << 20
SIZE = 512 * MEBIBYTE
SLOW: Object = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "slow"},
    "spec": {
        "limits": [
            {"type": "Container", "default": {"cpu": "150m"}, "defaultRequest": {"cpu": "10m"}}
        ]
    },
}
"""Makes the sync Job, which has no limit of its own, take its time."""


@pytest.fixture(scope="module", autouse=True)
def _file(world: World) -> None:
    """A big file of zeros on a claim."""
    world.apply(SLOW, claim("models"), looker("looker", "models", settings.TRITON_IMAGE))
    wait_for(
        "the pod that makes the file runs",
        lambda: condition(world.get("Pod", "looker"), "Ready").get("status") == "True",
        30,
    )
    world.sh("looker", f"truncate --size {SIZE} /claim/zeros.bin")


def test_the_status_tells_how_far_a_big_file_is_and_what_it_was(world: World) -> None:
    log = AuditLog() if AuditLog.exists() else None
    big = {"version": 1, "source": {"uri": "pvc://models/zeros.bin"}}
    gone = {"version": 1, "source": {"uri": "pvc://models/gone.bin"}}
    world.apply(
        server("slow", replicas=0, repository={"claimName": "models"}),
        model("big", big, on="slow"),
        model("gone", gone, on="slow"),
        model("inline", version(1, adds(1)), on="slow"),
    )

    told: list[dict[str, Any]] = []

    def synced() -> bool:
        status = world.status("TritonModel", "big") or {}
        if (sync := status.get("sync")) and sync not in told:
            told.append(sync)
            shown = kubectl("get", "tm", "--namespace", world.namespace).stdout
            # What is read next may be newer.
            assert "% of 512 MiB" in shown or not world.status("TritonModel", "big").get("sync")
        return condition(world.get("TritonModel", "big"), "Synced").get("status") == "True"

    wait_for("the file is copied", synced, 120, seen=lambda: told)

    done = [each["bytesDone"] for each in told]
    assert len(done) >= 2, told
    assert done == sorted(done)
    assert {each["bytesTotal"] for each in told} == {SIZE}
    status = world.status("TritonModel", "big")
    assert "sync" not in status
    (artifact,) = status["artifacts"]
    assert artifact == {
        "version": 1,
        "uri": "pvc://models/zeros.bin",
        "sha256": sha256(bytes(SIZE)).hexdigest(),
        "bytes": SIZE,
    }
    assert world.status("TritonModel", "inline")["artifacts"] == []
    failed = world.wait_condition("TritonModel", "gone", "Synced", "False")
    assert failed["reason"] == "SourceNotFound"
    assert world.status("TritonModel", "gone")["lastFailure"]["reason"] == "SourceNotFound"
    if log is not None:
        reads = [entry for entry in log.entries(world.namespace) if entry.resource == "pods/log"]
        assert len(told) <= len(reads) <= 30, told


def test_a_sync_that_cannot_start_says_why(world: World) -> None:
    world.apply(
        server("homeless", replicas=0, repository={"claimName": "nowhere"}),
        model("lost", version(1, adds(1)), on="homeless"),
    )

    found = world.wait_condition("TritonModel", "lost", "Ready", "False", reason="SyncBlocked")

    assert 'persistentvolumeclaim "nowhere" not found' in found["message"]


def test_a_source_on_a_claim_that_is_not_there_holds_back_one_model(world: World) -> None:
    astray = {"version": 1, "source": {"uri": "pvc://nowhere/model.bin"}}
    world.apply(
        server("shared", replicas=0, repository={"claimName": "models"}),
        model("astray", astray, on="shared"),
        model("neighbour", version(1, adds(1)), on="shared"),
    )

    found = world.wait_condition(
        "TritonModel", "astray", "Synced", "False", reason="SourceNotFound"
    )
    assert "no claim 'nowhere'" in found["message"]
    world.wait_condition("TritonModel", "neighbour", "Synced", "True")
