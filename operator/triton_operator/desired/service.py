"""The Services in front of a server's pods."""

from typing import Any

from triton_operator.api.server import TritonServer
from triton_operator.desired.metadata import ChildNames, Manifest, build_metadata, build_selector

HTTP_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 8002


def build_service(server: TritonServer) -> Manifest:
    """Return the Service that clients connect to."""
    options = server.spec.service
    metadata = build_metadata(server.metadata, ChildNames(server.metadata.name).service, "server")
    if options.annotations:
        metadata["annotations"] = dict(options.annotations)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"type": options.type, **_ports_and_pods(server)},
    }


def build_headless_service(server: TritonServer) -> Manifest | None:
    """Return the Service whose name resolves to every ready pod; None when not asked for."""
    if not server.spec.service.headless:
        return None
    name = ChildNames(server.metadata.name).headless_service
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": build_metadata(server.metadata, name, "server"),
        "spec": {"clusterIP": "None", **_ports_and_pods(server)},
    }


def _ports_and_pods(server: TritonServer) -> dict[str, Any]:
    return {
        "selector": build_selector(server.metadata.name),
        "ports": [
            _port("http", HTTP_PORT, "http"),
            _port("grpc", GRPC_PORT, "kubernetes.io/h2c"),
            _port("metrics", METRICS_PORT, "http"),
        ],
    }


def _port(name: str, port: int, protocol: str) -> dict[str, Any]:
    return {
        "name": name,
        "port": port,
        "protocol": "TCP",
        "targetPort": name,
        "appProtocol": protocol,
    }
