"""The Kubernetes API as plain JSON, through `kubectl proxy`, which knows every way to log in."""

import http.client
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

Object = dict[str, Any]

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
MANAGER = "cluster-tests"

_OURS = "triton-operator.io/v1alpha1"
KINDS: Mapping[str, tuple[str, str]] = {
    "ClusterRole": ("rbac.authorization.k8s.io/v1", "clusterroles"),
    "ConfigMap": ("v1", "configmaps"),
    "CustomResourceDefinition": ("apiextensions.k8s.io/v1", "customresourcedefinitions"),
    "Deployment": ("apps/v1", "deployments"),
    "Event": ("v1", "events"),
    "HorizontalPodAutoscaler": ("autoscaling/v2", "horizontalpodautoscalers"),
    "Job": ("batch/v1", "jobs"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "LimitRange": ("v1", "limitranges"),
    "Namespace": ("v1", "namespaces"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies"),
    "Node": ("v1", "nodes"),
    "PersistentVolume": ("v1", "persistentvolumes"),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims"),
    "Pod": ("v1", "pods"),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
    "ResourceQuota": ("v1", "resourcequotas"),
    "Secret": ("v1", "secrets"),
    "Service": ("v1", "services"),
    "TritonModel": (_OURS, "tritonmodels"),
    "TritonServer": (_OURS, "tritonservers"),
}
_CLUSTERWIDE = {
    "ClusterRole",
    "CustomResourceDefinition",
    "Namespace",
    "Node",
    "PersistentVolume",
}


class Refused(Exception):  # noqa: N818 - it reads as what happened
    """The API server's refusal."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text[:2000]}")
        self.status = status


def path_of(kind: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    api, plural = KINDS[kind]
    root = "/apis" if "/" in api else "/api"
    scope = f"namespaces/{namespace}" if namespace and kind not in _CLUSTERWIDE else ""
    return "/".join((root, api, *filter(None, (scope, plural, name, subresource))))


@dataclass(frozen=True)
class Kube:
    """A running `kubectl proxy`."""

    port: int

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content: str = "application/json",
        **query: str,
    ) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            text = json.dumps(body) if body is not None else None
            url = f"{path}?{urlencode(query)}" if query else path
            connection.request(method, url, body=text, headers={"Content-Type": content})
            answer = connection.getresponse()
            data = answer.read().decode(errors="replace")
        finally:
            connection.close()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise Refused(answer.status, data)
        return data

    def json(self, method: str, path: str, body: object = None, **more: str) -> Object:
        found: Object = json.loads(self.call(method, path, body, **more))
        return found

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        try:
            return self.json("GET", path_of(kind, namespace, name))
        except Refused as refused:
            if refused.status == http.HTTPStatus.NOT_FOUND:
                return None
            raise

    def all(self, kind: str, namespace: str = "", selector: str = "") -> list[Object]:
        found = self.json("GET", path_of(kind, namespace), labelSelector=selector)
        return list(found["items"])

    def apply(self, manifest: Object, namespace: str = "") -> Object:
        path = path_of(manifest["kind"], namespace, manifest["metadata"]["name"])
        return self.json("PATCH", path, manifest, content=APPLY, fieldManager=MANAGER, force="true")

    def patch(
        self, kind: str, namespace: str, name: str, change: object, subresource: str = ""
    ) -> Object:
        path = path_of(kind, namespace, name, subresource)
        return self.json("PATCH", path, change, content=MERGE, fieldManager=MANAGER)

    def delete(self, kind: str, namespace: str, name: str, *, now: bool = False) -> None:
        """Ask for an object to go; ``now`` kills a pod instead of asking it to end."""
        options = {"propagationPolicy": "Background"} | ({"gracePeriodSeconds": 0} if now else {})
        try:
            self.call("DELETE", path_of(kind, namespace, name), options)
        except Refused as refused:
            if refused.status != http.HTTPStatus.NOT_FOUND:
                raise

    def watch(self, kind: str, namespace: str) -> "Watch":
        """Follow the objects of a kind from now on."""
        return Watch(self, kind, namespace)


@dataclass(frozen=True)
class Seen:
    """One change of one object, and when it reached us (seconds of ``time.monotonic``)."""

    at: float
    type: str
    object: Object

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])


@dataclass
class Watch:
    """A watch in a thread of its own; a context manager."""

    kube: Kube
    kind: str
    namespace: str
    _seen: list[Seen] = field(default_factory=list)
    _connection: http.client.HTTPConnection | None = None
    _thread: threading.Thread | None = None

    def __enter__(self) -> "Watch":
        path = path_of(self.kind, self.namespace)
        version = self.kube.json("GET", path)["metadata"]["resourceVersion"]
        self._connection = http.client.HTTPConnection("127.0.0.1", self.kube.port, timeout=600)
        query = urlencode({"watch": "true", "resourceVersion": version, "timeoutSeconds": 600})
        self._connection.request("GET", f"{path}?{query}")
        answer = self._connection.getresponse()
        self._thread = threading.Thread(target=self._follow, args=(answer,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._connection is not None
        if self._connection.sock is not None:
            self._connection.sock.close()

    def seen(self) -> tuple[Seen, ...]:
        return tuple(self._seen)

    def first(self, holds: Callable[[Seen], object]) -> Seen | None:
        """Return the first change for which something holds."""
        return next((each for each in self.seen() if holds(each)), None)

    def _follow(self, answer: http.client.HTTPResponse) -> None:
        try:
            while line := answer.readline():
                event = json.loads(line)
                self._seen.append(Seen(time.monotonic(), event["type"], event["object"]))
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            return  # closed by `__exit__`


@contextmanager
def proxy() -> Iterator[Kube]:
    """Run `kubectl proxy` for the cluster of KUBECONFIG."""
    process = subprocess.Popen(
        # It refuses pods/exec and the like by default; what the tests need of those is kubectl's.
        ["kubectl", "proxy", "--port=0", "--address=127.0.0.1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "Starting to serve" in line, f"kubectl proxy said: {line!r}"
        yield Kube(int(line.strip().rpartition(":")[2]))
    finally:
        process.terminate()
        process.wait(timeout=10)


def kubectl(
    *arguments: str, stdin: object = None, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run kubectl; whoever calls looks at the exit status."""
    return subprocess.run(
        ["kubectl", *arguments],
        input=json.dumps(stdin) if stdin is not None else None,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def difference(objects: list[Object], *how: str) -> str:
    """Return what ``kubectl diff`` says between a push and the cluster; nothing if nothing is."""
    everything = {"apiVersion": "v1", "kind": "List", "items": objects}
    done = kubectl("diff", "--filename=-", *how, stdin=everything)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def condition(body: Object | None, kind: str) -> Object:
    """Return a condition of an object; empty when it has none."""
    conditions = ((body or {}).get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == kind), {})
