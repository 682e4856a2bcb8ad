"""Names, versions, addresses and folders of the test cluster. Two folders can be moved by the
environment."""

import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = Path(__file__).resolve().parent

KUBERNETES_VERSION = "v1.34.4"
HELM_VERSION = "v3.19.5"
COREDNS_VERSION = "v1.12.4"
KIND_VERSION = "v0.30.0"
VERSITYGW_VERSION = "v1.8.0"
PERF_ANALYZER_VERSION = "2.51.0"
CUDA_RUNTIME_VERSION = "12.6.77"
PROMETHEUS_VERSION = "v0.313.4"
"""Of the Go module: Prometheus 3.13.4."""
CLI_UTILS_VERSION = "v0.37.2"
"""It has kstatus."""
GATEWAY_API_VERSION = "v1.4.0"

NAME = "triton-test"
"""Of the node, of the kind cluster, and of the CNI network."""

NODE_IP = "10.95.0.1"
"""The node's address, on a bridge of its own: it stays the same whatever the machine's network
does, and the API server is not offered to the outside."""
API_PORT = 6443
ETCD_PORT = 12379
POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
FIRST_SERVICE_IP = "10.96.0.1"
DNS_IP = "10.96.0.10"
DOMAIN = "cluster.local"

SINK = "triton-sink"
"""The bridge without ports: see network.py."""
POD_BRIDGE = "triton-pods"

GPUS = 2
STORAGE_CLASS = "standard"
PROVISIONER = "triton-operator.test/folder"

OPERATOR_IMAGE = "localhost/triton-operator:dev"
TRITON_IMAGE = "localhost/tritonserver:test"
PERF_IMAGE = "localhost/perf-analyzer:test"
PAUSE_IMAGE = "localhost/pause:test"
COREDNS_IMAGE = f"localhost/coredns:{COREDNS_VERSION}"


@dataclass(frozen=True)
class Folders:
    """Where things lie. `cache` outlives the cluster, `state` does not."""

    cache: Path
    state: Path

    @property
    def bin(self) -> Path:
        """The built programs, in a folder of their versions."""
        return self.cache / f"bin-kubernetes-{KUBERNETES_VERSION}-helm-{HELM_VERSION}"

    @property
    def images(self) -> Path:
        """Built images: see layout.py."""
        return self.cache / "images"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig: the stable path that users are told."""
        return self.state / "kubeconfig"

    @property
    def volumes(self) -> Path:
        """Folders behind persistent volumes."""
        return self.state / "volumes"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log: one JSON object per finished request."""
        return self.state / "audit" / "audit.log"

    @property
    def containerd_socket(self) -> Path:
        """Where containerd listens."""
        return self.state / "containerd" / "containerd.sock"


def folders() -> Folders:
    """The folders in force, from the environment or their defaults."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Folders(
        cache=Path(os.environ.get("TRITON_OPERATOR_CACHE") or home / "triton-operator"),
        state=Path(
            os.environ.get("TRITON_OPERATOR_CLUSTER_STATE") or "/var/lib/triton-operator-cluster"
        ),
    )
