"""The operator on a test cluster, installed with its chart."""

import time
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.support.kube import Kube, condition
from tests.cluster.support.shell import run
from tests.cluster.support.waiting import wait_for

NAMESPACE = "triton-system"
RELEASE = "triton-operator"
SELECTOR = "app.kubernetes.io/component=operator"
CHART = Path(__file__).parents[3] / "charts" / "triton-operator"
VALUES = Path(__file__).parents[1] / "values.yaml"


@dataclass(frozen=True)
class Installation:
    """The operator's release."""

    kube: Kube

    def install(self, **settings: object) -> None:
        """Install or upgrade, with these values changed; return when the operator is ready."""
        run(
            *("helm", "upgrade", "--install", RELEASE, str(CHART)),
            *("--namespace", NAMESPACE, "--create-namespace", "--values", str(VALUES)),
            # CRDs that somebody applied by hand before become the release's.
            "--take-ownership",
            *(f"--set={name}={value}" for name, value in settings.items()),
            *("--wait", "--timeout", "120s"),
            seconds=150,
        )

    def refresh(self) -> None:
        """Start the operator anew, from the image that the cluster has now."""
        for pod in self.pods():
            self.kube.delete("Pod", NAMESPACE, pod, now=True)
        self.wait_ready()

    def uninstall(self) -> None:
        run("helm", "uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", seconds=300)

    def pods(self) -> list[str]:
        bodies = self.kube.all("Pod", NAMESPACE, SELECTOR)
        return [body["metadata"]["name"] for body in bodies]

    def kill(self) -> None:
        """Kill the operator without a chance to end its work; its Deployment starts another."""
        for pod in self.pods():
            self.kube.delete("Pod", NAMESPACE, pod, now=True)

    def scale(self, replicas: int) -> None:
        change = {"spec": {"replicas": replicas}}
        self.kube.patch("Deployment", NAMESPACE, RELEASE, change, "scale")

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

    def wait_ready(self, seconds: float = 60) -> None:
        def ready() -> bool:
            bodies = self.kube.all("Pod", NAMESPACE, SELECTOR)
            return bool(bodies) and all(
                condition(body, "Ready").get("status") == "True"
                and "deletionTimestamp" not in body["metadata"]
                for body in bodies
            )

        wait_for("the operator is ready", ready, seconds, seen=self.pods)
