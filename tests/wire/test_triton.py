"""The adapter to Triton against servers of HTTP and gRPC that answer as Triton was measured to."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from aiohttp import web
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.wire.servers import LOOPBACK, serving
from triton_operator.adapters import triton
from triton_operator.adapters.triton import TritonPods
from triton_operator.errors import ServerUnreachableError
from triton_operator.names import CONFIG_HASH_PARAMETER
from triton_operator.observed import Pod

KEY = "secret"
POD = Pod(name="vision-1", ip="127.0.0.1")
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class FakeTriton:
    """Answers by method and path; what is not there answers 404."""

    pods: TritonPods
    index: list[dict[str, str]] = field(default_factory=list)
    statistics: list[dict[str, str]] = field(default_factory=list)
    configs: dict[str, str | None] = field(default_factory=dict)
    """Hash by model; None for a config without one."""
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    open: int = 0
    most_open: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            return await self._answer(request)
        finally:
            self.open -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if (answer := self.answers.get(request.path)) is not None:
            return await answer(request)
        closed = request.path.startswith("/v2/repository")
        if closed and request.headers.get("triton-operator-key") != KEY:
            return error(403, "This API is restricted, expecting header 'triton-operator-key'")
        match request.path.strip("/").split("/"):
            case ["v2", "repository", "index"]:
                return web.json_response(self.index)
            case ["v2", "models", "stats"]:
                return web.json_response({"model_stats": self.statistics})
            case ["v2", "models", name, "config"] if name in self.configs:
                await asyncio.sleep(0.005)
                return web.json_response(config(self.configs[name]))
        return error(404, f"unknown {request.path}")


def config(found: str | None) -> dict[str, Any]:
    parameters = {CONFIG_HASH_PARAMETER: {"string_value": found}} if found else {}
    return {"name": "m", "parameters": parameters}


def error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def answering(status: int, message: str) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return error(status, message)

    return answer


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def never(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


@dataclass
class FakeControl(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Loads and unloads whatever it is told to, or answers as ``answer`` does."""

    pods: TritonPods = field(default_factory=TritonPods)
    answer: Callable[[grpc.aio.ServicerContext], Awaitable[None]] | None = None
    told: list[str] = field(default_factory=list)

    async def RepositoryModelLoad(  # noqa: N802 - Triton's name
        self, request: service_pb2.RepositoryModelLoadRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.RepositoryModelLoadResponse:
        await self._take(f"load {request.model_name}", context)
        return service_pb2.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(  # noqa: N802 - Triton's name
        self, request: service_pb2.RepositoryModelUnloadRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.RepositoryModelUnloadResponse:
        await self._take(f"unload {request.model_name}", context)
        return service_pb2.RepositoryModelUnloadResponse()

    async def _take(self, what: str, context: grpc.aio.ServicerContext) -> None:
        given = dict(context.invocation_metadata() or ())
        name = "triton-grpc-protocol-triton-operator-key"
        if given.get(name) != KEY:
            words = f"This protocol is restricted, expecting header '{name}'"
            await context.abort(grpc.StatusCode.UNAVAILABLE, words)
        self.told.append(what)
        if self.answer is not None:
            await self.answer(context)


@pytest.fixture
async def server() -> AsyncIterator[FakeTriton]:
    state = FakeTriton(TritonPods())
    async with serving(state.handle) as url:
        state.pods = TritonPods(int(url.rpartition(":")[2]))
        yield state


@pytest.fixture
async def control() -> AsyncIterator[FakeControl]:
    state, server = FakeControl(), grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(state, server)
    state.pods = TritonPods(grpc_port=server.add_insecure_port(f"{LOOPBACK}:0"))
    await server.start()
    yield state
    await server.stop(None)


def listed(name: str, version: str = "", state: str = "", reason: str = "") -> dict[str, str]:
    given = {"name": name, "version": version, "state": state, "reason": reason}
    return {key: value for key, value in given.items() if value}


async def test_what_a_pod_serves_is_what_its_own_config_says(server: FakeTriton) -> None:
    server.index = [listed("resnet", "1", "READY"), listed("bert", "3", "READY")]
    server.statistics = [{"name": "resnet", "version": "1"}, {"name": "bert", "version": "3"}]
    server.configs = {"resnet": "abc", "bert": None}

    found = await server.pods.observe(POD, KEY)

    assert found["resnet"].config_hash == "abc"
    assert found["resnet"].ready_versions == (1,)
    assert found["bert"].config_hash is None


async def test_an_ensemble_says_which_versions_its_steps_ask_for(server: FakeTriton) -> None:
    async def answer(_: web.Request) -> web.Response:
        step = {"model_name": "resnet", "model_version": 2, "input_map": {"x": "X"}}
        return web.json_response(config("abc") | {"ensemble_scheduling": {"step": [step]}})

    server.index = [listed("whole", "1", "READY"), listed("resnet", "2", "READY")]
    server.configs = {"resnet": "def"}
    server.answers["/v2/models/whole/config"] = answer

    found = await server.pods.observe(POD, KEY)

    assert found["whole"].steps == {("resnet", 2)}
    assert found["resnet"].steps == frozenset()


async def test_what_failed_is_told_with_its_reason_and_not_asked_for_its_config(
    server: FakeTriton,
) -> None:
    server.index = [
        listed("resnet", "1", "READY"),
        listed("resnet", "2", "UNAVAILABLE", "Internal: boom"),
        listed("broken", "1", "UNAVAILABLE", "Internal: no class"),
        listed("gone", "1", "UNAVAILABLE", "unloaded"),
        listed("ensemble"),
    ]
    server.configs = {"resnet": "abc"}

    found = await server.pods.observe(POD, KEY)

    assert found["resnet"].ready_versions == (1,)
    assert found["resnet"].reason == "Internal: boom"
    assert (found["broken"].config_hash, found["broken"].reason) == (None, "Internal: no class")
    assert (found["gone"].ready_versions, found["gone"].reason) == ((), "")
    assert found["ensemble"].ready_versions == ()
    assert [path for path in server.asked if path.endswith("config")] == [
        "GET /v2/models/resnet/config"
    ]


async def test_a_model_whose_folder_is_gone_is_found_by_its_statistics(server: FakeTriton) -> None:
    server.statistics = [{"name": "orphan", "version": "1"}]
    server.configs = {"orphan": "old"}

    found = await server.pods.observe(POD, KEY)

    assert found["orphan"].ready_versions == (1,)
    assert found["orphan"].config_hash == "old"


async def test_a_model_that_goes_while_it_is_asked_for_is_not_served(server: FakeTriton) -> None:
    server.index = [listed("resnet", "1", "READY")]
    server.answers["/v2/models/resnet/config"] = answering(400, "has no available versions")

    assert (await server.pods.observe(POD, KEY))["resnet"].config_hash is None


async def test_many_models_are_not_asked_all_at_once(server: FakeTriton) -> None:
    names = [f"model-{n}" for n in range(40)]
    server.index = [listed(name, "1", "READY") for name in names]
    server.configs = dict.fromkeys(names, "abc")

    found = await server.pods.observe(POD, KEY)

    assert [model.config_hash for model in found.values()] == ["abc"] * 40
    assert server.most_open <= 8


async def test_a_wrong_key_is_refused(server: FakeTriton, control: FakeControl) -> None:
    with pytest.raises(ServerUnreachableError, match=r"vision-1 .*restricted"):
        await server.pods.observe(POD, "wrong")
    with pytest.raises(ServerUnreachableError, match=r"vision-1 .*restricted"):
        await control.pods.load(POD, "wrong", "resnet", timeout_seconds=5)
    with pytest.raises(ServerUnreachableError, match=r"vision-1 .*restricted"):
        await control.pods.unload(POD, "wrong", "resnet")
    assert control.told == []


async def test_a_load_that_is_taken_says_nothing(control: FakeControl) -> None:
    assert await control.pods.load(POD, KEY, "resnet", timeout_seconds=5) is None
    assert await control.pods.unload(POD, KEY, "resnet") is None
    assert control.told == ["load resnet", "unload resnet"]


@pytest.mark.parametrize("proxy", ["http_proxy", "grpc_proxy"])
async def test_a_pod_is_not_looked_for_behind_a_proxy(
    control: FakeControl, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(proxy, f"http://{LOOPBACK}:1")

    assert await control.pods.load(POD, KEY, "resnet", timeout_seconds=5) is None


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT])
async def test_a_load_that_is_refused_says_why_in_tritons_words(
    control: FakeControl, code: grpc.StatusCode
) -> None:
    message = "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: boom\n;\n"
    control.answer = lambda context: context.abort(code, message)

    assert await control.pods.load(POD, KEY, "m", timeout_seconds=5) == message


async def test_a_refusal_may_be_as_long_as_a_traceback(control: FakeControl) -> None:
    message = "Traceback é\n" + "  File, line\n" * 10_000
    control.answer = lambda context: context.abort(grpc.StatusCode.INTERNAL, message)

    assert await control.pods.load(POD, KEY, "m", timeout_seconds=5) == message


@pytest.mark.parametrize("path", ["/v2/repository/index", "/v2/models/stats"])
async def test_a_pod_that_hangs_up_is_unreachable(server: FakeTriton, path: str) -> None:
    server.answers[path] = hang_up

    with pytest.raises(ServerUnreachableError, match="vision-1"):
        await server.pods.observe(POD, KEY)


async def test_a_server_that_dies_of_a_load_is_unreachable() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    dying = await asyncio.start_server(hang_up, LOOPBACK, 0)
    async with dying, asyncio.timeout(5):
        pods = TritonPods(grpc_port=dying.sockets[0].getsockname()[1])
        with pytest.raises(ServerUnreachableError, match="vision-1"):
            await pods.load(POD, KEY, "m", timeout_seconds=4)


async def test_a_load_that_never_answers_ends_with_its_time(control: FakeControl) -> None:
    control.answer = lambda _: asyncio.sleep(60)

    async with asyncio.timeout(5):
        with pytest.raises(ServerUnreachableError, match=r"vision-1 .*no answer in 0\.1 s"):
            await control.pods.load(POD, KEY, "m", timeout_seconds=0.1)


async def test_a_pod_that_is_slow_to_answer_a_question_is_unreachable(
    server: FakeTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton, "_QUESTION_SECONDS", 0.1)
    server.index = [listed("resnet", "1", "READY")]
    server.answers["/v2/models/resnet/config"] = never

    async with asyncio.timeout(5):
        with pytest.raises(ServerUnreachableError):
            await server.pods.observe(POD, KEY)


async def test_an_answer_that_is_not_tritons_makes_the_pod_unreachable(server: FakeTriton) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>", content_type="text/html")

    server.answers["/v2/repository/index"] = page

    with pytest.raises(ServerUnreachableError):
        await server.pods.observe(POD, KEY)


async def test_nobody_listening_is_unreachable() -> None:
    with pytest.raises(ServerUnreachableError):
        await TritonPods(1, 1).observe(POD, KEY)
    with pytest.raises(ServerUnreachableError):
        await TritonPods(1, 1).load(POD, KEY, "m", timeout_seconds=5)


async def test_no_connection_is_left_open(server: FakeTriton) -> None:
    server.index = [listed("resnet", "1", "READY")]
    server.configs = {"resnet": "abc"}
    transports: list[asyncio.BaseTransport] = []

    async def index(request: web.Request) -> web.Response:
        assert request.transport is not None
        transports.append(request.transport)
        return web.json_response(json.loads(json.dumps(server.index)))

    server.answers["/v2/repository/index"] = index
    await server.pods.observe(POD, KEY)

    async with asyncio.timeout(5):
        while not all(each.is_closing() for each in transports):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert transports
