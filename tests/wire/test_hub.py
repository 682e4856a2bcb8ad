"""``hf://`` against a small stand-in for the hub: its two endpoints, and a store behind it."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.wire import servers
from tests.wire.fetching import Fetcher
from tests.wire.servers import Scripted, send, send_range
from triton_operator.adapters.credentials import Secrets
from triton_operator.adapters.sources import open_sources
from triton_operator.repository.downloads import Limits
from triton_operator.repository.manifest import SourceRef
from triton_operator.repository.sources import (
    InvalidSourceError,
    SourceChangedError,
    SourceNotFoundError,
    SourceRefusedError,
    SourceUnreachableError,
)

WEIGHTS = os.urandom(9 << 20)
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
LARGE = {
    "type": "file", "path": "onnx/model.onnx", "size": len(WEIGHTS), "oid": "aa",
    "lfs": {"oid": DIGEST, "size": len(WEIGHTS)},
}  # fmt: skip
SMALL = {"type": "file", "path": "onnx/config.json", "size": 2, "oid": "bb"}
TREE = "/api/models/org/bert/tree/main"


@pytest.fixture
def hub(server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetcher:
    monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/")
    following = f'<{server.url}{TREE}/page2>; rel="next"'
    folder = {"type": "directory", "path": "onnx", "size": 0, "oid": "cc"}
    server.answers |= {
        TREE: lambda handler, _: send(handler, 200, json.dumps([folder]).encode()),
        f"{TREE}/onnx": lambda handler, _: send(
            handler, 200, json.dumps([LARGE]).encode(), Link=following
        ),
        f"{TREE}/page2": lambda handler, _: send(handler, 200, json.dumps([SMALL]).encode()),
        "/org/bert/resolve/main/onnx/config.json": lambda handler, _: send_range(
            handler, b"{}", etag='"bb"'
        ),
        "/org/bert/resolve/main/onnx/model.onnx": lambda handler, _: send(
            handler, 302, Location="/cdn/1", X_Linked_ETag=f'"{DIGEST}"'
        ),
        "/cdn/1": lambda handler, _: send_range(handler, WEIGHTS, etag='"of the store"'),
    }
    return Fetcher(open_sources({}), tmp_path, Limits(attempts=1))


def test_files_and_folders_of_the_hub_are_read(hub: Fetcher) -> None:
    tree = {"model.onnx": WEIGHTS, "config.json": b"{}"}
    assert hub.read_all("hf://org/bert/onnx") == tree
    assert hub.read("hf://org/bert@main/onnx/model.onnx") == WEIGHTS
    (file,) = hub.sources.list_files(SourceRef("hf://org/bert/onnx/model.onnx"))
    assert file.sha256 == DIGEST


def test_what_is_not_there_is_not_found(hub: Fetcher, server: Scripted) -> None:
    server.answers[f"{TREE}/gone"] = lambda handler, _: send(handler, 404)
    with pytest.raises(SourceNotFoundError):
        hub.read("hf://org/bert/gone/x")
    with pytest.raises(InvalidSourceError, match="hf://<owner>"):
        hub.read("hf://org")


def test_a_file_that_changes_meanwhile_is_refused(hub: Fetcher, server: Scripted) -> None:
    server.answers["/org/bert/resolve/main/onnx/config.json"] = lambda handler, _: send_range(
        handler, b"{}", etag='"other"'
    )
    with pytest.raises(SourceChangedError):
        hub.read("hf://org/bert/onnx/config.json")


@pytest.mark.parametrize("path", ["../x", "/x", "a//b"])
def test_no_path_of_the_hub_leads_out_of_its_folder(hub, server: Scripted, path: str) -> None:
    evil = [{**SMALL, "path": f"onnx/{path}"}]
    server.answers[f"{TREE}/onnx"] = lambda handler, _: send(
        handler, 200, json.dumps(evil).encode()
    )
    with pytest.raises(InvalidSourceError):
        hub.read_all("hf://org/bert/onnx/")


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b"[1]", b'[{"type": "file"}]'])
def test_an_answer_that_is_no_list_is_not_believed(hub, server: Scripted, answer: bytes) -> None:
    server.answers[TREE] = lambda handler, _: send(handler, 200, answer)
    with pytest.raises((SourceUnreachableError, SourceNotFoundError)):
        hub.read_all("hf://org/bert")


def test_the_token_is_never_sent_unencrypted(hub, server: Scripted, tmp_path: Path) -> None:
    root = servers.write_secret(tmp_path / "s/hf", HF_TOKEN="hf_token")
    with pytest.raises(InvalidSourceError, match="unencrypted"):
        open_sources({}, Secrets(root)).list_files(SourceRef("hf://org/bert/onnx", secret="hf"))
    assert server.requests == []


@pytest.mark.parametrize("hub", ["https://evil.example", "https://huggingface.co.evil.example"])
def test_the_token_goes_to_no_other_hub_than_its_secret_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hub: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub)
    root = servers.write_secret(tmp_path / "s/hf", HF_TOKEN="hf_token", hosts="mirror.example")
    with pytest.raises(SourceRefusedError, match="'hosts'"):
        open_sources({}, Secrets(root)).list_files(SourceRef("hf://org/bert/onnx", secret="hf"))


@pytest.mark.parametrize("hub", ["https://mirror.example", "https://huggingface.co", ""])
def test_the_token_goes_to_the_hub_and_to_mirrors_that_its_secret_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hub: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub)
    root = servers.write_secret(tmp_path / "s/hf", HF_TOKEN="hf_token", hosts="mirror.example")
    source = open_sources({}, Secrets(root))._by_scheme["hf"]
    assert source._authorization("hf://org/bert", "hf") == {"Authorization": "Bearer hf_token"}
