"""The container that runs Triton: its arguments, its environment, its probes."""

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from triton_operator import names
from triton_operator.api.quantity import quantity_bytes
from triton_operator.api.server import TritonServer
from triton_operator.desired.control_key import ENTRY, HEADER
from triton_operator.desired.pod_security import build_container_security
from triton_operator.desired.service import GRPC_PORT, HTTP_PORT, METRICS_PORT
from triton_operator.repository.layout import Layout
from triton_operator.repository.manifest import LINKS

REPOSITORY_MOUNT = "/repository"
CACHE_DIRECTORY = "/opt/tritonserver/caches"
EXIT_TIMEOUT_SECONDS = 30
"""What Triton itself may take to finish requests once it got SIGTERM."""
_STARTUP_PERIOD_SECONDS = 1
"""The shortest there is: a pod that has started answers nobody until the kubelet has asked it."""
_READINESS_PERIOD_SECONDS = 2

_CLOSED_APIS = "model-repository,logging,trace,shared-memory"
_EXPLICIT: tuple[str, ...] = (
    "--model-control-mode=explicit",
    "--load-model=*",
    "--exit-on-error=false",
    # Readiness of the server as a whole; one model's state must not decide for all.
    "--strict-readiness=false",
)
_IMMUTABLE: tuple[str, ...] = (
    "--model-control-mode=none",
    # Strict readiness does not see every model that failed: an ensemble that does not fit together
    # and a config that cannot be read leave the server ready. So it must not come up at all.
    "--exit-on-error=true",
    "--strict-readiness=true",
)
_START = f"""\
trap 'exit 0' TERM
until [ -d "$0" ]; do sleep 0.2; done
case "${names.ENV_POD_IP}" in *:*) set -- --http-address=ipv6::: "$@";; esac
exec tritonserver "$@"
"""
"""Triton ends at once when its repository does not exist. The first sync Job makes the folder
together with all that is in it, so a pod that starts beside that Job waits for it here.

Triton's HTTP and metrics listen on IPv4 or on IPv6, never on both (its gRPC does); the metrics do
as HTTP does. Kubelet and operator ask at the pod's first address."""


def build_container(
    server: TritonServer, image: str, secret: str, probe_model: str | None, repository: str
) -> dict[str, Any]:
    """Return the container that runs Triton.

    ``secret`` holds the key of the model-control API; ``probe_model`` is the model without which
    the pod is not ready, None for none; ``repository`` a revision of the repository, or LINKS.
    """
    spec, layout = server.spec, Layout(Path(REPOSITORY_MOUNT))
    if repository == LINKS:
        folder, mode = layout.server(server.metadata.name), _EXPLICIT
    else:
        folder, mode = layout.revision(server.metadata.name, repository), _IMMUTABLE
    ready = f"/v2/models/{probe_model}/ready" if probe_model else "/v2/health/ready"
    container: dict[str, Any] = {
        "name": names.CONTAINER_TRITON,
        "image": image,
        # No `command`: the entrypoint of NVIDIA's images prepares CUDA's compatibility libraries.
        "args": ["/bin/sh", "-c", _START, str(folder), *_build_arguments(server, folder, mode)],
        "env": _build_environment(server, secret),
        "ports": [
            _port("http", HTTP_PORT),
            _port("grpc", GRPC_PORT),
            _port("metrics", METRICS_PORT),
        ],
        "resources": _build_resources(server),
        "securityContext": build_container_security(),
        # The last words of a server that crashes are in the pod's status, for ours to quote.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        # Ports open only after the start-up models are loaded: this probe alone may wait so long.
        "startupProbe": {
            **_http_get("/v2/health/live"),
            "periodSeconds": _STARTUP_PERIOD_SECONDS,
            "failureThreshold": spec.startup_timeout_seconds // _STARTUP_PERIOD_SECONDS,
        },
        "livenessProbe": {
            **_http_get("/v2/health/live"),
            "periodSeconds": 10,
            "failureThreshold": 6,
        },
        "readinessProbe": {
            **_http_get(ready),
            "periodSeconds": _READINESS_PERIOD_SECONDS,
            "failureThreshold": 3,
        },
        "volumeMounts": [
            {"name": "repository", "mountPath": REPOSITORY_MOUNT, "readOnly": True},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
            {"name": "tmp", "mountPath": "/tmp"},
            *deepcopy(spec.pod_template.volume_mounts),
        ],
    }
    if spec.image_pull_policy:
        container["imagePullPolicy"] = spec.image_pull_policy
    if spec.drain_seconds:
        # The endpoint goes first, SIGTERM comes last: Triton refuses requests once it has it.
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": spec.drain_seconds}}}
    return container


def _build_environment(server: TritonServer, secret: str) -> list[dict[str, Any]]:
    key = {"name": secret, "key": ENTRY}
    variables: list[dict[str, Any]] = [
        {"name": names.ENV_CONTROL_KEY, "valueFrom": {"secretKeyRef": key}},
        {"name": names.ENV_POD_IP, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    if not server.spec.gpus:
        # With GPUs it is the device plugin's to set: ours would replace it.
        variables.append({"name": names.ENV_GPUS, "value": names.NO_GPUS})
    if all(each.name != "HOME" for each in server.spec.env):
        variables.append({"name": "HOME", "value": "/tmp"})
    ours = {each["name"] for each in variables}
    return [*variables, *(each.manifest() for each in server.spec.env if each.name not in ours)]


def _build_arguments(server: TritonServer, folder: Path, mode: Iterable[str]) -> list[str]:
    spec = server.spec
    key = f"{HEADER}=$({names.ENV_CONTROL_KEY})"
    arguments = [
        f"--model-repository={folder}",
        *mode,
        f"--http-restricted-api={_CLOSED_APIS}:{key}",
        f"--grpc-restricted-protocol={_CLOSED_APIS}:{key}",
        "--allow-sagemaker=false",
        "--allow-vertex-ai=false",
        f"--exit-timeout-secs={EXIT_TIMEOUT_SECONDS}",
    ]
    if spec.drain_seconds:
        # gRPC clients are asked to connect anew before the drain ends, and new replicas get their
        # share. Requests that are under way then have all the time that they take.
        arguments.append(f"--grpc-max-connection-age={spec.drain_seconds * 1000 * 2 // 3}")
    if spec.response_cache is not None:
        arguments += [
            f"--cache-config=local,size={quantity_bytes(spec.response_cache.size)}",
            f"--cache-directory={CACHE_DIRECTORY}",
        ]
    if spec.log_verbosity:
        arguments.append(f"--log-verbose={spec.log_verbosity}")
    return [*arguments, *spec.args]


def _build_resources(server: TritonServer) -> dict[str, Any]:
    spec = server.spec
    limits = dict(spec.resources.limits)
    if spec.gpus:
        limits[spec.gpu_resource_name] = str(spec.gpus)
    parts = {"requests": dict(spec.resources.requests), "limits": limits}
    return {name: amounts for name, amounts in parts.items() if amounts}


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def _http_get(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": 5}
