"""`triton_operator.ports.ModelServers` over Triton's own clients.

Connections are opened for a question and closed after it: one idle connection is enough to make a
pod that leaves burn its whole exit budget.

Questions go over HTTP, loads and unloads over gRPC: a thread of Triton's HTTP server that loads a
model answers nobody else, and clients that keep a connection to it wait until the load has ended.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
from tritonclient.grpc import aio as grpc
from tritonclient.http import aio as http
from tritonclient.utils import InferenceServerException

from triton_operator.desired.control_key import HEADER
from triton_operator.desired.service import GRPC_PORT, HTTP_PORT
from triton_operator.errors import ServerUnreachableError
from triton_operator.observed import READY, Pod, Served, ServedModel, ServedVersion
from triton_operator.repository.config_pbtxt import hash_of, steps_in, tensors_in

_QUESTION_SECONDS = 5.0
_PARALLEL = 8
_METADATA = f"triton-grpc-protocol-{HEADER}"
_NO_ANSWER = ("StatusCode.UNAVAILABLE", "StatusCode.CANCELLED")
"""What a gRPC call ends with whose server cannot be reached, is gone, or does not let us in."""
_CHANNEL = (
    ("grpc.enable_http_proxy", 0),  # pods are never behind one
    ("grpc.use_local_subchannel_pool", 1),  # a refused connection holds back no later one
    # A refusal is told in a header, and may have the whole traceback of a model.
    ("grpc.max_metadata_size", 1 << 20),
    ("grpc.absolute_max_metadata_size", 1 << 20),
)

T = TypeVar("T")


class TritonPods:
    """Triton's APIs on single pods."""

    def __init__(
        self,
        http_port: int = HTTP_PORT,
        grpc_port: int = GRPC_PORT,
        *,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        """``fence`` is called before each request that changes a pod, and stops it by raising."""
        self._http_port = http_port
        self._grpc_port = grpc_port
        self._fence = fence

    async def observe(self, pod: Pod, key: str) -> Served:
        """Return what a pod serves, and the config hash of what is ready.

        The repository index knows what failed and why, but only of models whose folder is there;
        the statistics know every model that is loaded, also when its folder is gone.
        """
        async with self._asking(pod) as client:
            index, statistics = await asyncio.gather(
                _ask(pod, client.get_model_repository_index, headers={HEADER: key}),
                _ask(pod, client.get_inference_statistics),
            )
            versions: dict[str, dict[str, ServedVersion]] = {}
            for entry in statistics["model_stats"]:
                loaded = ServedVersion(str(entry["version"]), READY)
                versions.setdefault(str(entry["name"]), {})[loaded.version] = loaded
            for entry in index:
                listed = ServedVersion(
                    version=str(entry.get("version", "")),
                    state=str(entry.get("state", "")),
                    reason=str(entry.get("reason", "")),
                )
                versions.setdefault(str(entry["name"]), {})[listed.version] = listed
            limit = asyncio.Semaphore(_PARALLEL)

            async def describe(name: str) -> ServedModel:
                found = tuple(versions[name].values())
                if not any(version.state == READY for version in found):
                    return ServedModel(found)
                async with limit:
                    config = await _config(pod, client, name)
                return ServedModel(found, hash_of(config), tensors_in(config), steps_in(config))

            models = await asyncio.gather(*map(describe, versions))
            return dict(zip(versions, models, strict=True))

    async def load(self, pod: Pod, key: str, model: str, *, timeout_seconds: float) -> str | None:
        """Make a pod load a model; return Triton's refusal, or None if it claims success."""
        async with self._telling(pod, timeout_seconds) as client:
            return await _tell(pod, client.load_model, model, headers={_METADATA: key})

    async def unload(self, pod: Pod, key: str, model: str) -> str | None:
        """Make a pod unload a model; return Triton's refusal, or None if it claims success."""
        async with self._telling(pod, _QUESTION_SECONDS) as client:
            return await _tell(pod, client.unload_model, model, headers={_METADATA: key})

    @asynccontextmanager
    async def _asking(self, pod: Pod) -> AsyncIterator[http.InferenceServerClient]:
        address = f"{_host(pod)}:{self._http_port}"
        client = http.InferenceServerClient(address, conn_timeout=_QUESTION_SECONDS)
        try:
            yield client
        finally:
            await client.close()

    @asynccontextmanager
    async def _telling(self, pod: Pod, seconds: float) -> AsyncIterator[grpc.InferenceServerClient]:
        self._fence()
        address = f"{_host(pod)}:{self._grpc_port}"
        client = grpc.InferenceServerClient(address, channel_args=_CHANNEL)
        try:
            async with asyncio.timeout(seconds):
                yield client
        except TimeoutError as error:
            raise ServerUnreachableError(f"{_name(pod)}: no answer in {seconds:g} s") from error
        finally:
            await client.close()


def _host(pod: Pod) -> str:
    return f"[{pod.ip}]" if ":" in pod.ip else pod.ip


def _name(pod: Pod) -> str:
    return f"pod {pod.name} ({pod.ip})"


async def _config(pod: Pod, client: http.InferenceServerClient, model: str) -> Mapping[str, Any]:
    """Return the config that a pod serves a model with; empty if it serves it no more."""
    try:
        config: Mapping[str, Any] = await _ask(pod, client.get_model_config, model)
    except ServerUnreachableError as error:
        if isinstance(error.__cause__, InferenceServerException):
            # Unloaded since the index was read.
            return {}
        raise
    return config


async def _ask(pod: Pod, call: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kw: Any) -> T:
    try:
        return await call(*args, **kw)
    except (
        TimeoutError,
        OSError,
        ValueError,  # an answer that is no JSON, such as a proxy's page
        aiohttp.ClientError,
        InferenceServerException,
    ) as error:
        what = str(error) or type(error).__name__
        raise ServerUnreachableError(f"{_name(pod)}: {what}") from error


async def _tell(
    pod: Pod, call: Callable[..., Coroutine[Any, Any, None]], *args: Any, **kw: Any
) -> str | None:
    try:
        await call(*args, **kw)
    except InferenceServerException as error:
        if error.status() in _NO_ANSWER:
            raise ServerUnreachableError(f"{_name(pod)}: {error.message()}") from error
        return str(error.message())
    return None
