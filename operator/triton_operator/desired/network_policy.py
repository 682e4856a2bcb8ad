"""The NetworkPolicy that says who may connect to a server's pods."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from triton_operator.api.server import TritonServer
from triton_operator.desired.metadata import ChildNames, Manifest, build_metadata, build_selector
from triton_operator.desired.service import GRPC_PORT, HTTP_PORT, METRICS_PORT
from triton_operator.settings import ServerAccess


def build_network_policy(server: TritonServer, access: ServerAccess) -> Manifest:
    """Return the NetworkPolicy of a server; what its pods connect to is not restricted.

    The kubelet's probes pass it: a node may always reach the pods that run on it.
    """
    name = ChildNames(server.metadata.name).network_policy
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": build_metadata(server.metadata, name, "server"),
        "spec": {
            "podSelector": {"matchLabels": build_selector(server.metadata.name)},
            "policyTypes": ["Ingress"],
            "ingress": [
                _allow(access.clients, HTTP_PORT, GRPC_PORT),
                # It asks each pod what it serves, has it load models, and reads how busy it is.
                _allow(access.operator, HTTP_PORT, GRPC_PORT, METRICS_PORT),
                *([_allow(access.scrapers, METRICS_PORT)] if access.scrapers else []),
            ],
        },
    }


def _allow(peers: Iterable[Mapping[str, Any]], *ports: int) -> dict[str, Any]:
    """Return a rule that lets peers in; everybody where there are none."""
    rule: dict[str, Any] = {"ports": [{"port": port, "protocol": "TCP"} for port in ports]}
    if peers:
        rule["from"] = [deepcopy(dict(peer)) for peer in peers]
    return rule
