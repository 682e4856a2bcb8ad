"""The Lease as the API server keeps it, the fence around writes, and what probes are told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn

import aiohttp
import pytest
from aiohttp import web
from kubernetes.aio import client

from tests.wire.servers import serving
from triton_operator import names
from triton_operator.adapters import api_client
from triton_operator.adapters.api_client import KubeApi, fenced
from triton_operator.adapters.leases import KubeLeases
from triton_operator.adapters.telemetry import PrometheusTelemetry
from triton_operator.adapters.triton import TritonPods
from triton_operator.errors import ClusterError, NotLeadingError
from triton_operator.handlers import operator as operator_module
from triton_operator.handlers.operator import Operator
from triton_operator.handlers.probes import serve_probes
from triton_operator.observed import Pod
from triton_operator.ports import Lease
from triton_operator.reconcile.scaler import Scaler
from triton_operator.settings import Settings

PATH = "/apis/coordination.k8s.io/v1/namespaces/team/leases"
SOON = 5.0


@dataclass
class ApiServer:
    """Keeps objects as Kubernetes does: a write of an old version is refused."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while requests are answered; others wait."""
    version: int = 10

    async def handle(self, request: web.Request) -> web.StreamResponse:  # noqa: PLR0911
        self.requests.append(f"{request.method} {request.path}")
        await self.answers.wait()
        body = await request.json() if request.can_read_body else {}
        found = self.objects.get(request.path)
        match request.method:
            case "GET" if found is not None:
                return web.json_response(found)
            case "GET" if "/team/" not in request.path:
                meta = {"resourceVersion": str(self.version)}
                return web.json_response({"metadata": meta, "items": self.listed(request.path)})
            case "PATCH" if request.path.endswith("/status") and found is not None:
                return self._store(request.path, found)
            case "POST":
                path = f"{request.path}/{body['metadata']['name']}"
                if path in self.objects:
                    return web.json_response({"message": "already exists"}, status=409)
                return self._store(path, body)
            case "PATCH" if request.content_type == api_client.MERGE_PATCH and found is not None:
                if body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
                    return web.json_response({"message": "modified"}, status=409)
                merged = {key: found.get(key, {}) | body[key] for key in ("metadata", "spec")}
                spec = {key: each for key, each in merged["spec"].items() if each is not None}
                return self._store(request.path, {**found, **merged, "spec": spec})
            case _:
                return web.json_response({"message": "not found"}, status=404)

    def listed(self, path: str) -> list[dict[str, Any]]:
        """Return the objects in all namespaces of a kind."""
        plural = path.rpartition("/")[2]
        return [body for at, body in self.objects.items() if f"/team/{plural}/" in at]

    def writes(self) -> list[str]:
        """Return what was asked for but reading and the Lease."""
        return [each for each in self.requests if not each.startswith("GET") and PATH not in each]

    def _store(self, path: str, body: dict[str, Any]) -> web.Response:
        self.version += 1
        meta = {**body["metadata"], "resourceVersion": str(self.version)}
        self.objects[path] = {**body, "metadata": meta}
        return web.json_response(self.objects[path])


@pytest.fixture
async def server() -> AsyncIterator[tuple[ApiServer, str]]:
    state = ApiServer()
    state.answers.set()
    async with serving(state.handle) as url:
        yield state, url


@asynccontextmanager
async def connected(url: str, fence: Any = lambda: None) -> AsyncIterator[KubeApi]:
    settings = client.Configuration(host=url)
    settings.trace_configs = [fenced(fence)]
    settings.connection_pool_maxsize = 1
    api = KubeApi(client.ApiClient(settings))
    yield api
    await api.close()


# ---- the Lease ------------------------------------------------------------------------------


async def test_a_lease_is_made_renewed_and_read(server: tuple[ApiServer, str]) -> None:
    state, url = server
    at = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    async with connected(url) as api:
        leases = KubeLeases(api, "team", "operator")
        assert await leases.read(timeout_seconds=SOON) == Lease()

        wanted = Lease(holder="a", duration_seconds=10, transitions=1, acquired=at, renewed=at)
        made = await leases.write(wanted, timeout_seconds=SOON)
        assert made is not None
        assert (made.holder, made.renewed, made.version) == ("a", at, "11")
        assert await leases.read(timeout_seconds=SOON) == made
        released = Lease(made.version, "", 10, 1, at, at)
        assert await leases.write(released, timeout_seconds=SOON) is not None
        assert (await leases.read(timeout_seconds=SOON)).holder == ""

    spec = state.objects[f"{PATH}/operator"]["spec"]
    assert spec["renewTime"] == "2026-01-02T03:04:05.000678Z"
    # Kubernetes refuses an empty one.
    assert "holderIdentity" not in spec


async def test_the_lease_of_the_chart_keeps_what_the_chart_has_written(
    server: tuple[ApiServer, str],
) -> None:
    state, url = server
    labels = {"app.kubernetes.io/instance": "serving"}
    meta = {"name": "operator", "namespace": "team", "resourceVersion": "3", "labels": labels}
    state.objects[f"{PATH}/operator"] = {"kind": "Lease", "metadata": meta}
    async with connected(url) as api:
        leases = KubeLeases(api, "team", "operator")
        found = await leases.read(timeout_seconds=SOON)
        assert found == Lease(version="3")
        taken = await leases.write(Lease(found.version, "a", 10), timeout_seconds=SOON)
        assert taken is not None
        assert taken.holder == "a"
    assert state.objects[f"{PATH}/operator"]["metadata"]["labels"] == labels


async def test_of_two_that_take_it_only_one_is_told_so(server: tuple[ApiServer, str]) -> None:
    _, url = server
    async with connected(url) as api:
        leases = KubeLeases(api, "team", "operator")
        answers = [await leases.write(Lease(holder=h), timeout_seconds=SOON) for h in "ab"]
        assert [answer and answer.holder for answer in answers] == ["a", None]
        first = answers[0]
        assert first is not None
        assert await leases.write(Lease(first.version, "b"), timeout_seconds=SOON) is not None
        assert await leases.write(Lease(first.version, "c"), timeout_seconds=SOON) is None


async def test_one_that_was_deleted_is_no_failure(server: tuple[ApiServer, str]) -> None:
    _, url = server
    async with connected(url) as api:
        leases = KubeLeases(api, "team", "operator")
        assert await leases.write(Lease("7", "a"), timeout_seconds=SOON) is None


async def test_a_request_takes_no_longer_than_it_may(server: tuple[ApiServer, str]) -> None:
    state, url = server
    state.answers.clear()
    async with connected(url) as api:
        leases = KubeLeases(api, "team", "operator")
        async with asyncio.timeout(5):
            with pytest.raises(ClusterError):
                await leases.read(timeout_seconds=0.2)


# ---- the fence ------------------------------------------------------------------------------


def closed() -> None:
    raise NotLeadingError("not any more")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_nothing_is_written_behind_the_fence(
    server: tuple[ApiServer, str], method: str
) -> None:
    state, url = server
    async with connected(url, closed) as api:
        # More often than there are connections: a refused one is given back.
        for _ in range(3):
            with pytest.raises(NotLeadingError):
                await api.request(method, f"{PATH}/x", body={})
            with pytest.raises(ClusterError):
                await api.request("GET", f"{PATH}/x")
    assert set(state.requests) == {f"GET {PATH}/x"}


async def test_a_write_that_waits_for_a_connection_is_stopped_when_it_gets_one(
    server: tuple[ApiServer, str],
) -> None:
    """As of a process that is halted just then, and wakes when another one leads."""
    state, url = server
    state.answers.clear()
    may_write = True

    def fence() -> None:
        if not may_write:
            closed()

    async with connected(url, fence) as api:
        slow = asyncio.create_task(api.request("GET", f"{PATH}/x"))
        while not state.requests:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        waits = asyncio.create_task(api.request("PUT", f"{PATH}/x", body={}))
        await asyncio.sleep(0.05)
        may_write = False
        state.answers.set()
        with pytest.raises(NotLeadingError):
            await waits
        with pytest.raises(ClusterError):
            await slow
    assert state.requests == [f"GET {PATH}/x"]


async def test_no_pod_is_told_anything_behind_the_fence(server: tuple[ApiServer, str]) -> None:
    state, url = server
    pods = TritonPods(int(url.rpartition(":")[2]), fence=closed)
    pod = Pod.parse(
        {
            "metadata": {"name": "p", "namespace": "team", "uid": "u"},
            "spec": {},
            "status": {"podIP": "127.0.0.1"},
        }
    )
    with pytest.raises(NotLeadingError):
        await pods.load(pod, "key", "resnet", timeout_seconds=SOON)
    with pytest.raises(NotLeadingError):
        await pods.unload(pod, "key", "resnet")
    assert not state.requests


# ---- probes ---------------------------------------------------------------------------------


async def test_probes_tell_what_is_wrong() -> None:
    wrong = {"healthz": list[str](), "readyz": ["not everything is listed yet"]}
    probes = serve_probes(
        0, alive=lambda: wrong["healthz"], ready=lambda: wrong["readyz"], host="127.0.0.1"
    )

    async def ask(path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/{path}") as answer,
        ):
            return answer.status, await answer.text()

    async with probes as port:
        assert await ask("healthz") == (200, "ok")
        assert await ask("readyz") == (503, "not everything is listed yet")
        wrong["healthz"] = ["a pass does not end", "autoscaling does not tick"]
        assert await ask("healthz") == (503, "a pass does not end\nautoscaling does not tick")
    with pytest.raises(aiohttp.ClientError):
        await ask("healthz")


# ---- the operator ---------------------------------------------------------------------------

MODEL_PATH = "/apis/triton-operator.io/v1alpha1/namespaces/team/tritonmodels/lost"
MODEL: dict[str, Any] = {
    "apiVersion": names.API_VERSION,
    "kind": names.KIND_MODEL,
    "metadata": {
        "name": "lost",
        "namespace": "team",
        "uid": "u1",
        "resourceVersion": "5",
        "generation": 1,
    },
    "spec": {"serverRef": {"name": "nowhere"}},
}
"""One whose status has to be written: its server is not there."""
GHOST = {**MODEL, "metadata": {**MODEL["metadata"], "name": "ghost", "uid": "u0"}}
"""One that is deleted, which the watch of who stands by has missed."""


class Ended(BaseException):
    """In place of the end of the process."""


@pytest.fixture
def start(
    server: tuple[ApiServer, str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Awaitable[Operator]]:
    _, url = server

    async def connect(
        telemetry: PrometheusTelemetry, *, fence: Callable[[], None] = lambda: None
    ) -> KubeApi:
        settings = client.Configuration(host=url)
        settings.trace_configs = [fenced(fence)]
        return KubeApi(client.ApiClient(settings), telemetry)

    def end(reason: str) -> NoReturn:
        raise Ended(reason)

    async def begin(identity: str) -> Operator:
        settings = Settings(
            identity=identity,
            lease_namespace="team",
            lease_seconds=3,
            probe_port=0,
            metrics_port=0,
        )
        return await Operator.start(settings, end)

    monkeypatch.setattr(KubeApi, "connect", connect)
    return begin


async def until(holds: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_one_that_stands_by_watches_and_acts_as_soon_as_it_leads(
    server: tuple[ApiServer, str], start: Callable[[str], Awaitable[Operator]]
) -> None:
    state, _ = server
    first = await start("first")
    await until(lambda: not first.unready())
    second = await start("second")
    await until(lambda: not second.unready())
    assert (first.acting(), second.acting()) == (True, False)
    state.objects[MODEL_PATH] = state.objects[f"{MODEL_PATH}/status"] = MODEL
    before = len(state.requests)

    second.changed(GHOST)
    second.changed(MODEL)
    await asyncio.sleep(0.5)
    assert not state.writes()
    assert {path for path in state.requests[before:] if PATH not in path} == set()

    await first.stop()
    await until(state.writes)
    # It lists everything before: what it watched may have missed something.
    lists = [each for each in state.requests[before:] if each.endswith("/tritonmodels")]
    assert lists
    assert state.writes()[0] == f"PATCH {MODEL_PATH}/status"
    assert (first.acting(), second.acting()) == (False, True)
    assert not second.stuck()
    await second.stop()
    assert not [each for each in state.writes() if "ghost" in each]


async def test_one_that_lost_the_lease_ends_and_has_written_nothing_more(
    server: tuple[ApiServer, str], start: Callable[[str], Awaitable[Operator]]
) -> None:
    state, _ = server
    operator = await start("first")
    await until(lambda: not operator.unready())
    (election,) = (task for task in asyncio.all_tasks() if task.get_name() == "election")
    lease = state.objects[f"{PATH}/triton-operator"]
    lease["spec"]["holderIdentity"] = "other"
    lease["metadata"]["resourceVersion"] = "1000"
    state.objects[MODEL_PATH] = state.objects[f"{MODEL_PATH}/status"] = MODEL

    with pytest.raises(Ended, match="other has taken the Lease"):
        await asyncio.wait_for(asyncio.shield(election), 10)
    operator.changed(MODEL)
    await asyncio.sleep(0.5)

    assert not state.writes()
    assert any("election has ended" in each for each in operator.stuck())
    await operator.stop()
    assert state.objects[f"{PATH}/triton-operator"]["spec"]["holderIdentity"] == "other"


async def test_probes_notice_what_stands_still(
    start: Callable[[str], Awaitable[Operator]], monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = await start("first")
    await until(lambda: not operator.unready())
    assert operator.stuck() == []

    # As if the time had gone by.
    monkeypatch.setattr(operator_module, "_STUCK_LOOP_SECONDS", -1000.0)
    monkeypatch.setattr(operator_module, "_STUCK_PASS_SECONDS", -1.0)

    assert operator.stuck() == [
        "nothing is tried to get or to keep the Lease",
        "autoscaling does not tick",
        "a pass does not end",
    ]
    await operator.stop()


async def test_the_time_between_two_renewals_is_no_standstill(
    start: Callable[[str], Awaitable[Operator]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Lease of many minutes is renewed every few minutes."""
    operator = await start("first")
    await until(lambda: not operator.unready())
    monkeypatch.setattr(operator_module, "_STUCK_LOOP_SECONDS", 0.0)
    assert "nothing is tried to get or to keep the Lease" not in operator.stuck()
    await operator.stop()


async def test_a_tick_that_waits_for_many_silent_pods_is_no_standstill(
    start: Callable[[str], Awaitable[Operator]], monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = await start("first")
    await until(lambda: not operator.unready())
    monkeypatch.setattr(Scaler, "silent_seconds", lambda _: 100.0)
    assert operator.stuck() == ["autoscaling does not tick"]
    monkeypatch.setattr(Scaler, "asked", lambda _: 2000)
    assert operator.stuck() == []
    await operator.stop()


async def test_one_that_hears_nothing_is_alive_but_not_ready(
    server: tuple[ApiServer, str],
    start: Callable[[str], Awaitable[Operator]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state, _ = server
    first = await start("first")
    await until(lambda: not first.unready())
    second = await start("second")
    await until(lambda: not second.unready())
    monkeypatch.setattr(operator_module, "_UNKNOWN_LEASES", 0.5)

    # What is asked meanwhile is never answered, nor done.
    answered, state.answers = state.answers, asyncio.Event()
    await until(second.unready)

    assert second.unready() == ["who holds the Lease is not known"]
    assert second.stuck() == []
    state.answers = answered
    await until(lambda: not second.unready())
    await second.stop()
    await first.stop()
