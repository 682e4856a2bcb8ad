"""Requests to the Kubernetes API as plain JSON.

The official client brings authentication, TLS and pooling. Its typed models are passed by: they
refuse partial objects, and building one for every answer costs more than the request.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config

from triton_operator import names
from triton_operator.errors import ClusterError, NamespaceTerminatingError
from triton_operator.observed import AUTOSCALER

if TYPE_CHECKING:
    from triton_operator.adapters.telemetry import PrometheusTelemetry

APPLY = "application/apply-patch+yaml"
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

NO_ANSWER = (TimeoutError, OSError, aiohttp.ClientError)
"""What a request raises that no answer comes to."""

_TIMEOUT_SECONDS = 30.0
_CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Kind:
    """Where objects of a kind live in the API."""

    api: str
    """Group and version, as in ``apiVersion``."""
    plural: str

    def path(self, namespace: str = "", name: str = "", *, subresource: str = "") -> str:
        """Return the path of an object, of a collection, or of one in all namespaces."""
        root = "/api" if "/" not in self.api else "/apis"
        parts = (f"namespaces/{namespace}" if namespace else "", self.plural, name, subresource)
        return "/".join((root, self.api, *filter(None, parts)))


KINDS: Mapping[str, Kind] = {
    names.KIND_MODEL: Kind(names.API_VERSION, names.PLURAL_MODEL),
    names.KIND_SERVER: Kind(names.API_VERSION, names.PLURAL_SERVER),
    "ConfigMap": Kind("v1", "configmaps"),
    "Deployment": Kind("apps/v1", "deployments"),
    "Event": Kind("events.k8s.io/v1", "events"),
    AUTOSCALER: Kind("autoscaling/v2", "horizontalpodautoscalers"),
    "Job": Kind("batch/v1", "jobs"),
    "NetworkPolicy": Kind("networking.k8s.io/v1", "networkpolicies"),
    "PersistentVolumeClaim": Kind("v1", "persistentvolumeclaims"),
    "Pod": Kind("v1", "pods"),
    "PodDisruptionBudget": Kind("policy/v1", "poddisruptionbudgets"),
    "Secret": Kind("v1", "secrets"),
    "Service": Kind("v1", "services"),
}


class KubeApi:
    """A connection to the API server; without telemetry its requests are not counted."""

    def __init__(
        self, api: client.ApiClient, telemetry: "PrometheusTelemetry | None" = None
    ) -> None:
        self._api = api
        self._telemetry = telemetry

    @classmethod
    async def connect(
        cls,
        telemetry: "PrometheusTelemetry | None" = None,
        *,
        fence: Callable[[], None] = lambda: None,
    ) -> "KubeApi":
        """Connect as the pod's service account, or as the kubeconfig says.

        ``fence`` is called before each request that may change something, and stops it by raising.
        """
        settings = client.Configuration()
        settings.trace_configs = [fenced(fence)]
        settings.connection_pool_maxsize = _CONNECTIONS
        # By default every request reads ~/.netrc, in a thread; kopf's watches do not look at the
        # environment either.
        settings.client_session_kwargs = {"trust_env": False}
        try:
            config.load_incluster_config(client_configuration=settings)
        except config.ConfigException:
            await config.load_kube_config(client_configuration=settings)
        return cls(client.ApiClient(settings), telemetry)

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content_type: str = JSON,
        timeout_seconds: float = _TIMEOUT_SECONDS,
        **query: str | int,
    ) -> Any:
        """Return the JSON answer to a request.

        Raises
        ------
        ClusterError
            The API server refused, or did not answer in time.

        """
        text = await self.read(
            method,
            path,
            body=body,
            content_type=content_type,
            timeout_seconds=timeout_seconds,
            **query,
        )
        return json.loads(text)

    async def read(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content_type: str = JSON,
        timeout_seconds: float = _TIMEOUT_SECONDS,
        **query: str | int,
    ) -> str:
        """Return the answer to a request as text; see :meth:`request`."""
        headers = {"Accept": "application/json", "Content-Type": content_type}
        url = f"{self._api.configuration.host}{path}{'?' if query else ''}{urlencode(query)}"
        begun, code = time.monotonic(), None
        try:
            await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            response = await self._api.call_api(
                method, url, header_params=headers, body=body, _request_timeout=timeout_seconds
            )
            text, code = str((await response.read()).decode()), int(response.status)
        except NO_ANSWER as error:
            raise unanswered(method, path, error) from error
        finally:
            if self._telemetry is not None:
                seconds = time.monotonic() - begun
                self._telemetry.requested(*_permission(method, path), code, seconds)
        if code >= 400:  # noqa: PLR2004 - HTTP's own boundary
            raise _refusal(method, path, code, text)
        return text


def unanswered(method: str, path: str, error: Exception) -> ClusterError:
    """Return what a request failed with that no answer came to."""
    what = f"{type(error).__name__} {error}".strip()
    return ClusterError(method, path, status=None, message=what)


def fenced(fence: Callable[[], None]) -> aiohttp.TraceConfig:
    """Have ``fence`` called right before the bytes of a write go out.

    Earlier would leave time in between: for a free connection, or a new one.
    """

    async def remember(_: Any, request: SimpleNamespace, begun: Any) -> None:
        request.writes = begun.method != "GET"

    async def check(_: Any, request: SimpleNamespace, __: Any) -> None:
        if request.writes:
            fence()

    traced = aiohttp.TraceConfig()
    traced.on_request_start.append(remember)
    traced.on_connection_create_end.append(check)
    traced.on_connection_reuseconn.append(check)
    return traced


def _permission(method: str, path: str) -> tuple[str, str]:
    """Return verb and resource of a request as RBAC spells them, say ``get`` and ``pods/log``.

    What is asked about the API itself has its path for a resource.
    """
    _, root, *rest = path.split("/")
    rest = rest[1:] if root == "api" else rest[2:]
    if not rest:
        return "get", path
    if rest[0] == "namespaces" and len(rest) > 2:  # noqa: PLR2004 - else it is a namespace itself
        rest = rest[2:]
    plural, *name = rest
    verb = ("get" if name else "list") if method == "GET" else _VERBS[method]
    return verb, "/".join((plural, *name[1:]))


def _refusal(method: str, path: str, code: int, text: str) -> ClusterError:
    """Return what an answer means that is none of those that were hoped for."""
    try:
        answer = json.loads(text)
        message = str(answer["message"])
    except (ValueError, KeyError, TypeError):
        return ClusterError(method, path, status=code, message=text[:500])
    match answer:
        case {"details": {"causes": [*causes]}} if any(map(_is_of_leaving_namespace, causes)):
            return NamespaceTerminatingError(method, path, status=code, message=message)
    return ClusterError(method, path, status=code, message=message)


def _is_of_leaving_namespace(cause: Mapping[str, Any]) -> bool:
    return cause.get("reason") == "NamespaceTerminating"
