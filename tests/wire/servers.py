"""Real servers: an S3 store, nginx, and such as misbehave or answer as a test wants it.

They listen on the loopback, unless a test has clients elsewhere on this machine.
"""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import obstore
import pytest
from aiohttp import web
from obstore.store import S3Store

from tests.cluster import settings

ACCESS_KEY, SECRET_KEY = "tester", "very-secret-key"
LOOPBACK = "127.0.0.1"


def program(name: str) -> str:
    """The path of a server's program, as `make servers` installs it."""
    folders = f"{os.environ.get('PATH', '')}:/usr/sbin:{settings.folders().bin}"
    found = shutil.which(name, path=folders)
    if found is None:
        pytest.fail(f"no {name} in {folders}; run `make servers`")
    return found


@contextmanager
def running(host: str, port: int, *command: str | Path, **env: str) -> Iterator[None]:
    """Run a server until the block ends; begin when it accepts connections."""
    assert not accepts(host, port), f"somebody else listens on {host}:{port}"
    with subprocess.Popen(
        [str(each) for each in command],
        env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + 30
            while not accepts(host, port):
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    pytest.fail(f"{command[0]} does not start: {process.communicate()[1]}")
                time.sleep(0.01)
            yield
        finally:
            process.kill()


def accepts(host: str, port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((host, port)) == 0


def free_port(host: str = LOOPBACK) -> int:
    with socket.socket() as server:
        server.bind((host, 0))
        return int(server.getsockname()[1])


@dataclass
class S3:
    """An S3 store; its buckets are the folders of `root`."""

    root: Path
    url: str

    def put(self, name: str, content: bytes) -> None:
        """Upload an object, as a client does it."""
        bucket, _, key = name.partition("/")
        (self.root / bucket).mkdir(exist_ok=True)
        obstore.put(self._open(bucket), key, content)

    def sign(self, name: str) -> str:
        """Return an address at which everybody may get an object, for an hour."""
        bucket, _, key = name.partition("/")
        return obstore.sign(self._open(bucket), "GET", key, timedelta(hours=1))

    def _open(self, bucket: str) -> S3Store:
        return S3Store(
            bucket, endpoint=self.url, access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY,
            client_options={"allow_http": True},
        )  # fmt: skip

    def write_secret(self, folder: Path, **changes: str) -> Path:
        """Write a Secret as the kubelet mounts it."""
        keys = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": self.url,
        } | changes
        return write_secret(folder, **keys)


def write_secret(folder: Path, **keys: str) -> Path:
    """Write a Secret as the kubelet mounts it; return the folder of all Secrets."""
    folder.mkdir(parents=True)
    for key, value in keys.items():
        (folder / key).write_text(value)
    return folder.parent


@contextmanager
def s3(root: Path, host: str = LOOPBACK) -> Iterator[S3]:
    port = free_port(host)
    root.mkdir(parents=True, exist_ok=True)
    with running(
        host, port, program("versitygw"), "--port", f"{host}:{port}", "--quiet", "posix", root,
        ROOT_ACCESS_KEY=ACCESS_KEY, ROOT_SECRET_KEY=SECRET_KEY,
    ):  # fmt: skip
        yield S3(root, f"http://{host}:{port}")


@contextmanager
def nginx(
    folder: Path, root: Path, *, tls: tuple[Path, Path] | None = None, host: str = LOOPBACK
) -> Iterator[str]:
    """Serve the files of `root`; yield the server's address."""
    port = free_port(host)
    folder.mkdir(parents=True, exist_ok=True)
    certificate = (
        f"ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]};" if tls is not None else ""
    )
    user = "user root;" if os.geteuid() == 0 else ""
    paths = " ".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log {folder}/access.log; sendfile on; {paths}\n"
        f"server {{ listen {host}:{port}{' ssl' if tls else ''}; {certificate} root {root};\n"
        "location /closed/ { deny all; }\n"
        "location /plain/ { max_ranges 0; } } }\n"
    )
    with running(host, port, program("nginx"), "-e", "stderr", "-c", folder / "nginx.conf"):
        yield f"http{'s' if tls else ''}://{host}:{port}"


@asynccontextmanager
async def serving(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """Have all requests answered within this event loop; yield the server's address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, 0).start()
        yield f"http://{LOOPBACK}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


Handler = BaseHTTPRequestHandler
Answer = Callable[[Handler, int], object]


@dataclass
class Scripted:
    """An HTTP server whose answers a test decides; it gets the number of the request."""

    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)
    """Headers of all requests."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ranges(self) -> list[str | None]:
        return [each.get("range") for each in self.requests]


@contextmanager
def scripted(host: str = LOOPBACK) -> Iterator[Scripted]:
    state = Scripted()

    class Scribe(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with state.lock:
                state.requests.append({k.lower(): v for k, v in self.headers.items()})
                number = len(state.requests)
            state.answers[self.path.partition("?")[0]](self, number)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            pass  # clients that go away belong to these tests

    with Server((host, 0), Scribe) as httpd:
        state.url = f"http://{host}:{httpd.server_port}"
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield state
        httpd.shutdown()
        thread.join()


def send(handler: Handler, status: int, body: bytes = b"", **headers: str) -> None:
    """Answer; a `length` other than the body's is a lie."""
    handler.send_response(status)
    handler.send_header("Content-Length", headers.pop("length", str(len(body))))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def send_range(handler: Handler, content: bytes, *, etag: str, at_most: int | None = None) -> None:
    """Answer a range as a good server does it, but break off after `at_most` bytes."""
    start, stop = wanted_range(handler, len(content))
    body = content[start:stop]
    send(
        handler, 206, body[:at_most], length=str(len(body)), ETag=etag,
        Content_Range=f"bytes {start}-{stop - 1}/{len(content)}",
    )  # fmt: skip
    handler.close_connection = at_most is not None and at_most < len(body)


def wanted_range(handler: Handler, size: int) -> tuple[int, int]:
    first, _, last = handler.headers["Range"].removeprefix("bytes=").partition("-")
    return int(first), min(size, int(last) + 1)
