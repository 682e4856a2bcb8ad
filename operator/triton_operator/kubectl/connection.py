"""The user's way to the cluster: the kubeconfig, as kubectl reads it.

Pods and Services are reached through the API server's proxy, so that everything works from any
machine that kubectl works from.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import yaml
from kubernetes.aio import client, config

from triton_operator.adapters.api_client import KINDS, NO_ANSWER, KubeApi, unanswered
from triton_operator.errors import ClusterError
from triton_operator.kubectl.errors import PluginError
from triton_operator.observed import Body

_DEFAULT_NAMESPACE = "default"
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_CONNECT_SECONDS = 10.0
_UNUSABLE = (
    config.ConfigException,
    OSError,
    yaml.YAMLError,
    # An empty file, or a list where a mapping should be: the library does not look.
    *(AttributeError, KeyError, TypeError, ValueError),
)
"""What a kubeconfig that cannot be used makes the library raise."""
_ERROR = 400
_SHOWN = 500
"""Characters of an answer that nobody can read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for bytes that were sent; ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether it is what was asked for."""
        return self.status < _ERROR

    @property
    def is_status(self) -> bool:
        """Whether it is the API server's own word rather than that of a pod behind it."""
        return self._parsed().get("kind") == "Status"

    @property
    def error(self) -> str:
        """The message of a refusal: Triton's, the API server's, or the text as it is."""
        said = self._parsed()
        text = self.body.decode(errors="replace")[:_SHOWN]
        return str(said.get("error") or said.get("message") or text or f"HTTP {self.status}")

    def _parsed(self) -> Mapping[str, Any]:
        try:
            said = json.loads(self.body)
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}


class Connection:
    """A connection to the cluster of a kubeconfig's context."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self.api = KubeApi(api)
        """For objects."""
        self.namespace = namespace
        """The namespace of what names none."""
        self._api = api

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = 30.0,
    ) -> Answer:
        """Send bytes to a path of the API server; refusals of what is behind it are answers, too.

        Raises
        ------
        ClusterError
            The API server itself refused, or there was no answer in time.

        """
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT_SECONDS)
        try:
            response = await self._open(method, path, body, headers or {}, timeout)
            data = await response.read()
        except NO_ANSWER as error:
            raise unanswered(method, path, error) from error
        found = {name.lower(): value for name, value in response.headers.items()}
        answer = Answer(response.status, found, data)
        if not answer.ok and answer.is_status:
            raise ClusterError(method, path, status=answer.status, message=answer.error)
        return answer

    async def list_objects(self, kind: str, namespace: str, selector: str = "") -> list[Body]:
        """Return the objects of a namespace, or of all for an empty one; those with these labels.

        Raises
        ------
        ClusterError
            The API server refused or did not answer.

        """
        path = KINDS[kind].path(namespace)
        answer = await self.api.request("GET", path, labelSelector=selector)
        return list(answer["items"])

    async def log(
        self, namespace: str, pod: str, container: str, **query: str
    ) -> AsyncIterator[str]:
        """Yield the lines of a log as they come, for as long as they come.

        Raises
        ------
        ClusterError
            The API server refused or does not answer any more.

        """
        sent = urlencode({"container": container, **query})
        path = f"{KINDS['Pod'].path(namespace, pod, subresource='log')}?{sent}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        try:
            opened = await self._open("GET", path, None, {}, timeout)
            if opened.status >= _ERROR:
                message = Answer(opened.status, {}, await opened.read()).error
                raise ClusterError("GET", path, status=opened.status, message=message)
            rest = b""
            async for chunk in opened.response.content.iter_any():
                # Not by aiohttp's own lines, which may not be longer than its buffer.
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line.decode(errors="replace")
            if rest:
                yield rest.decode(errors="replace")
        except NO_ANSWER as error:
            raise unanswered("GET", path, error) from error

    async def _open(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        limit: aiohttp.ClientTimeout,
    ) -> Any:
        sent = {"Content-Type": "application/octet-stream", **headers}
        host = self._api.configuration.host
        await self._api.update_params_for_auth(sent, [], ["BearerToken"], path, method, body)
        return await self._api.call_api(
            method,
            f"{host}{path}",
            header_params=sent,
            body=body if body is not None else b"",
            _request_timeout=limit,
        )


def proxy_path(kind: str, namespace: str, name: str, port: str | int, path: str) -> str:
    """Return the path by which the API server passes a request on to a Pod or Service."""
    return f"{KINDS[kind].path(namespace, f'{name}:{port}', subresource='proxy')}{path}"


@asynccontextmanager
async def connect(context: str = "", namespace: str = "") -> AsyncIterator[Connection]:
    """Connect as kubectl does: by the kubeconfig, or inside a pod by its service account.

    Raises
    ------
    PluginError
        There is no cluster to connect to.

    """
    settings = client.Configuration()
    chosen = await _load(settings, context)
    api = client.ApiClient(settings)
    try:
        yield Connection(api, namespace or chosen or _DEFAULT_NAMESPACE)
    finally:
        await api.close()
        # What aiohttp has to say goodbye to over TLS would be a warning otherwise.
        await asyncio.sleep(0)


async def _load(settings: client.Configuration, context: str) -> str:
    """Fill in how to connect; return the namespace that goes with it, if any."""
    try:
        loader = await config.load_kube_config(
            context=context or None, client_configuration=settings, persist_config=False
        )
        return str(loader.current_context["context"].get("namespace") or "")
    except _UNUSABLE as error:
        namespace = "" if context else _load_service_account(settings)
        if namespace:
            return namespace
        raise PluginError(
            f"there is no cluster to talk to: {error}; set KUBECONFIG to the file that kubectl"
            " uses, and choose one of its contexts with --context"
        ) from error


def _load_service_account(settings: client.Configuration) -> str:
    """Fill in how a pod connects and return its namespace; empty outside of pods."""
    try:
        config.load_incluster_config(client_configuration=settings)
        return _SERVICE_ACCOUNT.read_text(encoding="utf-8").strip()
    except (config.ConfigException, OSError):
        return ""
