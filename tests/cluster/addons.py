"""What a cluster has besides its own programs: DNS, a default StorageClass, the kubelet's rights,
and GPUs that are only a number."""

import socket
import struct

from tests.cluster import settings
from tests.cluster.api import Api, Object
from tests.cluster.progress import wait_until
from tests.cluster.provisioner import storage_class

_LABELS = {"k8s-app": "kube-dns"}
_NAMESPACE = "/api/v1/namespaces/kube-system"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_NODE = f"/api/v1/nodes/{settings.NAME}"
_GPU = "nvidia.com/gpu"

# Names outside the cluster do not exist: pods cannot reach anything out there, and nobody outside
# learns what they asked for.
_COREFILE = f"""\
.:53 {{
    errors
    health
    ready
    kubernetes {settings.DOMAIN} in-addr.arpa ip6.arpa {{
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }}
    cache 5 {{
        disable denial {settings.DOMAIN}
    }}
    loadbalance
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""


def install(api: Api) -> None:
    """Apply the default class, the kubelet's rights and DNS, and advertise the GPUs."""
    binding = build_node_binding()
    api.apply(f"{_RBAC}/clusterrolebindings/{binding['metadata']['name']}", binding)
    name = settings.STORAGE_CLASS
    api.apply(f"/apis/storage.k8s.io/v1/storageclasses/{name}", storage_class())
    for path, manifest in build_dns():
        api.apply(path, manifest)
    advertise_gpus(api)


def advertise_gpus(api: Api, node: str = _NODE, count: int = settings.GPUS) -> None:
    """Set the node's GPU capacity; the kubelet keeps it in its later status updates, but not over
    its own start."""
    status = {field: {_GPU: str(count)} for field in ("capacity", "allocatable")}
    patch = {"status": status}
    api.call("PATCH", f"{node}/status", patch, content="application/strategic-merge-patch+json")


def node_is_ready(api: Api) -> bool:
    """Whether the kubelet has reported the node Ready."""
    nodes = api.call("GET", "/api/v1/nodes")["items"]
    conditions = [c for node in nodes for c in node["status"].get("conditions", [])]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def wait_for_dns() -> None:
    """Return once the API server's name resolves through the Service, from this machine."""
    name = f"kubernetes.default.svc.{settings.DOMAIN}"
    wait_until(lambda: resolve(name) == settings.FIRST_SERVICE_IP, "cluster DNS to answer")


def resolve(name: str) -> str | None:
    """The IPv4 address that the cluster's DNS has for a full name; None for no answer.

    The request is written out by hand, because the system's resolver asks other servers: a
    header, the name as counted labels, type A, class IN. The address is the end of the first
    answer, CoreDNS giving only one for a Service.
    """
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(0.5)
        try:
            connection.sendto(query, (settings.DNS_IP, 53))
            answer = connection.recv(512)
        except OSError:
            return None
    answers = struct.unpack(">H", answer[6:8])[0]
    return socket.inet_ntoa(answer[-4:]) if answers else None


def build_node_binding() -> Object:
    """What gives the kubelet by RBAC too what the node authorizer gives it.

    That knows a pod some milliseconds after the kubelet does when the machine is busy; refused a
    claim or ConfigMap of the pod, the kubelet tries again only seconds later.
    """
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{settings.NAME}-nodes"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:node"},
        "subjects": [{"apiGroup": group, "kind": "Group", "name": "system:nodes"}],
    }


def build_dns() -> list[tuple[str, Object]]:
    """CoreDNS with its rights and its Service at the address that every pod's resolv.conf names."""
    account = {"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "coredns"}
    rules = [
        {"apiGroups": [""], "resources": [resource], "verbs": ["list", "watch"]}
        for resource in ("services", "pods", "namespaces")
    ]
    slices = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"]}
    return [
        (f"{_NAMESPACE}/serviceaccounts/coredns", _object("v1", "ServiceAccount")),
        (
            f"{_RBAC}/clusterroles/coredns",
            _object(
                "rbac.authorization.k8s.io/v1",
                "ClusterRole",
                namespaced=False,
                rules=[*rules, {**slices, "verbs": ["list", "watch"]}],
            ),
        ),
        (
            f"{_RBAC}/clusterrolebindings/coredns",
            _object(
                "rbac.authorization.k8s.io/v1",
                "ClusterRoleBinding",
                namespaced=False,
                roleRef=role,
                subjects=[account],
            ),
        ),
        (
            f"{_NAMESPACE}/configmaps/coredns",
            _object("v1", "ConfigMap", data={"Corefile": _COREFILE}),
        ),
        (
            "/apis/apps/v1/namespaces/kube-system/deployments/coredns",
            _object("apps/v1", "Deployment", spec=_deployment_spec()),
        ),
        (f"{_NAMESPACE}/services/kube-dns", _service()),
    ]


def _object(api_version: str, kind: str, *, namespaced: bool = True, **fields: object) -> Object:
    metadata = {"name": "coredns", **({"namespace": "kube-system"} if namespaced else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def _service() -> Object:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": dict(_LABELS)},
        "spec": {"clusterIP": settings.DNS_IP, "selector": dict(_LABELS), "ports": ports},
    }


def _deployment_spec() -> Object:
    container = {
        "name": "coredns",
        "image": settings.COREDNS_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "failureThreshold": 5},
        "resources": {"requests": {"cpu": "20m", "memory": "40Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
        },
    }
    return {
        "replicas": 1,
        "selector": {"matchLabels": dict(_LABELS)},
        "template": {
            "metadata": {"labels": dict(_LABELS)},
            "spec": {
                "serviceAccountName": "coredns",
                "priorityClassName": "system-cluster-critical",
                "dnsPolicy": "Default",
                "containers": [container],
                "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
            },
        },
    }
