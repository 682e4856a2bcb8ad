"""``triton-operator sync``, the process of a sync Job, from its arguments to its outcome."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import triton_operator
from tests.wire import servers
from tests.wire.servers import S3, Scripted, send, send_range
from triton_operator.cli.sync import run_sync
from triton_operator.plan.sync_log import read_sync_log
from triton_operator.repository.downloads import Downloads
from triton_operator.repository.manifest import (
    Generation,
    Link,
    Manifest,
    SourceRef,
    VersionContent,
)
from triton_operator.repository.outcome import decode_outcome

BODY = os.urandom(24 << 20)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "bert/vocab").mkdir(parents=True)
    (folder / "bert/model.py").write_bytes(b"1")
    (folder / "bert/vocab/en.txt").write_bytes(b"2")
    return folder


@dataclass
class Job:
    """A sync Job's files."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "claim"

    def run(self, manifest: Manifest | str, *claims: str, options: tuple[str, ...] = ()) -> int:
        text = manifest if isinstance(manifest, str) else manifest.to_json()
        (self.folder / "manifest.json").write_text(text)
        self.root.mkdir(exist_ok=True)
        return run_sync(
            ["--manifest", str(self.folder / "manifest.json"), "--root", str(self.root),
             "--termination-log", str(self.folder / "log"),
             *(argument for claim in claims for argument in ("--claim", claim)), *options]
        )  # fmt: skip


def serving(uri: str, sha256: str | None = None) -> Manifest:
    bert = Generation("bert", "aa", "config", {}, (VersionContent(1, SourceRef(uri, sha256)),))
    return Manifest("vision", (bert,), (Link("bert", "bert", "aa"),))


def test_the_job_serves_a_folder_of_a_claim(tmp_path, models, capsys) -> None:
    job = Job(tmp_path)
    manifest = serving("pvc://models/bert/")
    assert job.run(manifest, f"models={models}") == 0
    assert (job.root / "servers/vision/bert/1/vocab/en.txt").read_bytes() == b"2"
    outcome = decode_outcome((tmp_path / "log").read_text())
    assert outcome is not None
    assert outcome.manifest == manifest.digest()
    assert outcome.failed == {}
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    # The total is known before the first byte.
    assert events[0] == {"event": "copied", "object": "bert", "bytes": 0, "total": 2}
    assert sorted(each["event"] for each in events[1:5]) == ["fetched"] * 2 + ["fetching"] * 2
    assert [each["event"] for each in events[5:]] == ["built", "linked", "done"]
    (artifact,) = outcome.artifacts["bert"]
    assert (artifact.version, artifact.uri, artifact.bytes) == (1, "pvc://models/bert/", 2)
    model = "pvc://models/bert/model.py"
    fetched = next(e for e in events if e["event"] == "fetched" and e["uri"] == model)
    assert fetched == {
        "event": "fetched",
        "object": "bert",
        "uri": model,
        "bytes": 1,
        "total": 1,
        "sha256": hashlib.sha256(b"1").hexdigest(),
        "seconds": fetched["seconds"],
    }


def test_artifacts_that_do_not_fit_into_the_outcome_are_in_the_log(
    tmp_path: Path, models: Path, capsys
) -> None:
    versions = tuple(
        VersionContent(number, SourceRef("pvc://models/bert/model.py")) for number in range(1, 65)
    )
    bert = Generation("bert", "aa", "config", {}, versions)
    manifest = Manifest("vision", (bert,), (Link("bert", "bert", "aa"),))

    assert Job(tmp_path).run(manifest, f"models={models}") == 0

    outcome = decode_outcome((tmp_path / "log").read_text())
    assert outcome is not None
    assert (outcome.manifest, outcome.artifacts) == (manifest.digest(), None)
    found = read_sync_log(capsys.readouterr().out).artifacts["bert"]
    assert [each.version for each in found] == list(range(1, 65))
    assert {each.sha256 for each in found} == {hashlib.sha256(b"1").hexdigest()}


def test_the_claims_own_files_are_copied_not_tied(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.root.mkdir()
    mine = job.root / "mine.onnx"
    mine.write_bytes(b"good")
    digest = hashlib.sha256(b"good").hexdigest()
    assert job.run(serving("pvc://own/mine.onnx", digest), f"own={job.root}") == 0
    mine.write_bytes(b"evil")
    assert (job.root / "servers/vision/bert/1/mine.onnx").read_bytes() == b"good"


def test_the_job_is_not_run_again_for_what_is_not_there(tmp_path: Path, models: Path) -> None:
    assert Job(tmp_path).run(serving("pvc://models/gone"), f"models={models}") == 0
    outcome = decode_outcome((tmp_path / "log").read_text())
    assert outcome is not None
    assert outcome.failed["bert"].reason == "SourceNotFound"
    assert "pvc://models/gone" in outcome.failed["bert"].message


def test_the_job_is_run_again_for_what_may_come_back(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Downloads, "_wait", lambda *_: None)
    uri = "https://127.0.0.1:9/model.onnx"
    assert Job(tmp_path).run(serving(uri)) == 1
    outcome = decode_outcome((tmp_path / "log").read_text())
    assert outcome is not None
    assert outcome.failed["bert"].reason == "SourceUnreachable"
    assert uri in outcome.failed["bert"].message


@pytest.mark.parametrize("text", ["", "{}", '{"server": "../x"}'])
def test_an_unusable_manifest_is_said_so(tmp_path: Path, text: str, capsys) -> None:
    assert Job(tmp_path).run(text) == 2
    assert "triton-operator sync:" in capsys.readouterr().err


def start(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "triton_operator", *map(str, arguments)]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(triton_operator.__file__).parents[1])}


def test_a_job_that_is_stopped_leaves_what_the_next_one_goes_on_with(tmp_path, models) -> None:
    with (models / "huge").open("wb") as huge:
        huge.truncate(4 << 30)
    (tmp_path / "manifest.json").write_text(serving("pvc://models/huge").to_json())
    root = tmp_path / "claim"
    root.mkdir()
    command = start("sync", "--manifest", tmp_path / "manifest.json", "--root", root)
    with subprocess.Popen(
        [*command, "--claim", f"models={models}"], env=ENVIRONMENT, stdout=subprocess.DEVNULL
    ) as job:
        wait_for(lambda: any(path.stat().st_size for path in root.glob(".staging/*/journal")))
        job.terminate()
        assert job.wait(30) == 1
    (left,) = (root / ".staging").iterdir()
    assert {path.name for path in left.iterdir()} == {"content", "journal"}


def wait_for(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_silent_server_keeps_no_other_model_waiting(tmp_path: Path, server: Scripted) -> None:
    asked, end = threading.Event(), threading.Event()

    def say_nothing(_: servers.Handler, __: int) -> None:
        asked.set()
        end.wait(60)

    server.answers["/silent.onnx"] = say_nothing
    server.answers["/model.onnx"] = lambda handler, _: send_range(handler, BODY, etag='"v1"')
    sources = {"a-silent": "/silent.onnx", "fetched": "/model.onnx", "inline": None}
    models = tuple(
        Generation(name, "aa", "", {}, (VersionContent(1, SourceRef(server.url + path)),))
        if path
        else Generation(name, "aa", "", {}, (VersionContent(1, files={"model.py": "pass"}),))
        for name, path in sources.items()
    )
    manifest = Manifest("vision", models, tuple(Link(name, name, "aa") for name in sources))
    (tmp_path / "manifest.json").write_text(manifest.to_json())
    root = tmp_path / "claim"
    root.mkdir()
    command = start("sync", "--manifest", tmp_path / "manifest.json", "--root", root)
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        log = ""
        for line in job.stdout:
            log += line
            if read_sync_log(log).waiting == {"a-silent"}:
                break
        assert asked.is_set()
        served = root / "servers/vision"
        assert {path.name for path in served.iterdir()} == {"fetched", "inline"}
        assert (served / "fetched/1/model.onnx").read_bytes() == BODY
        assert job.poll() is None
        job.kill()
    end.set()


def test_a_job_without_downloads_imports_nothing_slow(tmp_path: Path, models: Path) -> None:
    (tmp_path / "manifest.json").write_text(serving("pvc://models/bert").to_json())
    command = start("sync", "--manifest", tmp_path / "manifest.json", "--root", tmp_path)
    job = subprocess.run(
        [command[0], "-X", "importtime", *command[1:], "--claim", f"models={models}"],
        env=ENVIRONMENT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in job.stderr.splitlines()}
    assert "triton_operator.repository.materialize" in imported
    slow = {
        "pydantic",
        "typer",
        "urllib3",
        "obstore",
        "aiohttp",
        "asyncio",
        "kopf",
        "kubernetes",
        "google",
    }
    assert imported & slow == set()


def test_the_commands_are_listed() -> None:
    told = subprocess.run(
        start("--help"), env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0
    assert "sync" in told.stdout
    assert "run" in told.stdout


def events_of(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_one_content_is_fetched_once_whoever_wants_it(tmp_path, s3: S3, capsys) -> None:
    s3.put("models/once/model.onnx", BODY)
    s3.write_secret(tmp_path / "secrets/s3")
    uri = "s3://models/once/model.onnx"
    source = SourceRef(uri, secret="s3")
    versions = (VersionContent(1, source), VersionContent(2, source))
    job = Job(tmp_path)
    for server in ("one", "two"):
        models = tuple(Generation(f"{server}-{n}", "aa", "", {}, versions) for n in (1, 2))
        links = tuple(Link(each.object, each.object, each.hash) for each in models)
        manifest = Manifest(server, models, links)
        assert job.run(manifest, options=("--secrets", str(tmp_path / "secrets"))) == 0
    events = events_of(capsys)
    digest = hashlib.sha256(BODY).hexdigest()
    told = [(each["event"], each["sha256"]) for each in events if "sha256" in each]
    assert told == [("fetched", digest), *[("reused", digest)] * 7]
    assert [path.name for path in (job.root / "blobs").iterdir()] == [digest]
    # Another content at the same address is another file, and noticed although nothing says so.
    s3.put("models/once/model.onnx", BODY[::-1])
    later = Manifest("one", (Generation("one-1", "bb", "", {}, versions[:1]),))
    assert job.run(later, options=("--secrets", str(tmp_path / "secrets"))) == 0
    other = hashlib.sha256(BODY[::-1]).hexdigest()
    assert ("fetched", other) in [(e["event"], e.get("sha256")) for e in events_of(capsys)]


def test_a_file_with_a_checksum_is_reused_though_its_source_is_gone(tmp_path, s3, capsys) -> None:
    s3.put("models/gone/a b.onnx", BODY)
    s3.write_secret(tmp_path / "secrets/s3")
    options = ("--secrets", str(tmp_path / "secrets"), "--default-secret", "s3")
    digest = hashlib.sha256(BODY).hexdigest()
    job = Job(tmp_path)
    assert job.run(serving("s3://models/gone/a b.onnx", digest), options=options) == 0
    (s3.root / "models/gone/a b.onnx").unlink()
    changed = Generation(
        "bert", "bb", "new", {},
        (VersionContent(1, SourceRef("s3://models/gone/a b.onnx", digest)),),
    )  # fmt: skip
    assert job.run(Manifest("vision", (changed,), (Link("bert", "bert", "bb"),))) == 0
    assert (job.root / "servers/vision/bert/1/a b.onnx").read_bytes() == BODY


@pytest.mark.parametrize("times", [1, 3])
def test_a_killed_download_goes_on_where_it_was(tmp_path, server: Scripted, times: int) -> None:
    sent: list[int] = []

    def slowly(handler: servers.Handler, _: int) -> None:
        start, stop = servers.wanted_range(handler, len(BODY))
        if stop - start == 1:
            return send_range(handler, BODY, etag='"v1"')
        handler.send_response(206)
        handler.send_header("Content-Length", str(stop - start))
        handler.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(BODY)}")
        handler.send_header("ETag", '"v1"')
        handler.end_headers()
        for at in range(start, stop, 1 << 18):
            part = BODY[at : min(stop, at + (1 << 18))]
            handler.wfile.write(part)
            sent.append(len(part))
            time.sleep(0.002)
        return None

    server.answers["/model.onnx"] = slowly
    (tmp_path / "manifest.json").write_text(serving(f"{server.url}/model.onnx").to_json())
    root = tmp_path / "claim"
    root.mkdir()
    command = start(
        "sync", "--manifest", tmp_path / "manifest.json", "--root", root, "--parallel", "2"
    )
    for kill in range(1, times + 1):
        with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL) as job:
            share = len(BODY) * kill // (times + 1)
            wait_for(lambda share=share: present(root) >= share)
            job.send_signal(signal.SIGKILL)
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert (root / "servers/vision/bert/1/model.onnx").read_bytes() == BODY
    events = [json.loads(line) for line in done.stdout.splitlines()]
    resumed = next(each["bytes"] for each in events if each["event"] == "fetching")
    assert resumed >= len(BODY) * times // (times + 1)
    # What a kill costs is what was on its way: two connections, a part begun on each, buffers.
    assert sum(sent) <= len(BODY) + times * (6 << 20)
    assert not list(root.glob(".staging/*/content"))


def present(root: Path) -> int:
    """Bytes that the journals of downloads tell of."""
    return sum(
        int(line.split()[1])
        for journal in root.glob(".staging/*/journal")
        for line in journal.read_text().splitlines()
        if len(line.split()) == 3
    )


def test_what_a_failed_job_has_fetched_is_not_fetched_again(
    tmp_path, server: Scripted, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(Downloads, "_wait", lambda *_: None)
    healthy = False

    def failing(handler: servers.Handler, _: int) -> None:
        start, _stop = servers.wanted_range(handler, len(BODY))
        if start < len(BODY) // 2 or healthy:
            return send_range(handler, BODY, etag='"v1"')
        return send(handler, 503)

    server.answers["/model.onnx"] = failing
    job = Job(tmp_path)
    assert job.run(serving(f"{server.url}/model.onnx"), options=("--parallel", "1")) == 1
    healthy = True
    capsys.readouterr()
    assert job.run(serving(f"{server.url}/model.onnx")) == 0
    events = events_of(capsys)
    fetching, done = (next(e for e in events if e["event"] == n) for n in ("fetching", "done"))
    assert fetching["bytes"] >= len(BODY) // 2 - (1 << 20)
    assert fetching["bytes"] + done["bytes"] == len(BODY) == fetching["total"]
    assert (job.root / "servers/vision/bert/1/model.onnx").read_bytes() == BODY


def test_a_download_of_a_model_that_left_is_removed(tmp_path, server, monkeypatch) -> None:
    monkeypatch.setattr(Downloads, "_wait", lambda *_: None)
    server.answers["/model.onnx"] = lambda handler, number: (
        send_range(handler, BODY, etag='"v1"', at_most=2 << 20)
        if number < 3
        else send(handler, 503)
    )
    job = Job(tmp_path)
    assert job.run(serving(f"{server.url}/model.onnx")) == 1
    assert list((job.root / ".staging").iterdir())
    assert job.run(Manifest("vision")) == 0
    assert not list((job.root / ".staging").iterdir())


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A real file system of this size."""
    if os.geteuid() != 0:
        pytest.fail("a small file system can only be mounted by root")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", folder]
    subprocess.run(mount, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_file_that_does_not_fit_is_not_even_begun(tmp_path: Path, s3: S3, server) -> None:
    s3.put("models/big/model.onnx", BODY)
    s3.write_secret(tmp_path / "secrets/s3")
    options = ("--secrets", str(tmp_path / "secrets"), "--default-secret", "s3")
    job = Job(tmp_path)
    with small_disk(job.root, 16):
        assert job.run(serving("s3://models/big/model.onnx"), options=options) == 1
        outcome = decode_outcome((tmp_path / "log").read_text())
        assert outcome is not None
        assert outcome.failed["bert"].reason == "InsufficientSpace"
        message = outcome.failed["bert"].message
        assert f"{len(BODY)} bytes are needed, " in message
        assert "are free" in message
        assert not any(job.root.glob(".staging/*"))


def test_a_disk_that_fills_up_meanwhile_is_said_so(tmp_path: Path, server: Scripted) -> None:
    def unsized(handler: servers.Handler, _: int) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(BODY)
        handler.close_connection = True

    server.answers["/model.onnx"] = unsized
    job = Job(tmp_path)
    with small_disk(job.root, 16):
        assert job.run(serving(f"{server.url}/model.onnx")) == 1
        outcome = decode_outcome((tmp_path / "log").read_text())
        assert outcome is not None
        assert outcome.failed["bert"].reason == "InsufficientSpace"
        assert "0 are free" in outcome.failed["bert"].message
        assert shutil.disk_usage(job.root).free > 15 << 20  # nothing is left lying about


def test_thousands_of_small_files_take_seconds(tmp_path: Path, s3: S3, capsys) -> None:
    folder = s3.root / "models/many"
    for number in range(2_000):
        path = folder / str(number // 100) / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(number.to_bytes(4, "big"))
    s3.write_secret(tmp_path / "secrets/s3")
    options = ("--secrets", str(tmp_path / "secrets"), "--default-secret", "s3")
    job = Job(tmp_path)
    started = time.monotonic()
    assert job.run(serving("s3://models/many"), options=(*options, "--parallel", "8")) == 0
    assert time.monotonic() - started < 60  # some seconds on a quiet machine
    served = job.root / "servers/vision/bert/1"
    assert sum(len(files) for _, _, files in os.walk(served)) == 2_000
    assert (served / "19/1999.bin").read_bytes() == (1999).to_bytes(4, "big")
    shutil.rmtree(folder)


def test_the_bandwidth_is_kept_to(tmp_path: Path, s3: S3) -> None:
    s3.put("models/limited/model.onnx", BODY[: 2 << 20])
    s3.write_secret(tmp_path / "secrets/s3")
    options = ("--secrets", str(tmp_path / "secrets"), "--default-secret", "s3")
    started = time.monotonic()
    limit = ("--bandwidth", str(2 << 20))
    assert (
        Job(tmp_path).run(serving("s3://models/limited/model.onnx"), options=options + limit) == 0
    )
    assert time.monotonic() - started >= 1.0
