"""Which cluster and namespace ``kubectl triton`` takes: as kubectl does."""

import json
from pathlib import Path

import pytest
from kubernetes.aio.config import kube_config

from triton_operator.kubectl.connection import connect
from triton_operator.kubectl.errors import PluginError


@pytest.fixture(autouse=True)
def kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def context(name: str, **more: str) -> dict[str, object]:
        return {"name": name, "context": {"cluster": "local", "user": "me", **more}}

    config = {
        "current-context": "vision",
        "contexts": [context("vision", namespace="team"), context("plain")],
        "clusters": [{"name": "local", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "me", "user": {"token": "secret"}}],
    }
    file = tmp_path / "config"
    file.write_text(json.dumps(config))
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(file))


@pytest.mark.parametrize(
    ("context", "namespace", "chosen"),
    [
        ("", "", "team"),
        ("", "other", "other"),
        ("plain", "", "default"),
        ("plain", "other", "other"),
    ],
)
async def test_the_namespace(context: str, namespace: str, chosen: str):
    async with connect(context, namespace) as connection:
        assert connection.namespace == chosen


async def test_a_context_that_does_not_exist():
    with pytest.raises(PluginError, match=r"no cluster to talk to: .*absent.*--context"):
        async with connect("absent"):
            pass
