"""The command line of ``kubectl triton``: what it refuses before there is a cluster."""

from collections.abc import Callable
from pathlib import Path

import pytest
from kubernetes.aio.config import kube_config
from typer.testing import CliRunner

from triton_operator.kubectl.commands import app

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Run a command without a kubeconfig; return exit code and standard error."""
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, list(arguments))
        return done.exit_code, done.stderr

    return run


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("status", "vision", "-A"), "NAME and --all-namespaces exclude each other"),
        (("profile", "m", "--concurrency", "many"), "'many' is not START:END:STEP"),
        (("profile", "m", "--request-rate", "1:2:3:4"), "'1:2:3:4' is not START:END:STEP"),
        (("infer",), "Missing argument 'NAME'"),
        (("infer", "m", "--repeat", "0"), "greater than or equal to 1"),
        (("top", "--interval", "0"), "greater than or equal to 0.2"),
        (("status", "-o", "xml"), "'xml' is not one of"),
    ],
)
def test_arguments_that_cannot_be_used(call: Call, arguments: tuple[str, ...], told: str):
    code, error = call(*arguments)

    assert code == 2
    assert told in " ".join(error.split())


@pytest.mark.parametrize("command", ["status", "top", "logs m", "infer m", "profile m"])
@pytest.mark.parametrize("content", [None, "", "a: [", "contexts: []"])
def test_without_a_cluster(call: Call, tmp_path: Path, command: str, content: str | None):
    if content is not None:
        (tmp_path / "config").write_text(content)

    code, error = call(*command.split())

    assert code == 1
    line = error.strip()
    assert line.startswith("kubectl triton: there is no cluster to talk to: ")
    assert "set KUBECONFIG" in line
