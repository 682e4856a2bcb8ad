"""The operator on a test cluster, installed with its chart."""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.support.kube import Kube, Object, condition
from tests.cluster.support.shell import run
from tests.cluster.support.waiting import wait_for

NAMESPACE = "triton-system"
RELEASE = "triton-operator"
SELECTOR = "app.kubernetes.io/component=operator"
CHART = Path(__file__).parents[3] / "charts" / "triton-operator"
VALUES = Path(__file__).parents[1] / "values.yaml"

_OF_EVERY_NAMESPACE = {"configmap/kube-root-ca.crt", "serviceaccount/default"}


@dataclass(frozen=True)
class Installation:
    """A release of the operator."""

    kube: Kube
    namespace: str = NAMESPACE
    release: str = RELEASE

    def install(self, chart: Path = CHART, /, **settings: object) -> None:
        """Install or upgrade, with these values changed; return when the operator is ready."""
        run(
            *("helm", "upgrade", "--install", self.release, str(chart)),
            *("--namespace", self.namespace, "--create-namespace", "--values", str(VALUES)),
            # CRDs that somebody applied by hand before become the release's.
            "--take-ownership",
            *(f"--set-json={name}={json.dumps(value)}" for name, value in settings.items()),
            *("--wait", "--timeout", "120s"),
            seconds=150,
        )
        self.wait_ready()

    def refresh(self) -> None:
        """Start the operator anew, from the image that the cluster has now."""
        for pod in self.pods():
            self.kube.delete("Pod", self.namespace, pod)
        self.wait_ready()

    def uninstall(self) -> None:
        run(
            *("helm", "uninstall", self.release, "--namespace", self.namespace, "--wait"),
            seconds=300,
        )

    def test(self) -> str:
        """Run `helm test`; return what it and its pod printed."""
        return run(
            *("helm", "test", self.release, "--namespace", self.namespace),
            *("--timeout", "120s"),
            seconds=150,
        )

    def leftovers(self) -> list[str]:
        """Return what there is of the release in the cluster, and anything in its namespace."""
        labelled = f"--selector=app.kubernetes.io/instance={self.release}"
        found = {
            *_names(_kinds(), "--all-namespaces", labelled),
            *_names(_kinds("--namespaced=true"), "--namespace", self.namespace),
        }
        return sorted(each for each in found - _OF_EVERY_NAMESPACE if not each.startswith("event"))

    def pods(self) -> list[str]:
        bodies = self.kube.all("Pod", self.namespace, SELECTOR)
        return [body["metadata"]["name"] for body in bodies]

    def kill(self) -> None:
        """Kill the operator without a chance to end its work; its Deployment starts another."""
        for pod in self.pods():
            self.kube.delete("Pod", self.namespace, pod, now=True)

    def scale(self, replicas: int) -> None:
        change = {"spec": {"replicas": replicas}}
        self.kube.patch("Deployment", self.namespace, self.release, change, "scale")

    def stop(self) -> None:
        """Have no operator run."""
        self.scale(0)
        self.kill()
        wait_for("the operator has ended", lambda: not self.pods(), 30)

    def start(self) -> float:
        """Have an operator run; return the seconds until it is ready."""
        begun = time.monotonic()
        self.scale(1)
        self.wait_ready()
        return time.monotonic() - begun

    def lease(self) -> Object:
        """Return what the operators' Lease says."""
        found = self.kube.get("Lease", self.namespace, self.release)
        return dict(found.get("spec") or {}) if found is not None else {}

    def leader(self) -> str:
        """Return the pod that holds the Lease, or nothing."""
        return str(self.lease().get("holderIdentity", ""))

    def signal(self, pod: str, number: signal.Signals) -> None:
        """Send a signal to the operator's process in a pod, which runs on this machine."""
        os.kill(_process_of(pod), number)

    def wait_ready(self, seconds: float = 60) -> None:
        """Wait until all pods are ready and one of them leads."""

        def ready() -> bool:
            bodies = self.kube.all("Pod", self.namespace, SELECTOR)
            leader = self.leader()
            return any(body["metadata"]["name"] == leader for body in bodies) and all(
                condition(body, "Ready").get("status") == "True"
                and "deletionTimestamp" not in body["metadata"]
                for body in bodies
            )

        wait_for("the operator is ready", ready, seconds, seen=self.pods)


def _kinds(*which: str) -> str:
    """Return all kinds but ours, which may be on their way out."""
    found = run("kubectl", "api-resources", "--verbs=list", "--output=name", *which).split()
    return ",".join(each for each in found if not each.endswith(".triton-operator.io"))


def _names(kinds: str, *where: str) -> list[str]:
    return run("kubectl", "get", kinds, "--output=name", "--ignore-not-found", *where).splitlines()


def _process_of(pod: str) -> int:
    """Return the number of the process that was given this pod's name as its identity."""
    wanted = f"TRITON_OPERATOR_IDENTITY={pod}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            inherited = wanted in Path(f"/proc/{parent}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in environment and not inherited:
            return int(folder.name)
    raise AssertionError(f"no process of {pod} runs on this machine")
