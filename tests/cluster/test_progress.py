"""What the status tells while a big file is copied, and afterwards."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pytest

from tests.cluster import settings
from tests.cluster.support.audit import AuditLog
from tests.cluster.support.kube import condition, kubectl
from tests.cluster.support.manifests import adds, claim, looker, model, server, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.web import address_towards, send_slowly
from tests.cluster.support.world import World
from tests.wire import servers

pytestmark = pytest.mark.cluster

SIZE = 32 << 20
TOLD = 3
"""How often the status is to say how far the file is before the rest of it is sent."""


@pytest.fixture(scope="module", autouse=True)
def _claim(world: World) -> None:
    """A claim for the servers' files, with a pod on it that keeps it bound."""
    world.apply(claim("models"), looker("looker", "models", settings.TRITON_IMAGE))
    wait_for(
        "the claim's pod runs",
        lambda: condition(world.get("Pod", "looker"), "Ready").get("status") == "True",
        30,
    )


@dataclass(frozen=True)
class BigFile:
    """A file of zeros on a web server that sends it slowly, until it is let go."""

    uri: str
    released: threading.Event


@pytest.fixture
def big_file(world: World) -> Iterator[BigFile]:
    released = threading.Event()
    host = address_towards(world.live("Pod", "looker")["status"]["podIP"])
    with servers.scripted(host) as web:
        web.answers["/zeros.bin"] = lambda handler, _: send_slowly(
            handler, bytes(SIZE), released, piece=1 << 16, pause=0.1
        )
        yield BigFile(f"{web.url}/zeros.bin", released)
        released.set()


def test_the_status_tells_how_far_a_big_file_is_and_what_it_was(
    world: World, big_file: BigFile
) -> None:
    log = AuditLog() if AuditLog.exists() else None
    big = {"version": 1, "source": {"uri": big_file.uri}}
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
            assert "% of 32 MiB" in shown or not world.status("TritonModel", "big").get("sync")
        if len(told) >= TOLD:
            big_file.released.set()
        return condition(world.get("TritonModel", "big"), "Synced").get("status") == "True"

    wait_for("the file is copied", synced, 120, seen=lambda: told)

    done = [each["bytesDone"] for each in told]
    assert len(done) >= TOLD, told
    assert done == sorted(done)
    assert {each["bytesTotal"] for each in told} == {SIZE}
    status = world.status("TritonModel", "big")
    assert "sync" not in status
    (artifact,) = status["artifacts"]
    assert artifact == {
        "version": 1,
        "uri": big_file.uri,
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
