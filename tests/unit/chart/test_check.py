"""``triton-operator check`` against a small API server and an operator that may answer."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.unit.chart.kubeconfig import use_kubeconfig
from triton_operator import names
from triton_operator.api.model import TritonModel
from triton_operator.cli import check
from triton_operator.cli.check import EXIT_FAILED, EXIT_WORKS, run_check

SELECTOR = "app.kubernetes.io/component=operator"
STEPS = [
    "ok: the API server serves the kinds",
    "ok: the operator answers",
    "ok: models are admitted by rules",
]


@dataclass
class World:
    """What the API server has, and how the operator behaves."""

    plurals: tuple[str, ...] = ("tritonmodels", "tritonservers", "tritonservers/scale")
    pods: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"metadata": {"name": "a"}, "status": {"phase": "Running", "podIP": "127.0.0.1"}}
        ]
    )
    replicas: int = 1
    health: list[int] = field(default_factory=lambda: [200])
    """Answers of the operator; the last one stays."""
    admits: list[int] = field(default_factory=lambda: [201, 422])
    """Answers to a good model and to a bad one."""
    asked: list[Any] = field(default_factory=list)
    """The models that the API server was asked about."""

    async def kinds(self, _: web.Request) -> web.Response:
        return web.json_response({"resources": [{"name": each} for each in self.plurals]})

    async def scale(self, _: web.Request) -> web.Response:
        body = {"spec": {"replicas": self.replicas}, "status": {"selector": SELECTOR}}
        return web.json_response(body)

    async def list_pods(self, request: web.Request) -> web.Response:
        assert request.query["labelSelector"] == SELECTOR
        return web.json_response({"items": self.pods})

    async def admit(self, request: web.Request) -> web.Response:
        assert request.query["dryRun"] == "All"
        self.asked.append(await request.json())
        status = self.admits[(len(self.asked) - 1) % 2]
        return web.json_response({"message": "no"}, status=status)

    async def alive(self, _: web.Request) -> web.Response:
        status = self.health.pop(0) if len(self.health) > 1 else self.health[0]
        return web.Response(status=status)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(check, "_POLL_SECONDS", 0.02)
    world, api, operator = World(), web.Application(), web.Application()
    ours = f"/apis/{names.API_VERSION}"
    api.router.add_get(ours, world.kinds)
    api.router.add_get("/apis/apps/v1/namespaces/operators/deployments/op/scale", world.scale)
    api.router.add_get("/api/v1/namespaces/operators/pods", world.list_pods)
    api.router.add_post(f"{ours}/namespaces/operators/tritonmodels", world.admit)
    operator.router.add_get("/healthz", world.alive)
    async with TestServer(api) as server, TestServer(operator) as pod:
        use_kubeconfig(tmp_path, str(server.make_url("")), monkeypatch)
        monkeypatch.setenv("TRITON_OPERATOR_PROBE_PORT", str(pod.port))
        yield world


async def run(seconds: float = 0.2) -> int:
    return await asyncio.to_thread(
        run_check, namespace="operators", deployment="op", seconds=seconds
    )


async def test_an_installation_that_works(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run() == EXIT_WORKS
    assert capsys.readouterr().out.splitlines() == STEPS


async def test_the_model_that_is_asked_about_is_one_and_the_other_is_none(world: World) -> None:
    assert await run() == EXIT_WORKS
    good, bad = world.asked
    for body in (good, bad):
        body["metadata"] |= {"name": "check", "namespace": "operators", "uid": "0"}
    TritonModel.model_validate(good)
    assert {"server", "serverRef"} <= set(bad["spec"])


async def test_it_waits_for_what_comes_later(world: World) -> None:
    world.health[:] = [503, 500, 200]
    assert await run(seconds=20) == EXIT_WORKS


@pytest.mark.parametrize(
    ("broken", "told", "worked"),
    [
        ({"plurals": ("tritonmodels",)}, "does not serve tritonservers", 0),
        ({"replicas": 0}, "0 pods of op run", 1),
        ({"replicas": 2}, "1 of 2 pods of op run", 1),
        ({"pods": []}, "0 of 1 pods of op run", 1),
        ({"health": [500]}, "/healthz answers 500", 1),
        ({"admits": [422, 422]}, "HTTP 422", 2),
        ({"admits": [201, 201]}, "CRDs lack their rules", 2),
        ({"admits": [403, 403]}, "HTTP 403", 2),
    ],
)
async def test_what_does_not_work_is_told(
    world: World,
    capsys: pytest.CaptureFixture[str],
    broken: dict[str, Any],
    told: str,
    worked: int,
) -> None:
    for name, value in broken.items():
        setattr(world, name, value)
    assert await run() == EXIT_FAILED
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.out.splitlines() == STEPS[:worked]


async def test_an_operator_that_does_not_listen_is_told(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.pods[0]["status"]["podIP"] = "127.0.0.2"
    assert await run() == EXIT_FAILED
    assert "http://127.0.0.2:" in capsys.readouterr().err
