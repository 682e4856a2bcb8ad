"""Two real processes of the operator on one small API server: who acts, and who does not."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from tests.wire.servers import free_port, serving
from triton_operator import names
from triton_operator.adapters.api_client import KINDS, Kind

LEASE_SECONDS = 5
"""Half of the default; the bounds of the tests are shares of it."""
START_SECONDS = 60
MODELS = "/apis/triton-operator.io/v1alpha1/tritonmodels"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/team/leases"


def model(name: str, version: int) -> dict[str, Any]:
    """Return a model whose status has to be written: its server is not there."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND_MODEL,
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "generation": 1,
        },
        "spec": {"serverRef": {"name": "nowhere"}},
    }


@dataclass
class ApiServer:
    """Knows models and a Lease; lists, watches and stores them."""

    url: str = ""
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    lease: dict[str, Any] | None = None
    version: int = 10
    writes: list[tuple[str, str]] = field(default_factory=list)
    """Who wrote to which path; the Lease aside."""
    watchers: list[tuple[str, web.StreamResponse]] = field(default_factory=list)

    async def add(self, name: str) -> None:
        self.version += 1
        self.models[name] = model(name, self.version)
        for path, stream in self.watchers:
            if path == MODELS:
                with suppress(ConnectionError):  # of a process that is gone
                    await _send(stream, "ADDED", self.models[name])

    def writers_of(self, name: str) -> set[str]:
        return {who for who, path in self.writes if f"/{name}/" in path}

    def holder(self) -> str:
        return str(self.lease["spec"]["holderIdentity"] or "") if self.lease else ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "true":
            return await self._watch(request)
        if (found := _discovery().get(request.path)) is not None:
            return web.json_response(found)
        if request.path.startswith(LEASES):
            return await self._lease(request)
        if request.method == "GET":
            items = list(self.models.values()) if request.path == MODELS else []
            meta = {"resourceVersion": str(self.version)}
            return web.json_response({"metadata": meta, "items": items})
        self.writes.append((request.headers["Authorization"], request.path))
        if not request.path.endswith("/status"):
            return web.json_response({})
        self.version += 1
        found = self.models[request.path.split("/")[-2]]
        found["metadata"]["resourceVersion"] = str(self.version)
        found["status"] = (await request.json())[1]["value"]
        return web.json_response(found)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        if request.query.get("sendInitialEvents") == "true":
            items = list(self.models.values()) if request.path == MODELS else []
            for item in items:
                await _send(stream, "ADDED", item)
            end = {"k8s.io/initial-events-end": "true"}
            meta = {"resourceVersion": str(self.version), "annotations": end}
            await _send(stream, "BOOKMARK", {"metadata": meta})
        self.watchers.append((request.path, stream))
        await asyncio.Event().wait()
        return stream

    async def _lease(self, request: web.Request) -> web.Response:
        old = self.lease["metadata"]["resourceVersion"] if self.lease else ""
        if request.method == "GET":
            return web.json_response(self.lease or {"message": "none"}, status=200 if old else 404)
        body = await request.json()
        if body["metadata"].get("resourceVersion", "") != old:
            return web.json_response({"message": "modified"}, status=409)
        self.version += 1
        self.lease = {**body, "metadata": {"resourceVersion": str(self.version)}}
        return web.json_response(self.lease)


async def _send(stream: web.StreamResponse, kind: str, body: dict[str, Any]) -> None:
    await stream.write(json.dumps({"type": kind, "object": body}).encode() + b"\n")


def _discovery() -> dict[str, Any]:
    """Return what tells clients which kinds there are."""
    kinds: dict[str, list[Any]] = {}
    more = {
        "Namespace": Kind("v1", "namespaces"),
        "CustomResourceDefinition": Kind("apiextensions.k8s.io/v1", "customresourcedefinitions"),
    }
    for kind, each in {**KINDS, **more}.items():
        verbs = ["list", "watch", "patch"]
        found = {"name": each.plural, "kind": kind, "namespaced": True, "verbs": verbs}
        kinds.setdefault(each.api, []).append({**found, "singularName": "", "shortNames": []})
    groups = []
    for api in kinds:
        group, _, version = api.rpartition("/")
        versions = [{"version": version, "groupVersion": api}]
        groups.append({"name": group, "versions": versions, "preferredVersion": versions[0]})
    named = [each for each in groups if each["name"]]
    roots = {"/api": {"versions": ["v1"]}, "/apis": {"groups": named}}
    at = {("/apis/" if "/" in api else "/api/") + api: {"resources": kinds[api]} for api in kinds}
    return {**roots, **at}


@dataclass
class Process:
    name: str
    port: int
    child: asyncio.subprocess.Process
    log: Path

    async def probe(self, path: str) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.write(f"GET /{path} HTTP/1.0\r\n\r\n".encode())
        status = await reader.readline()
        writer.close()
        return b" 200 " in status


Start = Callable[[str], Awaitable[Process]]


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    state = ApiServer()
    async with serving(state.handle) as state.url:
        yield state


@pytest.fixture
async def start(api: ApiServer, tmp_path: Path) -> AsyncIterator[Start]:
    started: list[Process] = []

    async def begin(name: str) -> Process:
        config, log, port = tmp_path / f"{name}.yaml", tmp_path / f"{name}.log", free_port()
        config.write_text(
            yaml.safe_dump(
                {
                    "clusters": [{"name": "c", "cluster": {"server": api.url}}],
                    "users": [{"name": "u", "user": {"token": name}}],
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "x",
                }
            )
        )
        ours = {
            "IDENTITY": name,
            "PROBE_PORT": str(port),
            "METRICS_PORT": "0",
            "LEASE_NAMESPACE": "team",
            "LEASE_SECONDS": str(LEASE_SECONDS),
        }
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "triton_operator", "run",
            env={
                **os.environ,
                "KUBECONFIG": str(config),
                **{f"TRITON_OPERATOR_{key}": value for key, value in ours.items()},
            },
            stdout=asyncio.subprocess.DEVNULL, stderr=log.open("wb"),
        )  # fmt: skip
        started.append(Process(name, port, child, log))
        begun = time.monotonic()
        while not await started[-1].probe("readyz"):
            assert time.monotonic() - begun < START_SECONDS, log.read_text()
            assert child.returncode is None, log.read_text()
            await asyncio.sleep(0.05)
        return started[-1]

    yield begin
    for each in started:
        if each.child.returncode is None:
            each.child.kill()
            await each.child.wait()


async def until(holds: Callable[[], object], seconds: float, logs: Process) -> float:
    """Return the seconds until something holds."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < seconds, logs.log.read_text()
        await asyncio.sleep(0.02)
    return time.monotonic() - begun


async def test_after_a_kill_the_other_one_acts(api: ApiServer, start: Start) -> None:
    one = await start("one")
    two = await start("two")
    assert api.holder() == "one"
    await api.add("first")
    await until(lambda: api.writers_of("first"), 10, one)

    one.child.send_signal(signal.SIGKILL)
    await one.child.wait()
    await api.add("second")
    took = await until(lambda: api.writers_of("second"), LEASE_SECONDS * 1.5, two)

    # Before the Lease had run out nobody was to take it, as seen at most a renewal ago.
    assert took > LEASE_SECONDS * 0.6
    # What was settled was not written again.
    assert api.writers_of("first") == {"Bearer one"}
    assert api.writers_of("second") == {"Bearer two"}


async def test_one_that_ends_hands_over_at_once(api: ApiServer, start: Start) -> None:
    one = await start("one")
    two = await start("two")
    one.child.send_signal(signal.SIGTERM)
    took = await until(lambda: api.holder() == "two", LEASE_SECONDS * 0.6 + 2, two)

    assert await one.child.wait() == 0
    assert took < LEASE_SECONDS
    assert await two.probe("healthz")


async def test_one_that_was_halted_writes_nothing_when_it_wakes(
    api: ApiServer, start: Start
) -> None:
    one = await start("one")
    two = await start("two")

    one.child.send_signal(signal.SIGSTOP)
    # It finds this news when it wakes.
    await api.add("first")
    await until(lambda: api.writers_of("first"), LEASE_SECONDS * 1.5 + 2, two)
    await api.add("second")
    one.child.send_signal(signal.SIGCONT)

    assert await asyncio.wait_for(one.child.wait(), 10) == 3
    await until(lambda: api.writers_of("second"), 10, two)
    assert {who for who, _ in api.writes} == {"Bearer two"}
    assert "this operator ends: the Lease was not renewed" in one.log.read_text()
    assert api.holder() == "two"


async def test_without_an_api_server_the_leader_ends_and_the_next_one_goes_on(
    api: ApiServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await start("one")
    lease = api._lease

    async def refuse(request: web.Request) -> web.Response:
        if request.headers["Authorization"] == "Bearer one":
            return web.json_response({"message": "unavailable"}, status=503)
        return await lease(request)

    monkeypatch.setattr(api, "_lease", refuse)

    assert await asyncio.wait_for(one.child.wait(), LEASE_SECONDS * 2) == 3
    two = await start("two")
    await until(lambda: api.holder() == "two", LEASE_SECONDS * 1.5, two)
