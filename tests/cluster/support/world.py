"""A namespace of a test cluster in which a test's objects live."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.cluster.support import triton
from tests.cluster.support.kube import Kube, Object, condition, kubectl
from tests.cluster.support.waiting import wait_for

SERVER_LABEL = "triton-operator.io/server"


@dataclass(frozen=True)
class Pod:
    """One pod of a server that is not on its way out."""

    name: str
    uid: str
    ip: str
    ready: bool
    node: str


@dataclass(frozen=True)
class World:
    """The objects of one namespace."""

    kube: Kube
    namespace: str

    # ---- objects --------------------------------------------------------------------------

    def apply(self, *manifests: Object) -> None:
        for manifest in manifests:
            self.kube.apply(manifest, self.namespace)

    def get(self, kind: str, name: str) -> Object | None:
        return self.kube.get(kind, self.namespace, name)

    def live(self, kind: str, name: str) -> Object:
        """Return an object that is there."""
        found = self.get(kind, name)
        assert found is not None, f"there is no {kind} {name}"
        return found

    def all(self, kind: str, server: str = "") -> list[Object]:
        """Return all objects of a kind, or those that belong to a server."""
        selector = f"{SERVER_LABEL}={server}" if server else ""
        return self.kube.all(kind, self.namespace, selector)

    def patch(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        self.kube.patch(kind, self.namespace, name, {"spec": spec})

    def annotate(self, kind: str, name: str, **annotations: str) -> None:
        """Set annotations of ours; ``_`` stands for ``-``."""
        ours = {f"triton-operator.io/{k.replace('_', '-')}": v for k, v in annotations.items()}
        self.kube.patch(kind, self.namespace, name, {"metadata": {"annotations": ours}})

    def delete(self, kind: str, name: str, *, now: bool = False) -> None:
        self.kube.delete(kind, self.namespace, name, now=now)

    def wait_gone(self, kind: str, *names: str, seconds: float = 30) -> None:
        for name in names:
            wait_for(
                f"{kind} {name} is gone",
                lambda name=name: self.get(kind, name) is None,
                seconds,
                seen=lambda name=name: self.get(kind, name),
            )

    # ---- conditions -----------------------------------------------------------------------

    def wait_condition(
        self,
        kind: str,
        name: str,
        type_: str,
        status: str,
        *,
        reason: str = "",
        seconds: float = 40,
    ) -> Object:
        """Wait until a condition that is about the present spec has a status; return it."""

        def found() -> Object:
            body = self.get(kind, name)
            now = condition(body, type_)
            fits = (
                body is not None
                and now.get("observedGeneration") == body["metadata"]["generation"]
                and now.get("status") == status
                and reason in ("", now.get("reason"))
            )
            return now if fits else {}

        what = f"{kind} {name} has {type_}={status} {reason}".rstrip()
        return wait_for(what, found, seconds, seen=lambda: self.status(kind, name))

    def wait_ready(self, *models: str, seconds: float = 60) -> None:
        """Wait until models are served by every ready pod."""
        for name in models:
            self.wait_condition("TritonModel", name, "Ready", "True", seconds=seconds)

    def wait_pods(self, server: str, count: int, seconds: float = 60) -> list[Pod]:
        """Wait until exactly so many pods of a server are there and ready."""

        def found() -> list[Pod]:
            pods = self.pods(server)
            return pods if len(pods) == count and all(pod.ready for pod in pods) else []

        what = f"{server} has {count} ready pods"
        return wait_for(what, found, seconds, seen=lambda: self.pods(server))

    def wait_available(self, *servers: str, seconds: float = 60) -> None:
        """Wait until Kubernetes has said all that it has to say of the servers' Deployments.

        It counts a pod as available only after it was ready for ``minReadySeconds``.
        """

        def all_told(server: str) -> bool:
            body = self.live("Deployment", server)
            status = body["status"]
            return (
                status.get("observedGeneration") == body["metadata"]["generation"]
                and status.get("availableReplicas") == body["spec"]["replicas"]
                and condition(body, "Progressing").get("reason") == "NewReplicaSetAvailable"
            )

        for server in servers:
            wait_for(
                f"the pods of {server} are available",
                lambda server=server: all_told(server),
                seconds,
                seen=lambda server=server: self.status("Deployment", server),
            )

    def status(self, kind: str, name: str) -> Any:
        return (self.get(kind, name) or {}).get("status")

    # ---- servers --------------------------------------------------------------------------

    def pods(self, server: str) -> list[Pod]:
        """Return the pods that run a server, by name; those that leave are not among them."""
        selector = f"{SERVER_LABEL}={server},app.kubernetes.io/component=server"
        bodies = self.kube.all("Pod", self.namespace, selector)
        return sorted(
            (
                Pod(
                    name=body["metadata"]["name"],
                    uid=body["metadata"]["uid"],
                    ip=body["status"].get("podIP", ""),
                    ready=condition(body, "Ready").get("status") == "True",
                    node=body["spec"].get("nodeName", ""),
                )
                for body in bodies
                if "deletionTimestamp" not in body["metadata"]
            ),
            key=lambda pod: pod.name,
        )

    def service(self, server: str) -> str:
        """Return the address of a server's Service, once connections to it reach a pod.

        The node learns of new pods and Services up to a second after everybody else.
        """
        host = str(self.live("Service", server)["spec"]["clusterIP"])
        wait_for(f"Service {server} reaches a pod", lambda: triton.connects(host), 10)
        return host

    def wait_answer(self, server: str, model: str, value: float, seconds: float = 20) -> None:
        """Wait until a Service answers 1.0 with a number."""
        host = self.service(server)
        answer: list[object] = []

        def found() -> bool:
            try:
                answer[:] = [triton.number(host, model)]
            except (OSError, AssertionError) as error:
                answer[:] = [error]
            return answer == [value]

        wait_for(f"{model} answers {value}", found, seconds, seen=lambda: answer)

    def control_key(self, server: str) -> dict[str, str]:
        """Return the header that opens the model-control API of a server's new pods."""
        secret = self.live("Secret", self.key_secret(server))
        return {"triton-operator-key": base64.b64decode(secret["data"]["key"]).decode()}

    def key_secret(self, server: str) -> str:
        """Return the name of the Secret from which new pods of a server have their control key."""
        (container,) = self.live("Deployment", server)["spec"]["template"]["spec"]["containers"]
        key = next(each for each in container["env"] if each["name"] == "TRITON_CONTROL_KEY")
        return str(key["valueFrom"]["secretKeyRef"]["name"])

    def files(self, pod: str, root: str) -> list[str]:
        """Return the paths of all files, folders and links below a folder that a pod sees."""
        done = kubectl("exec", "-n", self.namespace, pod, "--", "find", root, "-mindepth", "1")
        assert done.returncode == 0, done.stderr
        return sorted(line.removeprefix(f"{root}/") for line in done.stdout.splitlines())

    def sh(self, pod: str, script: str) -> str:
        """Run a shell script in a pod."""
        done = kubectl("exec", "-n", self.namespace, pod, "--", "sh", "-ec", script)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def load_seconds(self, pod: str, model: str) -> list[float]:
        """Return how long each load of a model took, by the log of the pod's Triton."""
        done = kubectl("logs", "-n", self.namespace, pod, "--timestamps")
        assert done.returncode == 0, done.stderr
        seconds, start = list[float](), None
        for line in done.stdout.splitlines():
            time, _, text = line.partition(" ")
            if f'"loading: {model}:' in text:
                start = datetime.fromisoformat(time)
            elif f"\"successfully loaded '{model}'" in text and start is not None:
                seconds.append((datetime.fromisoformat(time) - start).total_seconds())
        return seconds

    # ---- the end --------------------------------------------------------------------------

    def empty(self) -> None:
        """Delete all models and servers, and wait until they are gone."""
        for kind in ("TritonModel", "TritonServer"):
            for name in names(self.all(kind)):
                self.delete(kind, name)
        for kind in ("TritonModel", "TritonServer"):
            self.wait_gone(kind, *names(self.all(kind)), seconds=60)


def names(bodies: Iterable[Object]) -> list[str]:
    return [body["metadata"]["name"] for body in bodies]
