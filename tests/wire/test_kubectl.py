"""What ``kubectl triton`` asks the API server and the pods behind it, and what answers mean."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client

from tests.wire.servers import serving
from triton_operator.errors import ClusterError
from triton_operator.kubectl import profile
from triton_operator.kubectl.connection import Connection, proxy_path
from triton_operator.kubectl.errors import PluginError, explain
from triton_operator.kubectl.fleet import read_fleet
from triton_operator.kubectl.infer import ask_model
from triton_operator.kubectl.logs import show_logs
from triton_operator.kubectl.profile import profile_model
from triton_operator.kubectl.profile_job import MARK, Measurement
from triton_operator.kubectl.scaling import Scaling
from triton_operator.kubectl.status import show_status
from triton_operator.kubectl.top import Meter, show_top

CRDS = "/apis/triton-operator.io/v1alpha1/namespaces/team"
PODS = "/api/v1/namespaces/team/pods"
SERVICE = "/api/v1/namespaces/team/services/vision:http/proxy/v2/models/yolo"
HASH = "0123456789abcdef" * 4


def failure(status: int, message: str) -> tuple[int, bytes]:
    return status, json.dumps({"kind": "Status", "message": message}).encode()


def ok(value: Any) -> tuple[int, bytes]:
    return 200, json.dumps(value).encode()


def pod(name: str, component: str = "server", **status: Any) -> Any:
    labels = {
        "triton-operator.io/server": "vision",
        "app.kubernetes.io/component": component,
    }
    container = {"name": "triton", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
    return {
        "metadata": {"name": name, "namespace": "team", "uid": f"uid-{name}", "labels": labels},
        "spec": {"nodeName": "node-1"},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [container],
            **status,
        },
    }


def page(success: int, pending: int) -> tuple[int, bytes]:
    labels = '{model="yolo",version="1"}'
    names = ("count", "exec_count", "queue_duration_us")
    lines = [f"nv_inference_{name}{labels} {success}" for name in names]
    lines += [
        f"nv_inference_request_success{labels} {success}",
        f"nv_inference_pending_request_count{labels} {pending}",
        *(
            f"nv_inference_compute_{phase}_duration_us{labels} 0"
            for phase in ("input", "infer", "output")
        ),
    ]
    return 200, "\n".join(lines).encode()


@dataclass
class ApiServer:
    """Answers by path; what it has no answer for does not exist."""

    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)
    connection: Connection | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs, await request.read()))
        self.headers.append(request.headers)
        status, body = self.answers.get(request.path, failure(404, f"no {request.path}"))
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        # In small pieces: nothing may depend on where an answer is cut.
        for start in range(0, len(body), 7):
            await response.write(body[start : start + 7])
        return response

    def asked_for(self, end: str) -> list[str]:
        """Return the paths that were asked for and end so."""
        paths = (path.partition("?")[0] for _, path, _ in self.requests)
        return [path for path in paths if path.endswith(end)]

    def pod(self, name: str, port: int, path: str, answer: tuple[int, bytes]) -> None:
        self.answers[proxy_path("Pod", "team", name, port, path)] = answer


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    model = {
        "metadata": {"name": "detector", "namespace": "team"},
        "spec": {
            "modelName": "yolo",
            "serverRef": {"name": "vision"},
            "versions": [{"version": 1, "files": {"model.py": "pass"}}],
        },
        "status": {"server": "vision", "configHash": HASH, "versions": [1, 2]},
    }
    vision = {"metadata": {"name": "vision", "namespace": "team"}, "spec": {}}
    state = ApiServer(
        {
            f"{CRDS}/tritonmodels": ok({"items": [model]}),
            f"{CRDS}/tritonservers": ok({"items": [vision]}),
            PODS: ok({"items": [pod("vision-a"), pod("vision-b")]}),
        }
    )
    async with (
        serving(state.handle) as url,
        client.ApiClient(client.Configuration(host=url)) as api,
    ):
        state.connection = Connection(api, "team")
        yield state


@pytest.fixture
def connection(server: ApiServer) -> Connection:
    assert server.connection is not None
    return server.connection


async def interrupt(command: Coroutine[Any, Any, None], when: Callable[[], object]) -> None:
    """End a command as Ctrl-C does, as soon as something holds."""
    task = asyncio.create_task(command)
    async with asyncio.timeout(20):
        while not when():
            assert not task.done(), task.exception()
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_fleet_is_three_requests(server: ApiServer, connection: Connection):
    fleet = await read_fleet(connection, "team")

    assert sorted(path.partition("?")[0] for _, path, _ in server.requests) == sorted(
        [f"{CRDS}/tritonmodels", f"{CRDS}/tritonservers", PODS]
    )
    assert [each.name for each in fleet.pods["team", "vision"]] == ["vision-a", "vision-b"]
    assert fleet.pods["team", "vision"][0].node == "node-1"


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        (401, "Unauthorized", "log in to the cluster again"),
        (403, 'cannot list resource "tritonmodels"', "you may not do this: cannot list"),
        (404, "not found", "install the operator's chart"),
        (500, "etcd is gone", "HTTP 500: etcd is gone"),
    ],
)
async def test_a_refusal_comes_with_the_mend(
    server: ApiServer, connection: Connection, status: int, message: str, told: str
):
    server.answers[f"{CRDS}/tritonmodels"] = failure(status, message)

    with pytest.raises(ClusterError) as refusal:
        await read_fleet(connection, "team")

    assert told in str(explain(refusal.value))


async def test_no_api_server_at_all():
    api = client.ApiClient(client.Configuration(host="http://127.0.0.1:9"))
    with pytest.raises(ClusterError) as refusal:
        await Connection(api, "team").send("GET", "/api")
    await api.close()

    assert "the API server does not answer" in str(explain(refusal.value))


async def test_a_pods_refusal_is_an_answer(server: ApiServer, connection: Connection):
    server.pod("vision-a", 8000, "/x", (400, b'{"error": "no such model"}'))

    answer = await connection.send("GET", proxy_path("Pod", "team", "vision-a", 8000, "/x"))

    assert (answer.status, answer.error) == (400, "no such model")


async def test_the_load_is_what_happened_between_two_looks(
    server: ApiServer, connection: Connection
):
    meter, fleet = Meter(connection), await read_fleet(connection, "team")
    for name in ("vision-a", "vision-b"):
        server.pod(name, 8002, "/metrics", page(10, 0))
        server.pod(name, 8000, "/v2/models/stats", ok({"model_stats": []}))
        server.pod(name, 8000, "/v2/models/yolo/config", ok({"instance_group": [{"count": 2}]}))
    await meter.measure(fleet)
    server.pod("vision-a", 8002, "/metrics", page(110, 3))
    server.pod("vision-b", 8002, "/metrics", failure(404, "the pod is gone"))

    load = (await meter.measure(fleet))["team", "vision"]

    assert (load.answering, load.asked) == (1, 2)
    assert load.failure == "vision-b: the pod is gone"
    assert load.models["yolo"].finished == 100
    assert load.models["yolo"].pending == 3
    assert load.models["yolo"].fullest == 1.5, "by the two instances that the config tells of"


async def test_top_looks_again_and_again(
    server: ApiServer,
    connection: Connection,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    server.answers[PODS] = ok({"items": [pod("vision-a")]})
    server.pod("vision-a", 8002, "/metrics", page(10, 4))
    server.pod("vision-a", 8000, "/v2/models/stats", ok({"model_stats": []}))

    top = show_top(connection, every_namespace=False, interval=0.05, once=False, from_status=False)
    # The fourth look begins when the third one is shown.
    await interrupt(top, lambda: len(server.asked_for("/metrics")) > 3)

    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().out)
    *_, row = (line for line in shown.splitlines() if line.startswith("yolo"))
    assert row.split()[:3] == ["yolo", "vision", "0"]
    assert row.split()[-2:] == ["4", "1/1"]


async def test_top_ends_after_one_table_where_nobody_watches(
    server: ApiServer, connection: Connection, capsys: pytest.CaptureFixture[str]
):
    server.answers[PODS] = ok({"items": [pod("vision-a")]})
    server.pod("vision-a", 8002, "/metrics", page(10, 4))
    server.pod("vision-a", 8000, "/v2/models/stats", ok({"model_stats": []}))

    async with asyncio.timeout(10):
        await show_top(
            connection, every_namespace=False, interval=0.05, once=False, from_status=False
        )

    assert sum(line.startswith("yolo") for line in capsys.readouterr().out.splitlines()) == 1


async def test_who_may_not_ask_pods_is_told_so(server: ApiServer, connection: Connection):
    fleet = await read_fleet(connection, "team")
    for name in ("vision-a", "vision-b"):
        server.pod(name, 8002, "/metrics", failure(403, "cannot get pods/proxy"))

    with pytest.raises(ClusterError, match="cannot get pods/proxy"):
        await Meter(connection).measure(fleet)


async def test_status_asks_each_pod(
    server: ApiServer, connection: Connection, capsys: pytest.CaptureFixture[str]
):
    config = {"parameters": {"triton_operator_hash": {"string_value": HASH}}}
    server.pod("vision-a", 8000, "/v2/models/yolo/config", ok(config))
    server.pod("vision-b", 8000, "/v2/models/yolo/config", (400, b'{"error": "not loaded"}'))

    await show_status(connection, name="", every_namespace=False, ask=True, output="json")

    (found,) = json.loads(capsys.readouterr().out)["servers"]
    assert [each["serves"] for each in found["pods"]] == [{"yolo": HASH}, {}]


@pytest.mark.parametrize("answer", [failure(503, "connection refused"), (200, b"half an ans")])
async def test_status_leaves_a_silent_pod_out(
    server: ApiServer,
    connection: Connection,
    capsys: pytest.CaptureFixture[str],
    answer: tuple[int, bytes],
):
    server.pod("vision-a", 8000, "/v2/models/yolo/config", answer)
    server.pod("vision-b", 8000, "/v2/models/yolo/config", ok({}))

    await show_status(connection, name="", every_namespace=False, ask=True, output="json")

    (found,) = json.loads(capsys.readouterr().out)["servers"]
    assert [each.get("serves") for each in found["pods"]] == [None, {"yolo": ""}]


async def test_status_tells_who_may_not_ask_pods(server: ApiServer, connection: Connection):
    for name in ("vision-a", "vision-b"):
        server.pod(name, 8000, "/v2/models/yolo/config", failure(403, "cannot get pods/proxy"))

    with pytest.raises(ClusterError, match="cannot get pods/proxy"):
        await show_status(connection, name="", every_namespace=False, ask=True, output="json")


async def test_logs_come_line_by_line(
    server: ApiServer, connection: Connection, capsys: pytest.CaptureFixture[str]
):
    server.answers[f"{PODS}/vision-a/log"] = 200, "first\nsecönd\n".encode()
    server.answers[f"{PODS}/vision-b/log"] = 200, b"other\nno end"

    await show_logs(connection, name="detector", follow=False, sync=False, tail=5, previous=False)

    assert capsys.readouterr().out.splitlines() == [
        "vision-a  first",
        "vision-a  secönd",
        "vision-b  other",
        "vision-b  no end",
    ]
    query = server.requests[-1][1].partition("?")[2]
    assert query == "container=triton&tailLines=5"


async def test_logs_of_before_a_restart_are_those_of_pods_that_had_one(
    server: ApiServer, connection: Connection, capsys: pytest.CaptureFixture[str]
):
    again = {"name": "triton", "restartCount": 2, "state": {"waiting": {}}}
    restarted = pod("vision-b", containerStatuses=[again])
    server.answers[PODS] = ok({"items": [pod("vision-a"), restarted]})
    server.answers[f"{PODS}/vision-a/log"] = failure(400, "previous container not found")
    server.answers[f"{PODS}/vision-b/log"] = 200, b"last words"

    await show_logs(connection, name="detector", follow=False, sync=False, tail=-1, previous=True)

    assert capsys.readouterr().out == "vision-b  last words\n"
    assert server.requests[-1][1].partition("?")[2] == "container=triton&previous=true"

    server.answers[PODS] = ok({"items": [pod("vision-a")]})
    with pytest.raises(PluginError, match="no container of TritonServer vision has"):
        await show_logs(connection, name="vision", follow=False, sync=False, tail=-1, previous=True)


async def test_logs_that_nobody_wrote(server: ApiServer, connection: Connection):
    server.answers[PODS] = ok({"items": []})

    for sync in (False, True):
        with pytest.raises(PluginError, match=r"TritonServer vision has no .*`kubectl triton stat"):
            await show_logs(
                connection, name="vision", follow=False, sync=sync, tail=-1, previous=False
            )


async def ask(connection: Connection, *inputs: str) -> None:
    await ask_model(
        connection,
        name="detector",
        version="2",
        inputs=inputs,
        data="",
        shapes=(),
        scaling=Scaling.UNIT,
        seed=1,
        repeat=1,
        seconds=5,
        as_json=True,
    )


async def test_a_model_is_asked_by_its_metadata(
    server: ApiServer, connection: Connection, capsys: pytest.CaptureFixture[str]
):
    tensor = {"datatype": "INT32", "shape": [-1, 2]}
    server.answers |= {
        f"{SERVICE}/versions/2": ok(
            {"inputs": [{"name": "X", **tensor}], "outputs": [{"name": "Y", **tensor}]}
        ),
        f"{SERVICE}/versions/2/config": ok({"max_batch_size": 4}),
        f"{SERVICE}/versions/2/infer": ok(
            {"outputs": [{"name": "Y", "datatype": "INT32", "shape": [1, 2], "data": [3, 4]}]}
        ),
    }

    await ask(connection, "X=[1, 2]")

    answer = json.loads(capsys.readouterr().out)
    assert answer["outputs"] == [
        {"name": "Y", "datatype": "INT32", "shape": [1, 2], "data": [3, 4]}
    ]
    method, _, body = server.requests[-1]
    length = int(server.headers[-1]["Inference-Header-Content-Length"])
    assert method == "POST"
    assert body[length:] == b"\1\0\0\0\2\0\0\0"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((400, b'{"error": "no version 2"}'), "Triton refused: no version 2"),
        (failure(503, "no endpoints available"), "no pod of vision answers: no endpoints"),
    ],
)
async def test_a_model_that_does_not_answer(
    server: ApiServer, connection: Connection, answer: tuple[int, bytes], told: str
):
    server.answers[f"{SERVICE}/versions/2"] = answer

    with pytest.raises(PluginError, match=f"{told}.*`kubectl triton status detector`"):
        await ask(connection)


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"[]", b'{"inputs": [{}]}'])
async def test_what_answers_is_not_triton(server: ApiServer, connection: Connection, body: bytes):
    server.answers[f"{SERVICE}/versions/2"] = 200, body
    server.answers[f"{SERVICE}/versions/2/config"] = ok({})

    with pytest.raises(PluginError, match="the answer is not Triton's"):
        await ask(connection)


# ---- profile ----------------------------------------------------------------------------------

MEASUREMENT = Measurement(
    image="registry/sdk:1",
    concurrency="1",
    request_rate="",
    protocol="grpc",
    version="",
    seconds=300,
)


def job_pod(**state: Any) -> tuple[int, bytes]:
    """The Job's pod; fleets take it for one of a server, which is no matter here."""
    container = {"name": "perf-analyzer", "state": state}
    return ok({"items": [pod("profile-1", containerStatuses=[container])]})


def deletions(server: ApiServer) -> list[str]:
    return [path for method, path, _ in server.requests if method == "DELETE"]


@pytest.fixture
def jobs(server: ApiServer) -> ApiServer:
    server.answers["/apis/batch/v1/namespaces/team/jobs"] = ok({})
    return server


async def test_profile_prints_the_table_and_deletes_the_job(
    jobs: ApiServer, connection: Connection, capsys: pytest.CaptureFixture[str]
):
    jobs.answers[PODS] = job_pod(terminated={"exitCode": 0})
    log = f"warming up\n{MARK}\nConcurrency,Inferences/Second,p50 latency\n1,2,3000\n"
    jobs.answers[f"{PODS}/profile-1/log"] = 200, log.encode()

    await profile_model(connection, "detector", MEASUREMENT)

    made = json.loads(next(body for method, _, body in jobs.requests if method == "POST"))
    out, err = capsys.readouterr()
    assert out.split() == ["CONCURRENCY", "INFER/S", "P50", "MS", "1", "2.00", "3.00"]
    assert err == "warming up\n"
    command = made["spec"]["template"]["spec"]["containers"][0]["command"]
    assert "vision.team.svc:8001" in command
    assert command[command.index("-x") + 1] == "2", "the latest that is served"
    (deleted,) = deletions(jobs)
    assert f"/jobs/{made['metadata']['name']}?" in deleted


async def test_profile_that_is_interrupted_deletes_the_job(jobs: ApiServer, connection: Connection):
    jobs.answers[PODS] = job_pod(running={"startedAt": "2026-01-01T00:00:00Z"})
    jobs.answers[f"{PODS}/profile-1/log"] = 200, b"warming up\n"

    profiling = profile_model(connection, "detector", MEASUREMENT)
    # The fleet's pods, one that has started, one that has not ended.
    await interrupt(profiling, lambda: len(jobs.asked_for("/pods")) > 2)

    assert len(deletions(jobs)) == 1


async def test_profile_does_not_wait_for_ever_for_a_node_that_is_gone(
    jobs: ApiServer, connection: Connection, monkeypatch: pytest.MonkeyPatch
):
    jobs.answers[PODS] = job_pod(running={})
    jobs.answers[f"{PODS}/profile-1/log"] = 200, b"warming up"
    monkeypatch.setattr(profile, "_GRACE_SECONDS", 0)

    with pytest.raises(PluginError, match="took longer than --timeout"):
        async with asyncio.timeout(20):
            await profile_model(connection, "detector", replace(MEASUREMENT, seconds=1))

    assert len(deletions(jobs)) == 1


@pytest.mark.parametrize(
    ("state", "log", "told"),
    [
        (
            {"terminated": {"exitCode": 99, "reason": "Error"}},
            b"error: no model\nUsage:\n -x\n",
            r"ended early \(Error, exit code 99\): error: no model",
        ),
        ({"terminated": {"exitCode": 0}}, b"", r"ended early \(no table\): it said nothing"),
        (
            {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
            b"",
            "cannot start: ImagePullBackOff: no such image; --image names another image",
        ),
        (
            {"terminated": {"exitCode": 0}},
            f"{MARK}\nno table\n".encode(),
            "cannot be read: not a table of perf_analyzer",
        ),
    ],
)
async def test_profile_that_fails_says_why_and_deletes_the_job(
    jobs: ApiServer, connection: Connection, state: Any, log: bytes, told: str
):
    jobs.answers[PODS] = job_pod(**state)
    jobs.answers[f"{PODS}/profile-1/log"] = 200, log

    with pytest.raises(PluginError, match=told):
        await profile_model(connection, "detector", MEASUREMENT)

    assert len(deletions(jobs)) == 1
