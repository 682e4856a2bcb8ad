"""``triton-operator release`` against a small API server of three kinds."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.unit.chart.kubeconfig import use_kubeconfig
from triton_operator import names
from triton_operator.cli.release import EXIT_DONE, EXIT_FAILED, run_release

SELECTOR = "app.kubernetes.io/component=operator"
OTHERS = "example.com/backup"

Manifest = dict[str, Any]


@dataclass
class World:
    """What the API server has, and how it behaves."""

    servers: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    replicas: int | None = 1
    """Of the Deployment ``operators/operator``; None when there is none."""
    lists_until_stopped: int = 2
    """How often the operator's pod is still listed after the Deployment was scaled."""
    conflicts: int = 0
    crd: bool = True
    refused: bool = False

    def add(self, name: str, *finalizers: str, namespace: str = "default") -> None:
        metadata = {
            "name": name,
            "namespace": namespace,
            "uid": name,
            "resourceVersion": "1",
            "finalizers": list(finalizers),
        }
        self.servers[(namespace, name)] = {"metadata": metadata}

    def finalizers(self, name: str, namespace: str = "default") -> list[str]:
        return list(self.servers[(namespace, name)]["metadata"]["finalizers"])

    async def scale(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/merge-patch+json"
        if self.replicas is None:
            return _failure(404)
        self.replicas = json.loads(await request.text())["spec"]["replicas"]
        return web.json_response({"status": {"replicas": 1, "selector": SELECTOR}})

    async def pods(self, request: web.Request) -> web.Response:
        assert request.query["labelSelector"] == SELECTOR
        pods = [{"metadata": {"name": "evicted"}, "status": {"phase": "Failed"}}]
        if self.replicas or self.lists_until_stopped:
            self.lists_until_stopped -= 1
            pods.append({"metadata": {"name": "operator-1"}, "status": {"phase": "Running"}})
        return web.json_response({"items": pods})

    async def list_servers(self, request: web.Request) -> web.Response:
        if self.refused:
            return _failure(403)
        if not self.crd:
            return _failure(404)
        wanted = request.match_info.get("namespace")
        items = [each for (at, _), each in self.servers.items() if wanted in (None, at)]
        return web.json_response({"items": items})

    async def patch_server(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/merge-patch+json"
        assert not self.replicas, "the operator runs and would put the finalizer back"
        assert self.lists_until_stopped == 0 or self.replicas is None
        server = self.servers[(request.match_info["namespace"], request.match_info["name"])]
        metadata = server["metadata"]
        patch = json.loads(await request.text())["metadata"]
        if self.conflicts:
            self.conflicts -= 1
            metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
            metadata["finalizers"].append(f"example.com/new-{self.conflicts}")
        if patch.pop("resourceVersion") != metadata["resourceVersion"]:
            return _failure(409)
        assert set(patch) == {"finalizers"}
        metadata |= patch
        return web.json_response(server)


def _failure(status: int) -> web.Response:
    return web.json_response({"message": "no"}, status=status)


@pytest.fixture
async def world(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    world, app = World(), web.Application()
    ours = f"/apis/{names.API_VERSION}"
    app.router.add_patch(
        "/apis/apps/v1/namespaces/operators/deployments/operator/scale", world.scale
    )
    app.router.add_get("/api/v1/namespaces/operators/pods", world.pods)
    app.router.add_get(f"{ours}/tritonservers", world.list_servers)
    app.router.add_get(f"{ours}/namespaces/{{namespace}}/tritonservers", world.list_servers)
    app.router.add_patch(
        f"{ours}/namespaces/{{namespace}}/tritonservers/{{name}}", world.patch_server
    )
    async with TestServer(app) as server:
        use_kubeconfig(tmp_path, str(server.make_url("")), monkeypatch)
        yield world


async def release(deployment: str = "operators/operator", seconds: float = 20.0) -> int:
    return await asyncio.to_thread(run_release, deployment=deployment, seconds=seconds)


async def test_servers_are_let_go_of_once_the_operator_has_stopped(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.add("held", names.FINALIZER, OTHERS)
    world.add("elsewhere", names.FINALIZER, namespace="team-a")
    world.add("free", OTHERS)
    assert await release() == EXIT_DONE
    assert world.replicas == 0
    assert world.finalizers("held") == [OTHERS]
    assert world.finalizers("elsewhere", "team-a") == []
    assert world.finalizers("free") == [OTHERS]
    assert capsys.readouterr().out.splitlines() == [
        "waiting for operator-1 in namespace operators to end",
        "Deployment operators/operator stopped",
        "TritonServer default/held released; its files stay on its claim",
        "TritonServer team-a/elsewhere released; its files stay on its claim",
    ]


async def test_only_the_watched_namespaces_are_touched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_OPERATOR_NAMESPACES", "team-a,team-b")
    world.add("ours", names.FINALIZER, namespace="team-a")
    world.add("not-ours", names.FINALIZER)
    assert await release() == EXIT_DONE
    assert world.finalizers("ours", "team-a") == []
    assert world.finalizers("not-ours") == [names.FINALIZER]


async def test_a_server_that_changes_meanwhile_keeps_what_it_got(world: World) -> None:
    world.add("busy", names.FINALIZER)
    world.conflicts = 2
    assert await release() == EXIT_DONE
    assert world.finalizers("busy") == ["example.com/new-1", "example.com/new-0"]


async def test_an_operator_that_is_gone_already_is_not_waited_for(world: World) -> None:
    world.replicas = None
    world.add("held", names.FINALIZER)
    assert await release() == EXIT_DONE
    assert world.finalizers("held") == []


async def test_without_a_deployment_only_servers_are_let_go_of(world: World) -> None:
    world.replicas = None
    world.add("held", names.FINALIZER)
    assert await release(deployment="") == EXIT_DONE
    assert world.finalizers("held") == []


async def test_without_the_crd_there_is_nothing_to_let_go_of(world: World) -> None:
    world.crd = False
    assert await release() == EXIT_DONE


async def test_a_second_run_changes_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.add("held", names.FINALIZER)
    await release()
    capsys.readouterr()
    assert await release() == EXIT_DONE
    assert capsys.readouterr().out == "Deployment operators/operator stopped\n"


async def test_an_operator_that_does_not_stop_in_time_is_a_failure_and_nothing_is_let_go_of(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.lists_until_stopped = 1_000_000
    world.add("held", names.FINALIZER)
    assert await release(seconds=0.3) == EXIT_FAILED
    assert world.finalizers("held") == [names.FINALIZER]
    assert "not done within 0.3 seconds" in capsys.readouterr().err


async def test_a_refusal_of_the_api_server_is_a_failure(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.refused = True
    assert await release() == EXIT_FAILED
    assert "HTTP 403" in capsys.readouterr().err


async def test_a_deployment_without_its_namespace_is_refused(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await release(deployment="operator") == EXIT_FAILED
    assert world.replicas == 1
    assert "NAMESPACE/NAME" in capsys.readouterr().err
