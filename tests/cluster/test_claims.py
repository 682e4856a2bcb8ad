"""Claims of every kind: shared by servers, for one node, too small, not ours to write, damaged."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import settings
from tests.cluster.support import triton
from tests.cluster.support.kube import Object, condition, kubectl
from tests.cluster.support.manifests import adds, claim, looker, model, server, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World

pytestmark = pytest.mark.cluster


def of_mode(name: str, mode: str) -> Object:
    body = claim(name)
    body["spec"]["accessModes"] = [mode]
    return body


def look_into(world: World, name: str, on_claim: str) -> None:
    world.apply(looker(name, on_claim, settings.TRITON_IMAGE))
    wait_for(
        f"{name} runs",
        lambda: condition(world.get("Pod", name), "Ready").get("status") == "True",
        30,
    )


def kill(world: World, of: str, pod: str) -> None:
    world.delete("Pod", pod, now=True)
    wait_for(f"{pod} is gone", lambda: pod not in {each.name for each in world.pods(of)}, 20)


@pytest.fixture
def volume(world: World) -> Iterator[Path]:
    """A folder of root's on the node, and a volume on it of a class of its own."""
    name = f"{world.namespace}-roots"
    folder = settings.folders().volumes.parent / name
    folder.mkdir(mode=0o755)
    made = kubectl(
        "create",
        "-f",
        "-",
        stdin={
            "apiVersion": "v1",
            "kind": "List",
            "items": [
                {
                    "apiVersion": "storage.k8s.io/v1",
                    "kind": "StorageClass",
                    "metadata": {"name": name},
                    "provisioner": "kubernetes.io/no-provisioner",
                    "allowVolumeExpansion": True,
                },
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolume",
                    "metadata": {"name": name},
                    "spec": {
                        "capacity": {"storage": "1Gi"},
                        "accessModes": ["ReadWriteOnce"],
                        "persistentVolumeReclaimPolicy": "Retain",
                        "storageClassName": name,
                        "hostPath": {"path": str(folder), "type": "Directory"},
                    },
                },
            ],
        },
    )
    assert made.returncode == 0, made.stderr
    yield folder
    kubectl("delete", "pv", name, "--wait=false")
    kubectl("delete", "storageclass", name)
    shutil.rmtree(folder, ignore_errors=True)


def test_two_servers_share_a_claim_for_one_node_and_its_blobs(world: World) -> None:
    world.apply(of_mode("ours", "ReadWriteOnce"))
    look_into(world, "looker", "ours")
    world.sh("looker", f"mkdir /claim/uploads; cat > /claim/uploads/model.py <<'E'\n{adds(1)}\nE")
    source = {"version": 1, "source": {"uri": "pvc://ours/uploads/model.py"}}
    for name in ("first", "second"):
        world.apply(
            server(name, repository={"claimName": "ours"}, replicas=2),
            model(f"on-{name}", source, on=name),
        )
    world.wait_ready("on-first", "on-second", seconds=120)
    pods = [pod for name in ("first", "second") for pod in world.wait_pods(name, 2)]
    assert len({pod.node for pod in pods}) == 1
    assert len(world.files("looker", "/claim/blobs")) == 1
    limited = world.wait_condition(
        "TritonServer", "first", "ScalingLimited", "True", reason="ClaimNotShared"
    )
    assert "fit on one node" in limited["message"]
    world.wait_condition("TritonServer", "first", "Ready", "True")

    world.delete("TritonServer", "first")
    world.wait_gone("TritonServer", "first", seconds=40)

    files = world.files("looker", "/claim")
    assert not [path for path in files if "first" in path], files
    assert len(world.files("looker", "/claim/blobs")) == 1
    assert triton.number(world.service("second"), "on-second") == 2.0
    kill(world, "second", world.pods("second")[0].name)
    for pod in world.wait_pods("second", 2):
        assert triton.number(pod.ip, "on-second") == 2.0


@pytest.mark.parametrize("mode", ["ReadWriteOncePod", "ReadOnlyMany"])
def test_a_claim_that_sync_jobs_and_pods_cannot_share_is_refused(world: World, mode: str) -> None:
    name = mode.lower()
    world.apply(
        of_mode(f"claim-{name}", mode),
        server(name, repository={"claimName": f"claim-{name}"}),
        model(f"on-{name}", version(1, adds(1)), on=name),
    )

    refused = world.wait_condition(
        "TritonServer", name, "Accepted", "False", reason="ClaimNotUsable"
    )

    assert f"spec.repository.claimName: claim 'claim-{name}' is {mode}" in refused["message"]
    assert not world.all("Deployment", name)
    assert not world.all("Job", name)


def test_a_claim_that_cannot_grow_is_told_and_its_models_serve_on(world: World) -> None:
    world.apply(server("small"), model("in-small", version(1, adds(1)), on="small"))
    world.wait_ready("in-small")

    world.patch("TritonServer", "small", {"repository": {"size": "2Gi"}})

    told = world.wait_condition(
        "TritonServer", "small", "ClaimReady", "False", reason="ClaimNotEnlarged"
    )
    assert "stays at 1Gi" in told["message"]
    world.wait_condition("TritonServer", "small", "Ready", "True")
    world.wait_ready("in-small")
    assert triton.number(world.service("small"), "in-small") == 2.0


def test_a_volume_of_roots_is_told_then_written_enlarged_and_kept_under_another_user(
    world: World, volume: Path
) -> None:
    repository = {
        "size": "1Gi",
        "storageClassName": volume.name,
        "accessModes": ["ReadWriteOnce"],
    }
    world.apply(
        server("roots", repository=repository),
        model("on-roots", version(1, adds(1)), on="roots"),
    )
    told = wait_for(
        "the model says whose the claim is",
        lambda: (
            found if "belongs to user 0" in (found := message(world, "on-roots", "Synced")) else ""
        ),
        60,
        seen=lambda: world.status("TritonModel", "on-roots"),
    )
    assert "with mode 0755" in told
    assert "runs as user 1000 with groups 1000" in told

    shutil.chown(volume, 1000, 1000)
    world.wait_ready("on-roots", seconds=90)

    world.patch("TritonServer", "roots", {"repository": {"size": "2Gi"}})
    wait_for(
        "the claim is to be larger",
        lambda: (
            world.live("PersistentVolumeClaim", "roots-repository")["spec"]["resources"][
                "requests"
            ]["storage"]
            == "2Gi"
        ),
        20,
    )
    world.wait_condition("TritonServer", "roots", "ClaimReady", "True")

    context = {"runAsUser": 2000}
    world.patch("TritonServer", "roots", {"podTemplate": {"securityContext": context}})
    world.patch("TritonModel", "on-roots", {"versions": [version(1, adds(5))]})
    world.wait_answer("roots", "on-roots", 6.0, seconds=120)
    world.wait_ready("on-roots")
    (pod,) = world.wait_pods("roots", 1)
    assert world.sh(pod.name, "id -u").strip() == "2000"


def test_a_repair_mends_what_was_edited_and_has_the_pods_load_it(world: World) -> None:
    world.apply(claim("edited"))
    look_into(world, "editor", "edited")
    world.apply(
        server("mended", repository={"claimName": "edited"}),
        model("victim", version(1, adds(1)), on="mended"),
        model("healthy", version(1, adds(2)), on="mended"),
    )
    world.wait_ready("victim", "healthy")
    world.sh("editor", "sed -i 's/1)/40)/' /claim/servers/mended/victim/1/model.py")
    (pod,) = world.wait_pods("mended", 1)
    kill(world, "mended", pod.name)
    wait_for(
        "another pod is there", lambda: pod.name not in {p.name for p in world.pods("mended")}, 20
    )
    world.wait_answer("mended", "victim", 41.0, seconds=60)
    world.wait_ready("victim")

    asked = kubectl(
        *("annotate", "tritonserver", "mended", "--namespace", world.namespace),
        "triton-operator.io/repair=once",
    )
    assert asked.returncode == 0, asked.stderr

    world.wait_answer("mended", "victim", 2.0, seconds=60)
    status = wait_for(
        "the repair is told", lambda: world.status("TritonServer", "mended").get("repair"), 20
    )
    assert status == {"request": "once", "mended": ["victim"]}
    assert triton.number(world.service("mended"), "healthy") == 3.0
    events = world.all("Event")
    assert [e for e in events if e["reason"] == "Repaired" and "victim" in e["message"]]


def message(world: World, name: str, kind: str) -> str:
    return str(condition(world.get("TritonModel", name), kind).get("message", ""))
