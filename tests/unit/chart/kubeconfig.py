"""A kubeconfig for an API server of a test."""

from pathlib import Path

import pytest
import yaml


def use_kubeconfig(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the Kubernetes client talk to the server at an address."""
    kubeconfig = {
        "clusters": [{"name": "c", "cluster": {"server": url.rstrip("/")}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig))
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
