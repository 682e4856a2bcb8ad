"""Requests to the Kubernetes API: which are made, and what their answers mean."""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client

from tests.wire.servers import serving
from triton_operator import names
from triton_operator.adapters import api_client
from triton_operator.adapters.api_client import KINDS, KubeApi
from triton_operator.adapters.kube import KubeCluster
from triton_operator.adapters.mirror import Mirror
from triton_operator.adapters.telemetry import PrometheusTelemetry
from triton_operator.api.meta import ObjectMeta
from triton_operator.api.model import TritonModelStatus
from triton_operator.desired.control_key import read_control_key
from triton_operator.errors import (
    ClusterError,
    InvalidSpecError,
    NameNotFreeYetError,
    NamespaceTerminatingError,
    NameTakenError,
)
from triton_operator.observed import Pod
from triton_operator.plan.events import Event

Body = dict[str, Any]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
TERMINATING = (403, "forbidden: it is being terminated", "NamespaceTerminating")
"""How an API server refuses what is to be made in a namespace that goes away."""
OWNER = ObjectMeta(name="vision", namespace="team", uid="uid-vision")
SERVICES = "/api/v1/namespaces/team/services/vision"
STATUS = "/apis/triton-operator.io/v1alpha1/namespaces/team/tritonmodels/resnet/status"


@dataclass
class ApiServer:
    """Stores what it is sent; ``refusals`` answers by method and path instead."""

    api: KubeApi | None = None
    telemetry: PrometheusTelemetry = field(default_factory=PrometheusTelemetry)
    objects: dict[str, Body] = field(default_factory=dict)
    refusals: dict[tuple[str, str], tuple[int, str, *tuple[str, ...]]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    version: int = 100

    async def handle(self, request: web.Request) -> web.StreamResponse:  # noqa: PLR0911
        text = await request.text()
        body = json.loads(text) if text else None
        self.requests.append(f"{request.method} {request.path}")
        self.queries.append(dict(request.query))
        self.types.append(request.headers["Content-Type"])
        self.bodies.append(body)
        if (refusal := self.refusals.get((request.method, request.path))) is not None:
            return failure(*refusal)
        match request.method:
            case "GET" if request.path.endswith("/log"):
                return web.Response(text="a log")
            case "GET" | "DELETE" if request.path not in self.objects:
                return failure(404, "not found")
            case "GET":
                return web.json_response(self.objects[request.path])
            case "DELETE":
                return web.json_response(self.objects.pop(request.path))
            case "POST":
                path = f"{request.path}/{body['metadata']['name']}"
                if path in self.objects:
                    return failure(409, "already exists")
                return web.json_response(self.store(path, body))
            case _:
                return web.json_response(self._patch(request, body))

    def _patch(self, request: web.Request, body: Any) -> Body:
        path = request.path.removesuffix("/status")
        if request.headers["Content-Type"] == api_client.APPLY:
            return self.store(path, body)
        found = self.objects[path]
        if isinstance(body, list):
            return self.store(path, found | {"status": body[1]["value"]})
        return self.store(path, {**found, "metadata": {**found["metadata"], **body["metadata"]}})

    def store(self, path: str, body: Body) -> Body:
        self.version += 1
        meta = {"uid": "uid", **body["metadata"], "resourceVersion": str(self.version)}
        self.objects[path] = {**body, "metadata": meta}
        return self.objects[path]


def failure(status: int, message: str, *causes: str) -> web.Response:
    body: Body = {"kind": "Status", "message": message}
    if causes:
        # Kubernetes leaves out what is empty.
        named = ({"reason": cause} if cause else {} for cause in causes)
        body["details"] = {"causes": [{"field": "metadata", **each} for each in named]}
    return web.json_response(body, status=status)


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    state = ApiServer()
    async with serving(state.handle) as url:
        state.api = KubeApi(client.ApiClient(client.Configuration(host=url)), state.telemetry)
        yield state
        await state.api.close()


@pytest.fixture
def mirror() -> Mirror:
    return Mirror()


@pytest.fixture
def cluster(server: ApiServer, mirror: Mirror) -> KubeCluster:
    assert server.api is not None
    return KubeCluster(server.api, mirror, server.telemetry)


def owned(
    kind: str = "Service", name: str = "vision", uid: str = "uid-vision", **more: Any
) -> Body:
    return {
        "apiVersion": KINDS[kind].api,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": "team",
            "ownerReferences": [
                {
                    "kind": names.KIND_SERVER,
                    "name": uid.removeprefix("uid-"),
                    "uid": uid,
                    "controller": True,
                }
            ],
        },
        "spec": {"type": "ClusterIP"},
    } | more


def model(version: int = 1) -> Body:
    meta = {"name": "resnet", "namespace": "team", "uid": "uid", "resourceVersion": str(version)}
    return {"apiVersion": names.API_VERSION, "kind": names.KIND_MODEL, "metadata": meta, "spec": {}}


# ---- requests ---------------------------------------------------------------------------------


def test_objects_lie_where_kubernetes_has_them() -> None:
    assert KINDS["Pod"].path("team", "a", subresource="log") == "/api/v1/namespaces/team/pods/a/log"
    assert KINDS["Deployment"].path() == "/apis/apps/v1/deployments"
    assert KINDS["Job"].path("team") == "/apis/batch/v1/namespaces/team/jobs"


async def test_a_refusal_carries_status_and_message(server: ApiServer) -> None:
    server.refusals[("GET", "/api/v1/pods")] = (403, "pods is forbidden")
    assert server.api is not None

    with pytest.raises(ClusterError, match="HTTP 403: pods is forbidden") as refusal:
        await server.api.request("GET", "/api/v1/pods")

    assert refusal.value.status == 403
    assert refusal.value.is_refusal


@pytest.mark.parametrize(
    ("causes", "kind"),
    [
        (("NamespaceTerminating",), NamespaceTerminatingError),
        (("FieldValueInvalid", "NamespaceTerminating"), NamespaceTerminatingError),
        (("FieldValueInvalid",), ClusterError),
        (("",), ClusterError),
    ],
)
async def test_a_refusal_says_whether_the_namespace_goes_away(
    server: ApiServer, causes: tuple[str, ...], kind: type[ClusterError]
) -> None:
    server.refusals[("POST", "/api/v1/pods")] = (403, "forbidden", *causes)
    assert server.api is not None

    with pytest.raises(ClusterError, match="HTTP 403: forbidden") as refusal:
        await server.api.request("POST", "/api/v1/pods", body={})

    assert type(refusal.value) is kind
    assert refusal.value.is_refusal


async def test_nothing_is_made_in_a_namespace_that_goes_away(
    server: ApiServer, cluster: KubeCluster
) -> None:
    server.refusals[("PATCH", SERVICES)] = TERMINATING
    server.refusals[("POST", SERVICES.removesuffix("/vision"))] = TERMINATING

    with pytest.raises(NamespaceTerminatingError):
        await cluster.apply(owned())
    with pytest.raises(NamespaceTerminatingError):
        await cluster.create(owned())


async def test_a_query_is_encoded(server: ApiServer) -> None:
    server.objects["/api/v1/pods"] = {"items": []}
    assert server.api is not None

    await server.api.request("GET", "/api/v1/pods", labelSelector="a/b=c d", limit=5)

    assert server.queries == [{"labelSelector": "a/b=c d", "limit": "5"}]


async def test_no_answer_is_a_failure_that_may_heal() -> None:
    api = KubeApi(client.ApiClient(client.Configuration(host="http://127.0.0.1:1")))
    try:
        with pytest.raises(ClusterError, match="no answer") as failed:
            await api.request("GET", "/api/v1/pods")
        assert failed.value.status is None
        assert not failed.value.is_refusal
    finally:
        await api.close()


async def test_requests_are_counted_as_rbac_spells_them(
    server: ApiServer, cluster: KubeCluster
) -> None:
    server.objects["/apis/apps/v1/deployments"] = {"items": []}
    server.objects["/api/v1/namespaces/team/pods"] = {"items": []}
    server.refusals[("GET", "/api/v1/namespaces/namespaces/secrets/a")] = (404, "gone")
    assert server.api is not None
    await server.api.request("GET", "/apis/apps/v1/deployments")
    await server.api.request("GET", "/api/v1/namespaces/team/pods")
    await server.api.read("GET", "/api/v1/namespaces/team/pods/a/log")
    with pytest.raises(ClusterError):
        await server.api.request("GET", "/api/v1/namespaces/namespaces/secrets/a")
    await cluster.record_event(names.KIND_MODEL, META, Event("Normal", "Serving", ""))
    server.objects["/apis/triton-operator.io/v1alpha1"] = {"resources": []}
    server.objects["/api/v1/namespaces/team"] = {"kind": "Namespace"}
    await server.api.request("GET", "/apis/triton-operator.io/v1alpha1")
    await server.api.request("GET", "/api/v1/namespaces/team")

    counted = {
        (each.labels["verb"], each.labels["resource"], each.labels["code"]): each.value
        for metric in server.telemetry.registry.collect()
        if metric.name == "triton_operator_api_requests"
        for each in metric.samples
    }
    assert counted == {
        ("list", "deployments", "200"): 1,
        ("list", "pods", "200"): 1,
        ("get", "pods/log", "200"): 1,
        ("get", "secrets", "404"): 1,
        ("create", "events", "200"): 1,
        ("get", "/apis/triton-operator.io/v1alpha1", "200"): 1,
        ("get", "namespaces", "200"): 1,
    }


async def test_what_was_not_answered_is_counted_too() -> None:
    telemetry = PrometheusTelemetry()
    nowhere = client.Configuration(host="http://127.0.0.1:1")
    api = KubeApi(client.ApiClient(nowhere), telemetry)
    with pytest.raises(ClusterError):
        await api.request("DELETE", "/api/v1/namespaces/team/pods/a")
    await api.close()
    labels = {"verb": "delete", "resource": "pods", "code": "none"}
    name = "triton_operator_api_requests_total"
    assert telemetry.registry.get_sample_value(name, labels) == 1


@pytest.mark.parametrize(
    ("status", "refused"), [(404, True), (409, True), (429, False), (500, False)]
)
async def test_too_many_requests_and_server_errors_are_no_decision(
    server: ApiServer, status: int, refused: bool
) -> None:
    server.refusals[("GET", "/api/v1/pods")] = (status, "x")
    assert server.api is not None

    with pytest.raises(ClusterError) as error:
        await server.api.request("GET", "/api/v1/pods")

    assert error.value.is_refusal is refused


# ---- apply ------------------------------------------------------------------------------------


async def test_a_new_object_is_applied_without_force(
    server: ApiServer, cluster: KubeCluster
) -> None:
    await cluster.apply(owned())

    assert server.requests == [f"PATCH {SERVICES}"]
    assert server.types == [api_client.APPLY]
    assert server.queries == [{"fieldManager": names.FIELD_MANAGER, "force": "false"}]
    assert server.objects[SERVICES]["spec"] == {"type": "ClusterIP"}


async def test_an_object_that_holds_everything_costs_no_request(
    server: ApiServer, cluster: KubeCluster, mirror: Mirror
) -> None:
    await cluster.apply(owned())
    live = server.objects[SERVICES]
    mirror.put(
        {**live, "status": {"x": 1}, "metadata": {**live["metadata"], "resourceVersion": "900"}}
    )

    await cluster.apply(owned())

    assert len(server.requests) == 1


async def test_what_the_api_server_writes_in_its_own_way_is_not_written_again(
    server: ApiServer, cluster: KubeCluster, mirror: Mirror
) -> None:
    odd = owned(spec={"clusterIP": "None", "weird": "A"})
    await cluster.apply(odd)
    path = SERVICES
    server.objects[path]["spec"]["weird"] = "a"
    mirror.put(server.objects[path])

    await cluster.apply(odd)

    assert len(server.requests) == 1


async def test_a_difference_is_applied_with_force(
    server: ApiServer, cluster: KubeCluster, mirror: Mirror
) -> None:
    await cluster.apply(owned())
    drifted = json.loads(json.dumps(server.objects[SERVICES]))
    drifted["spec"]["type"] = "NodePort"
    drifted["metadata"]["resourceVersion"] = "900"
    mirror.put(drifted)
    server.version = 900

    await cluster.apply(owned())

    assert server.queries[-1]["force"] == "true"
    assert server.objects[SERVICES]["spec"]["type"] == "ClusterIP"


async def test_a_field_that_is_taken_out_is_noticed(
    server: ApiServer, cluster: KubeCluster
) -> None:
    await cluster.apply(owned(spec={"type": "ClusterIP", "clusterIP": "None"}))

    await cluster.apply(owned(spec={"type": "ClusterIP"}))

    assert len(server.requests) == 2
    assert server.objects[SERVICES]["spec"] == {"type": "ClusterIP"}


async def test_an_object_of_somebody_else_is_never_taken_over(
    server: ApiServer, cluster: KubeCluster, mirror: Mirror
) -> None:
    mirror.put(server.store(SERVICES, owned(uid="somebody")))

    with pytest.raises(NameTakenError, match="Service team/vision exists"):
        await cluster.apply(owned())

    assert server.requests == []


async def test_a_conflict_over_what_is_not_ours_is_a_name_that_is_taken(
    server: ApiServer, cluster: KubeCluster
) -> None:
    server.refusals[("PATCH", SERVICES)] = (409, "conflict with kubectl")

    with pytest.raises(NameTakenError):
        await cluster.apply(owned())


@pytest.mark.parametrize("status", [400, 422])
async def test_what_the_api_server_finds_invalid_is_the_specs_fault(
    server: ApiServer, cluster: KubeCluster, status: int
) -> None:
    server.refusals[("PATCH", SERVICES)] = (status, "spec.ports: required")

    with pytest.raises(InvalidSpecError, match=r"Service vision: spec\.ports: required"):
        await cluster.apply(owned())


async def test_another_failure_is_tried_again_with_all_of_the_manifest(
    server: ApiServer, cluster: KubeCluster
) -> None:
    server.refusals[("PATCH", SERVICES)] = (500, "etcd")
    with pytest.raises(ClusterError):
        await cluster.apply(owned())

    server.refusals.clear()
    await cluster.apply(owned())

    assert SERVICES in server.objects


# ---- create and delete ------------------------------------------------------------------------

JOB = "/apis/batch/v1/namespaces/team/jobs/vision-sync-1"


def job(uid: str = "uid-vision") -> Body:
    labels = {names.LABEL_SERVER: "vision"}
    found = owned("Job", "vision-sync-1", uid)
    found["metadata"]["labels"] = labels
    return found


async def test_a_job_that_was_made_is_known_at_once(
    cluster: KubeCluster, server: ApiServer
) -> None:
    await cluster.create(job())

    assert [found.name for found in cluster.observe(("team", "vision")).jobs] == ["vision-sync-1"]


async def test_a_job_that_is_there_already_is_fine_if_it_is_ours(
    server: ApiServer, cluster: KubeCluster
) -> None:
    server.store(JOB, job())
    await cluster.create(job())
    assert cluster.observe(("team", "vision")).jobs

    server.store(JOB, job("somebody"))
    with pytest.raises(NameTakenError):
        await cluster.create(job())


async def test_a_deleted_job_goes_after_its_pod_and_others_at_once(
    server: ApiServer, cluster: KubeCluster
) -> None:
    server.store(JOB, job())
    server.store(SERVICES, owned())

    await cluster.delete("Job", "team", "vision-sync-1")
    await cluster.delete("Service", "team", "vision")

    policies = [query["propagationPolicy"] for query in server.queries]
    assert policies == ["Foreground", "Background"]
    assert server.objects == {}


async def test_deleting_what_is_gone_is_fine_and_forgets_it(
    cluster: KubeCluster, mirror: Mirror
) -> None:
    mirror.put(job())

    await cluster.delete("Job", "team", "vision-sync-1")

    assert cluster.observe(("team", "vision")).jobs == ()


# ---- the keys of the control API --------------------------------------------------------------

KEY = "vision-control-key"
SECRET = f"/api/v1/namespaces/team/secrets/{KEY}"


async def test_a_key_is_made_once(server: ApiServer, cluster: KubeCluster) -> None:
    key = await cluster.control_key(OWNER, KEY, new=True)

    assert server.requests == ["POST /api/v1/namespaces/team/secrets"]
    assert await cluster.control_key(OWNER, KEY, new=False) == key
    assert await cluster.find_control_key(OWNER, KEY) == key
    assert len(server.requests) == 1
    assert read_control_key(server.objects[SECRET]) == key
    assert await cluster.control_key(OWNER, f"{KEY}-0123456789", new=True) != key


@pytest.mark.parametrize("new", [True, False])
async def test_a_key_that_is_there_is_read(server: ApiServer, new: bool) -> None:
    assert server.api is not None
    key = await KubeCluster(server.api, Mirror(), server.telemetry).control_key(
        OWNER, KEY, new=True
    )

    later = KubeCluster(server.api, Mirror(), server.telemetry)
    assert await later.control_key(OWNER, KEY, new=new) == key


async def test_a_key_that_pods_have_is_looked_for_but_never_made(
    server: ApiServer, cluster: KubeCluster
) -> None:
    assert await cluster.find_control_key(OWNER, KEY) is None
    assert server.requests == [f"GET {SECRET}"]


async def test_a_key_that_was_deleted_is_forgotten(server: ApiServer, cluster: KubeCluster) -> None:
    key = await cluster.control_key(OWNER, KEY, new=True)

    await cluster.drop_control_key(OWNER, KEY)
    assert SECRET not in server.objects
    await cluster.drop_control_key(OWNER, KEY)

    assert await cluster.find_control_key(OWNER, KEY) is None
    assert await cluster.control_key(OWNER, KEY, new=True) != key


async def test_a_secret_of_somebody_else_is_neither_used_nor_deleted(
    server: ApiServer, cluster: KubeCluster
) -> None:
    await cluster.control_key(OWNER, KEY, new=True)
    other = OWNER.model_copy(update={"name": "other", "uid": "uid-other"})

    for new in (True, False):
        with pytest.raises(NameTakenError):
            await cluster.control_key(other, KEY, new=new)
    assert await cluster.find_control_key(other, KEY) is None
    await cluster.drop_control_key(other, KEY)
    assert SECRET in server.objects


async def test_what_an_earlier_owner_of_the_name_leaves_is_waited_for(
    server: ApiServer, cluster: KubeCluster, mirror: Mirror
) -> None:
    before = await cluster.control_key(OWNER, KEY, new=True)
    anew = OWNER.model_copy(update={"uid": "uid-anew"})
    service = server.store(SERVICES, owned())
    mirror.put(service)

    with pytest.raises(NameNotFreeYetError, match="an earlier TritonServer vision,"):
        await cluster.control_key(anew, KEY, new=True)
    wanted = owned()
    wanted["metadata"]["ownerReferences"][0]["uid"] = "uid-anew"
    with pytest.raises(NameNotFreeYetError, match="Service team/vision is that of an earlier"):
        await cluster.apply(wanted)

    assert server.objects[SERVICES] == service
    del server.objects[SECRET]
    assert await cluster.control_key(anew, KEY, new=True) != before


# ---- our own objects --------------------------------------------------------------------------

META = ObjectMeta(name="resnet", namespace="team", uid="uid", resource_version="1")


async def test_a_status_replaces_the_whole_of_the_old_one_on_this_very_object(
    server: ApiServer, cluster: KubeCluster
) -> None:
    server.objects[STATUS.removesuffix("/status")] = model()

    await cluster.write_status(names.KIND_MODEL, META, TritonModelStatus(server="vision"))

    assert server.requests == [f"PATCH {STATUS}"]
    assert server.types == [api_client.JSON_PATCH]
    test, add = server.bodies[0]
    assert test == {"op": "test", "path": "/metadata/uid", "value": "uid"}
    assert (add["op"], add["path"], add["value"]["server"]) == ("add", "/status", "vision")
    record = cluster.model(("team", "resnet"))
    assert record is not None
    assert record.status.server == "vision"


async def test_a_status_of_what_is_gone_is_not_written(
    server: ApiServer, cluster: KubeCluster
) -> None:
    server.refusals[("PATCH", STATUS)] = (404, "not found")

    await cluster.write_status(names.KIND_MODEL, META, TritonModelStatus())

    assert cluster.model(("team", "resnet")) is None


async def test_finalizers_are_replaced_only_on_what_was_seen(
    server: ApiServer, cluster: KubeCluster
) -> None:
    path = STATUS.removesuffix("/status")
    server.objects[path] = model()

    await cluster.set_finalizers(names.KIND_MODEL, META, ("a", "b"))

    assert server.bodies == [{"metadata": {"finalizers": ["a", "b"], "resourceVersion": "1"}}]
    assert server.objects[path]["metadata"]["finalizers"] == ["a", "b"]


EVENTS = "/apis/events.k8s.io/v1/namespaces/team/events"


async def test_an_event_is_about_its_object_and_a_line_of_the_log(
    server: ApiServer, cluster: KubeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    await cluster.record_event(names.KIND_MODEL, META, Event("Warning", "LoadFailed", "x" * 5000))

    (event,) = server.bodies
    assert server.requests == [f"POST {EVENTS}"]
    (line,) = [each for each in caplog.records if each.name.endswith("adapters.kube")]
    assert line.levelname == "WARNING"
    assert line.getMessage().startswith("TritonModel team/resnet: LoadFailed: xx")
    about = {"kind": "TritonModel", "namespace": "team", "name": "resnet"}
    assert (line.object, line.reason) == (about, "LoadFailed")  # type: ignore[attr-defined]
    assert event["regarding"]["uid"] == "uid"
    assert (event["type"], event["reason"]) == ("Warning", "LoadFailed")
    assert len(event["note"]) <= 1024
    assert event["metadata"]["name"].startswith("resnet.")


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_no_pass_fails_for_want_of_an_event(
    server: ApiServer, cluster: KubeCluster, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.refusals[("POST", EVENTS)] = (status, "no")

    await cluster.record_event(names.KIND_MODEL, META, Event("Normal", "Serving", ""))

    assert any("Serving" in record.getMessage() for record in caplog.records)


async def test_what_happens_in_a_namespace_that_goes_away_is_no_news(
    server: ApiServer, cluster: KubeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.refusals[("POST", EVENTS)] = TERMINATING
    news = Event("Warning", "SyncFailed", "")

    def lines() -> int:
        return len([each for each in caplog.records if each.name.endswith("adapters.kube")])

    def counted() -> float | None:
        labels = {"kind": names.KIND_MODEL, "type": "Warning", "reason": "SyncFailed"}
        return server.telemetry.registry.get_sample_value("triton_operator_events_total", labels)

    await cluster.record_event(names.KIND_MODEL, META, news)
    assert (lines(), counted()) == (0, None)

    del server.refusals[("POST", EVENTS)]
    await cluster.record_event(names.KIND_MODEL, META, news)
    assert (lines(), counted()) == (1, 1)


async def test_a_log_is_read_of_our_own_container_only(
    server: ApiServer, cluster: KubeCluster
) -> None:
    assert await cluster.read_log("team", Pod("vision-1"), seconds=0) == "a log"

    sync = Pod("vision-1", component="sync")
    assert await cluster.read_log("team", sync, lines=100) == "a log"

    await cluster.read_log("team", Pod("vision-1"), previous=True)

    assert server.queries == [
        {
            "container": "triton",
            "sinceSeconds": "1",
            "tailLines": "5000",
            "limitBytes": "2000000",
        },
        {"container": "sync", "tailLines": "100", "limitBytes": "2000000"},
        {
            "container": "triton",
            "previous": "true",
            "tailLines": "5000",
            "limitBytes": "2000000",
        },
    ]
