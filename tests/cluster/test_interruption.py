"""What syncs leave that were killed: a real Triton loads all of it."""

import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.cluster import settings
from tests.cluster.support.kube import Kube, condition
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World
from tests.unit.repository.interruption import die_before, record_changes
from tests.unit.repository.scenarios import SCENARIOS

pytestmark = pytest.mark.cluster

MOST_STARTS = 60
"""A start of Triton takes one or two seconds."""

LOAD_ALL = """
import json, os, pathlib, subprocess, sys, time, urllib.request

def load(root):
    repository = root / "servers/vision"
    log = open("/tmp/log", "w+b")
    server = subprocess.Popen(
        ["tritonserver", f"--model-repository={repository}", "--model-control-mode=explicit",
         "--load-model=*", "--exit-on-error=false", "--strict-readiness=false",
         "--allow-grpc=false", "--allow-metrics=false", "--exit-timeout-secs=0",
         "--backend-directory=/opt/tritonserver/backends"],
        stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and server.poll() is None:
            try:
                ask = urllib.request.Request(
                    "http://127.0.0.1:8000/v2/repository/index", data=b"{}", method="POST")
                models = json.load(urllib.request.urlopen(ask, timeout=5))
                return {each["name"]: each.get("state", "") for each in models}
            except OSError:
                time.sleep(0.05)
        log.seek(0)
        return {"": log.read()[-2000:].decode(errors="replace")}
    finally:
        server.kill()
        server.wait()

for root in sorted(pathlib.Path("/claims").iterdir()):
    print(json.dumps([root.name, load(root)]), flush=True)
"""


@pytest.fixture
def triton_pod(kube: Kube, namespaces: Callable[[str], str]) -> World:
    """A namespace with a pod in which Triton can be started."""
    world = World(kube, namespaces("interruption"))
    world.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "triton"},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
                "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
                "containers": [
                    {
                        "name": "triton",
                        "image": settings.TRITON_IMAGE,
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["sleep", "900"],
                        "volumeMounts": [
                            {"name": "claims", "mountPath": "/claims"},
                            {"name": "shm", "mountPath": "/dev/shm"},
                        ],
                    }
                ],
                "volumes": [
                    {"name": "claims", "emptyDir": {}},
                    {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
                ],
            },
        }
    )
    wait_for(
        "the pod runs",
        lambda: condition(world.get("Pod", "triton"), "Ready").get("status") == "True",
        30,
    )
    return world


def interrupt_everywhere(folder: Path) -> list[Path]:
    """Leave a claim for every change of every scenario at which a sync can be killed."""
    claims = []
    for number, (name, scenario) in enumerate(SCENARIOS.items()):
        whole = folder / f"{number}-whole"
        whole.mkdir()
        claim = scenario.prepare(whole)
        changes = record_changes(partial(scenario.run, claim))
        assert changes, name
        for step in range(len(changes)):
            root = folder / f"{number}-{step:03}"
            root.mkdir()
            claim = scenario.prepare(root)
            die_before(step, partial(scenario.run, claim))
            claims.append(root)
    return claims


def linked(root: Path) -> set[str]:
    return {path.name for path in root.glob("servers/vision/*")}


def test_triton_loads_what_every_killed_sync_left(
    tmp_path: Path, triton_pod: World, figure: Callable[[str], None]
) -> None:
    left = interrupt_everywhere(tmp_path)
    # Before the first sync has made the folder, and after the last has removed it, pods wait.
    readable = [root for root in left if (root / "servers/vision").is_dir()]
    every = -(-len(readable) // MOST_STARTS)
    tried = readable[::every]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for root in tried:
            tar.add(root, root.name)
    kubectl = ["kubectl", "exec", "--namespace", triton_pod.namespace, "-i", "triton", "--"]
    subprocess.run(
        [*kubectl, "tar", "--extract", "--no-same-owner", "--directory=/claims"],
        input=archive.getvalue(),
        check=True,
        timeout=60,
    )
    done = subprocess.run(
        [*kubectl, "python3", "-c", LOAD_ALL],
        check=False,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    answers = dict(json.loads(line) for line in done.stdout.splitlines())

    loaded = [root for root in tried if answers[root.name] == dict.fromkeys(linked(root), "READY")]
    figure(
        f"syncs killed before a change of a file: {len(left)} points in {len(SCENARIOS)} scenarios;"
        f" of the {len(readable)} claims with a folder to read, Triton was started on {len(tried)}"
        f" and loaded all models of {len(loaded)}"
    )
    assert len(tried) > MOST_STARTS // 2
    assert loaded == tried, {r.name: answers[r.name] for r in tried if r not in loaded}
