"""The sources against real servers on the loopback and real files."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import triton_operator
from triton_operator.adapters.claims import ClaimSources
from triton_operator.adapters.sources import HttpSources, open_sources
from triton_operator.cli.sync import run_sync
from triton_operator.plan.sync_log import read_sync_log
from triton_operator.repository.manifest import (
    Generation,
    Link,
    Manifest,
    SourceRef,
    VersionContent,
)
from triton_operator.repository.outcome import decode_outcome
from triton_operator.repository.sources import (
    InvalidSourceError,
    SourceFile,
    SourceNotFoundError,
    SourceRefusedError,
    SourceUnreachableError,
    SyncError,
    public_uri,
)

BODY = os.urandom(3 << 20)
Answer = Callable[[BaseHTTPRequestHandler, int], None]


@dataclass
class Server:
    """An HTTP server whose answers a test decides; it gets the number of the request."""

    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.ranges.append(self.headers["Range"])
            state.answers[self.path.partition("?")[0]](self, len(state.ranges))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        state.url = f"http://127.0.0.1:{httpd.server_port}"
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield state
        httpd.shutdown()
        thread.join()


class MemorySink:
    def __init__(self) -> None:
        self.content = b""
        self.expected: list[int] = []

    @property
    def position(self) -> int:
        return len(self.content)

    def expect(self, size: int) -> None:
        self.expected.append(size)

    def write(self, chunk: bytes) -> None:
        self.content += chunk

    def restart(self) -> None:
        self.content = b""


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", headers.pop("length", str(len(body))))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def broken_off(at: int, *, etag: str | None, ranges: bool = True) -> Answer:
    """Break the first answers off after ``at`` bytes more each; go on from there if asked."""

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        wanted = handler.headers["Range"] if ranges else None
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        rest = BODY[start:]
        headers = {"length": str(len(rest))} | ({"ETag": etag} if etag else {})
        if wanted:
            assert handler.headers["If-Range"] == etag
            headers["Content-Range"] = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
        send(handler, 206 if wanted else 200, rest[:at] if number < 3 else rest, **headers)
        handler.close_connection = True

    return answer


@dataclass
class Http:
    sources: HttpSources
    waits: list[float]

    def read(self, uri: str) -> MemorySink:
        sink = MemorySink()
        (file,) = self.sources.list_files(uri)
        self.sources.fetch(file, sink)
        return sink


@pytest.fixture
def http() -> Http:
    waits: list[float] = []
    return Http(HttpSources(allow_http=True, timeout_seconds=0.5, sleep=waits.append), waits)


def test_a_file_is_streamed_with_its_size_known_first(server: Server, http: Http) -> None:
    server.answers["/m/model.onnx"] = lambda handler, _: send(handler, 200, BODY)
    sink = http.read(f"{server.url}/m/model.onnx?token=secret")
    assert sink.content == BODY
    assert sink.expected == [len(BODY)]
    assert len(server.ranges) == 1
    assert http.waits == []


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, SourceNotFoundError),
        (410, SourceNotFoundError),
        (401, SourceRefusedError),
        (403, SourceRefusedError),
        (400, SourceRefusedError),
    ],
)
def test_a_final_answer_is_not_asked_for_again(server, http, status, error) -> None:
    server.answers["/model.onnx"] = lambda handler, _: send(handler, status)
    with pytest.raises(error) as raised:
        http.read(f"{server.url}/model.onnx?token=secret")
    assert f"{server.url}/model.onnx" in str(raised.value)
    assert str(status) in str(raised.value)
    assert "secret" not in str(raised.value)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_is_asked_again(server: Server, http: Http, status: int) -> None:
    server.answers["/model.onnx"] = lambda handler, number: (
        send(handler, status) if number < 3 else send(handler, 200, BODY)
    )
    assert http.read(f"{server.url}/model.onnx").content == BODY
    assert http.waits == [1.0, 2.0]
    server.answers["/model.onnx"] = lambda handler, _: send(handler, status)
    with pytest.raises(SourceUnreachableError, match=str(status)):
        http.read(f"{server.url}/model.onnx")
    assert len(server.ranges) == 3 + 4


def test_a_broken_download_goes_on_where_it_broke_off(server: Server, http: Http) -> None:
    server.answers["/model.onnx"] = broken_off(1 << 20, etag='"v1"')
    assert http.read(f"{server.url}/model.onnx").content == BODY
    assert server.ranges[0] is None
    starts = [int(each.removeprefix("bytes=").rstrip("-")) for each in server.ranges[1:] if each]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1]


@pytest.mark.parametrize(("etag", "ranges"), [(None, True), ('W/"weak"', True), ('"v1"', False)])
def test_a_download_that_cannot_be_resumed_begins_anew(server, http, etag, ranges) -> None:
    server.answers["/model.onnx"] = broken_off(1 << 20, etag=etag, ranges=ranges)
    assert http.read(f"{server.url}/model.onnx").content == BODY
    assert len(server.ranges) == 3


def test_a_download_that_always_breaks_off_ends(server: Server, http: Http) -> None:
    server.answers["/model.onnx"] = lambda handler, _: (
        send(handler, 200, BODY[:-1], length=str(len(BODY))),
        setattr(handler, "close_connection", True),
    )
    with pytest.raises(SourceUnreachableError, match=r"model\.onnx"):
        http.read(f"{server.url}/model.onnx")
    assert len(server.ranges) == 4


def test_a_silent_server_is_given_up(server: Server, http: Http) -> None:
    silence = threading.Event()
    server.answers["/model.onnx"] = lambda *_: silence.wait(30)
    started = time.monotonic()
    with pytest.raises(SourceUnreachableError):
        http.read(f"{server.url}/model.onnx")
    assert time.monotonic() - started < 10
    silence.set()


def test_a_server_that_is_not_there_is_unreachable(http: Http) -> None:
    with pytest.raises(SourceUnreachableError):
        http.read("http://127.0.0.1:9/model.onnx")


def test_redirects_are_followed_and_the_name_stays(server: Server, http: Http) -> None:
    server.answers["/model.onnx"] = lambda handler, _: send(handler, 302, Location="/cdn/1234")
    server.answers["/cdn/1234"] = lambda handler, _: send(handler, 200, BODY)
    assert http.read(f"{server.url}/model.onnx").content == BODY
    (file,) = http.sources.list_files(f"{server.url}/my%20model.onnx?x=/y")
    assert file.path == "my model.onnx"


def test_redirects_in_a_circle_are_refused(server: Server, http: Http) -> None:
    server.answers["/model.onnx"] = lambda handler, _: send(handler, 302, Location="/model.onnx")
    with pytest.raises(InvalidSourceError):
        http.read(f"{server.url}/model.onnx")


def test_unencrypted_answers_are_refused(server: Server) -> None:
    # What a redirect from https to http comes to: the last answer is not encrypted.
    server.answers["/model.onnx"] = lambda handler, _: send(handler, 200, BODY)
    sink = MemorySink()
    with pytest.raises(InvalidSourceError, match="unencrypted"):
        HttpSources().fetch(SourceFile(f"{server.url}/model.onnx", "model.onnx"), sink)
    assert sink.content == b""


@pytest.mark.parametrize(
    "uri",
    ["https://models.example/folder/", "https://models.example", "https:///a", "https://[x/a",
     "https://models.example/%2e%2e", "https://models.example/a%2Fb", "https://h:99999999/a"],
)  # fmt: skip
def test_a_uri_that_names_no_file_is_refused_without_asking(uri: str) -> None:
    with pytest.raises(InvalidSourceError):
        HttpSources().list_files(uri)


@pytest.mark.parametrize("uri", ["http://models.example/a", "ftp://x/a", "file:///etc/passwd", "a"])
def test_other_schemes_are_refused_with_what_there_is(uri: str) -> None:
    with pytest.raises(InvalidSourceError, match="pvc://, https://"):
        open_sources({}).list_files(uri)


def test_what_is_shown_of_a_uri_has_no_credentials() -> None:
    shown = public_uri("https://user:password@models.example:8443/a/b?X-Signature=1#f")
    assert shown == "https://models.example:8443/a/b"
    assert public_uri("pvc://claim/what?") == "pvc://claim/what?"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "bert/vocab").mkdir(parents=True)
    (folder / "bert/model.py").write_bytes(b"1")
    (folder / "bert/vocab/en.txt").write_bytes(b"2")
    (folder / "bert/lost+found").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    return folder


def read_claim(models: Path, uri: str) -> dict[str, bytes]:
    sources = ClaimSources({"models": models})
    found = {}
    for file in sources.list_files(uri):
        sink = MemorySink()
        sources.fetch(file, sink)
        assert file.size == sink.position
        found[file.path] = sink.content
    return found


def test_a_file_or_a_folder_of_a_claim_is_read(models: Path) -> None:
    assert read_claim(models, "pvc://models/bert/model.py") == {"model.py": b"1"}
    tree = {"model.py": b"1", "vocab/en.txt": b"2"}
    assert read_claim(models, "pvc://models/bert") == tree
    assert read_claim(models, "pvc://models/bert/") == tree
    assert set(read_claim(models, "pvc://models")) == {f"bert/{path}" for path in tree}


def test_symbolic_links_inside_the_claim_are_followed(models: Path) -> None:
    (models / "bert/link.txt").symlink_to("vocab/en.txt")
    (models / "latest").symlink_to("bert")
    assert read_claim(models, "pvc://models/latest/")["link.txt"] == b"2"


@pytest.mark.parametrize(
    ("make", "uri", "error"),
    [
        (None, "pvc://models/gone", SourceNotFoundError),
        (None, "pvc://models/bert/model.py/x", SourceNotFoundError),
        (None, "pvc://other/bert", InvalidSourceError),
        (None, "pvc://models/../secret", InvalidSourceError),
        (None, "pvc://models/bert/../../secret", InvalidSourceError),
        (None, "pvc://models//etc/passwd", InvalidSourceError),
        (lambda path: path.symlink_to("../../secret"), "pvc://models/bert/x", InvalidSourceError),
        (lambda path: path.symlink_to("../../secret"), "pvc://models/bert/", InvalidSourceError),
        (lambda path: path.symlink_to("/etc"), "pvc://models/bert/", InvalidSourceError),
        (lambda path: path.symlink_to("/etc"), "pvc://models/bert/x/passwd", InvalidSourceError),
        (lambda path: path.symlink_to("x"), "pvc://models/bert/x", InvalidSourceError),
        (lambda path: path.mkdir(), "pvc://models/bert/x", InvalidSourceError),
        (os.mkfifo, "pvc://models/bert/x", InvalidSourceError),
        (os.mkfifo, "pvc://models/bert/", InvalidSourceError),
    ],
)
def test_nothing_but_files_of_the_claim_is_read(models: Path, make, uri, error) -> None:
    if make is not None:
        make(models / "bert/x")
    with pytest.raises(error) as raised:
        read_claim(models, uri)
    assert uri in str(raised.value)
    assert isinstance(raised.value, SyncError)


def test_a_file_that_changes_while_it_is_copied_is_refused(models: Path) -> None:
    big = models / "big"
    big.write_bytes(b"x" * (9 << 20))

    class MeddlingSink(MemorySink):
        def write(self, chunk: bytes) -> None:
            super().write(chunk)
            os.utime(big, (1, 1))

    sources = ClaimSources({"models": models})
    (file,) = sources.list_files("pvc://models/big")
    with pytest.raises(SourceUnreachableError, match="pvc://models/big"):
        sources.fetch(file, MeddlingSink())


@dataclass
class Job:
    """A sync Job's files."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "claim"

    def run(self, manifest: Manifest | str, *claims: str) -> int:
        text = manifest if isinstance(manifest, str) else manifest.to_json()
        (self.folder / "manifest.json").write_text(text)
        self.root.mkdir(exist_ok=True)
        return run_sync(
            ["--manifest", str(self.folder / "manifest.json"), "--root", str(self.root),
             "--termination-log", str(self.folder / "log"),
             *(argument for claim in claims for argument in ("--claim", claim))]
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
    assert [each["event"] for each in events] == [
        "copied", "fetching", "fetched", "fetching", "fetched", "built", "linked", "done",
    ]  # fmt: skip
    # The total is known before the first byte.
    assert events[0] == {"event": "copied", "object": "bert", "bytes": 0, "total": 2}
    assert events[2] == {
        "event": "fetched",
        "object": "bert",
        "uri": "pvc://models/bert/model.py",
        "bytes": 1,
        "seconds": events[2]["seconds"],
        "sha256": hashlib.sha256(b"1").hexdigest(),
    }
    (artifact,) = outcome.artifacts["bert"]
    assert (artifact.version, artifact.uri, artifact.bytes) == (1, "pvc://models/bert/", 2)


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
    at_once = {**HttpSources.__init__.__kwdefaults__, "sleep": lambda _: None}
    monkeypatch.setattr(HttpSources.__init__, "__kwdefaults__", at_once)
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


def test_a_job_that_is_stopped_leaves_nothing_half_done(tmp_path: Path, models: Path) -> None:
    with (models / "huge").open("wb") as huge:
        huge.truncate(4 << 30)
    (tmp_path / "manifest.json").write_text(serving("pvc://models/huge").to_json())
    root = tmp_path / "claim"
    root.mkdir()
    command = start("sync", "--manifest", tmp_path / "manifest.json", "--root", root)
    with subprocess.Popen(
        [*command, "--claim", f"models={models}"], env=ENVIRONMENT, stdout=subprocess.DEVNULL
    ) as job:
        deadline = time.monotonic() + 30
        while not any(path.stat().st_size for path in root.glob(".staging/*/*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        job.terminate()
        assert job.wait(30) == 1
    assert list((root / ".staging").iterdir()) == []


def test_a_job_without_downloads_imports_nothing_slow(tmp_path: Path, models: Path) -> None:
    (tmp_path / "manifest.json").write_text(serving("pvc://models/bert").to_json())
    command = start("sync", "--manifest", tmp_path / "manifest.json", "--root", tmp_path)
    job = subprocess.run(
        [command[0], "-X", "importtime", *command[1:], "--claim", f"models={models}"],
        env=ENVIRONMENT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in job.stderr.splitlines()}
    assert "triton_operator.repository.materialize" in imported
    slow = {"pydantic", "typer", "fsspec", "aiohttp", "asyncio", "kopf", "kubernetes", "google"}
    assert imported & slow == set()


def test_the_commands_are_listed() -> None:
    told = subprocess.run(
        start("--help"), env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0
    assert "sync" in told.stdout
    assert "run" in told.stdout
