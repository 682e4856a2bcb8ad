"""``https://`` against nginx, and against servers that do what servers should not."""

import base64
import os
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.wire import servers
from tests.wire.fetching import Fetcher
from tests.wire.servers import Scripted, send, send_range
from triton_operator.adapters.credentials import Secrets
from triton_operator.adapters.sources import open_sources
from triton_operator.adapters.web import needs_no_proxy
from triton_operator.repository.downloads import Limits
from triton_operator.repository.manifest import SourceRef
from triton_operator.repository.sources import (
    InvalidSourceError,
    SourceChangedError,
    SourceFile,
    SourceNotFoundError,
    SourceRefusedError,
    SourceUnreachableError,
    file_name,
    public_uri,
)

BODY = os.urandom(9 << 20)


@pytest.fixture
def http(tmp_path: Path) -> Fetcher:
    return Fetcher(open_sources({}, timeout_seconds=0.5), tmp_path)


@pytest.fixture
def web(tmp_path: Path, files: Path) -> Iterator[str]:
    (files / "model.onnx").write_bytes(BODY)
    (files / "empty").write_bytes(b"")
    for folder in ("plain", "closed"):
        (files / folder).mkdir()
        (files / folder / "model.onnx").write_bytes(BODY)
    with servers.nginx(tmp_path / "nginx", files) as url:
        yield url


def test_files_of_a_real_server_arrive(web: str, http: Fetcher) -> None:
    assert http.read(f"{web}/model.onnx?token=x") == BODY
    assert http.read(f"{web}/plain/model.onnx") == BODY
    assert http.read(f"{web}/empty") == b""
    with pytest.raises(SourceNotFoundError, match="HTTP 404"):
        http.read(f"{web}/gone.onnx")
    with pytest.raises(SourceRefusedError, match="HTTP 403"):
        http.read(f"{web}/closed/model.onnx")


def test_a_real_server_proves_what_it_gives(web: str, http: Fetcher, files: Path) -> None:
    ref = SourceRef(f"{web}/model.onnx")
    (file,) = http.sources.list_files(ref)
    assert (file.size, file.ranges) == (len(BODY), True)
    assert file.identity == http.sources.list_files(ref)[0].identity
    (files / "model.onnx").write_bytes(BODY[1:])
    assert file.identity != http.sources.list_files(ref)[0].identity
    with pytest.raises(SourceChangedError, match="changed"), http.sources.read(file, 0, 10):
        pass
    (plain,) = http.sources.list_files(SourceRef(f"{web}/plain/model.onnx"))
    assert not plain.ranges


@pytest.mark.parametrize("status", [404, 410, 401, 403, 400])
def test_a_final_answer_is_not_asked_for_again(server: Scripted, http, status: int) -> None:
    server.answers["/model.onnx"] = lambda handler, _: send(handler, status, b"no: hush")
    error = SourceNotFoundError if status in {404, 410} else SourceRefusedError
    with pytest.raises(error) as raised:
        http.read(f"{server.url}/model.onnx?token=hush")
    assert f"{server.url}/model.onnx" in str(raised.value)
    assert str(status) in str(raised.value)
    assert "hush" not in str(raised.value)
    assert len(server.requests) == 1


def good(handler: servers.Handler, _: int = 0) -> None:
    send_range(handler, BODY, etag='"v1"')


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_is_asked_again(server: Scripted, http: Fetcher, status: int) -> None:
    server.answers["/model.onnx"] = lambda handler, number: (
        send(handler, status) if 1 < number < 4 else good(handler)
    )
    assert http.read(f"{server.url}/model.onnx") == BODY
    server.answers["/model.onnx"] = lambda handler, number: (
        send(handler, status) if wanted(handler) > 1 else good(handler)
    )
    with pytest.raises(SourceUnreachableError, match=str(status)):
        http.read(f"{server.url}/model.onnx")
    assert len(http.waits) >= 4


def wanted(handler: servers.Handler) -> int:
    start, stop = servers.wanted_range(handler, len(BODY))
    return stop - start


def test_a_broken_download_goes_on_where_it_broke_off(server: Scripted, http: Fetcher) -> None:
    sent = []
    broken = Counter[int]()

    def breaking(handler: servers.Handler, _: int) -> None:
        """Break each part of the file off twice, whichever is asked for first."""
        _, stop = servers.wanted_range(handler, len(BODY))
        at_most = 1 << 20 if wanted(handler) > 1 and broken[stop] < 2 else None
        broken[stop] += 1
        sent.append(min(wanted(handler), at_most or len(BODY)))
        send_range(handler, BODY, etag='"v1"', at_most=at_most)

    server.answers["/model.onnx"] = breaking
    assert http.read(f"{server.url}/model.onnx") == BODY
    assert sum(sent) <= 1.1 * len(BODY)
    assert all(each["if-range"] == '"v1"' for each in server.requests[1:])


def test_a_server_that_always_breaks_off_is_given_up(server: Scripted, http: Fetcher) -> None:
    server.answers["/model.onnx"] = lambda handler, _: send_range(
        handler, BODY, etag='"v1"', at_most=1
    )
    with pytest.raises(SourceUnreachableError, match=r"model\.onnx"):
        http.read(f"{server.url}/model.onnx")


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_validator_a_broken_download_begins_anew(server, http, etag) -> None:
    headers = {} if etag is None else {"ETag": etag}
    full = []

    def answer(handler: servers.Handler, number: int) -> None:
        broken = number < 4
        full.append(handler.headers["Range"])
        send(handler, 200, BODY[: 1 << 20] if broken else BODY, length=str(len(BODY)), **headers)
        handler.close_connection = broken

    server.answers["/model.onnx"] = answer
    assert http.read(f"{server.url}/model.onnx") == BODY
    assert full == ["bytes=0-0", None, None, None]


def test_a_file_that_changes_meanwhile_is_not_put_together(server: Scripted, http) -> None:
    def changing(handler: servers.Handler, number: int) -> None:
        if number < 3:
            return send_range(handler, BODY, etag='"v1"')
        return send(handler, 200, BODY[::-1], ETag='"v2"')

    server.answers["/model.onnx"] = changing
    with pytest.raises(SourceChangedError, match="changed"):
        http.read(f"{server.url}/model.onnx")


@pytest.mark.parametrize("lie", ["bytes 5-9/10", "bytes 0-0/x", ""])
def test_a_server_that_sends_another_part_is_not_believed(server, http, lie: str) -> None:
    file = SourceFile(f"{server.url}/model.onnx", "model.onnx", 10, '"v1"', ranges=True)
    server.answers["/model.onnx"] = lambda handler, _: send(
        handler, 206, b"12345", ETag='"v1"', Content_Range=lie
    )
    with pytest.raises(SourceUnreachableError, match="another part"):
        http.sources.read(file, 0, 5).__enter__()


@pytest.mark.parametrize("stall", ["at once", "in the middle"])
def test_a_server_that_stalls_is_given_up(server: Scripted, tmp_path: Path, stall: str) -> None:
    http = Fetcher(open_sources({}, timeout_seconds=0.2), tmp_path, Limits(attempts=2))
    silence = threading.Event()

    def stalling(handler: servers.Handler, _: int) -> None:
        if stall == "at once":
            silence.wait(30)
        elif wanted(handler) == 1:
            good(handler)
        else:
            send_range(handler, BODY, etag='"v1"', at_most=1000)
            silence.wait(30)

    server.answers["/model.onnx"] = stalling
    started = time.monotonic()
    with pytest.raises(SourceUnreachableError, match="in time"):
        http.read(f"{server.url}/model.onnx")
    assert time.monotonic() - started < 10
    silence.set()


def test_a_server_that_is_not_there_is_unreachable(http: Fetcher) -> None:
    with pytest.raises(SourceUnreachableError, match="refuses connections"):
        http.read("http://127.0.0.1:9/model.onnx")


def test_a_name_that_nobody_knows_is_said_so(http: Fetcher) -> None:
    with pytest.raises(SourceUnreachableError, match="cannot be resolved"):
        http.read("https://models.invalid/model.onnx")


def test_redirects_are_followed_and_the_name_stays(server: Scripted, http: Fetcher) -> None:
    server.answers["/model.onnx"] = lambda handler, _: send(handler, 302, Location="/cdn/1234")
    server.answers["/cdn/1234"] = good
    assert http.read_all(f"{server.url}/model.onnx") == {"model.onnx": BODY}


@pytest.mark.parametrize("status", [302, 404])
def test_nobody_reads_to_the_end_what_an_error_says(
    server: Scripted, http: Fetcher, status: int
) -> None:
    def talkative(handler: servers.Handler, _: int) -> None:
        handler.send_response(status)
        handler.send_header("Location", "/gone")
        handler.end_headers()
        until = time.monotonic() + 5
        with suppress(OSError):
            while time.monotonic() < until:
                handler.wfile.write(bytes(1 << 16))

    server.answers["/model.onnx"] = talkative
    server.answers["/gone"] = lambda handler, _: send(handler, 404)
    started = time.monotonic()
    with pytest.raises(SourceNotFoundError):
        http.read(f"{server.url}/model.onnx")
    assert time.monotonic() - started < 3


def test_redirects_in_a_circle_are_refused(server: Scripted, http: Fetcher) -> None:
    server.answers["/model.onnx"] = lambda handler, _: send(handler, 302, Location="/model.onnx")
    with pytest.raises(InvalidSourceError, match="circle"):
        http.read(f"{server.url}/model.onnx")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://x/y", "//", "http://[x"])
def test_redirects_out_of_the_web_are_refused(server: Scripted, http: Fetcher, target) -> None:
    server.answers["/model.onnx"] = lambda handler, _: send(handler, 302, Location=target)
    with pytest.raises(InvalidSourceError, match="redirects"):
        http.read(f"{server.url}/model.onnx")


@pytest.mark.parametrize(
    "uri",
    ["https://models.example/folder/", "https://models.example", "https:///a", "https://[x/a",
     "https://models.example/%2e%2e", "https://models.example/a%2Fb", "https://h:99999999/a"],
)  # fmt: skip
def test_a_uri_that_names_no_file_is_refused_without_asking(uri: str, http: Fetcher) -> None:
    with pytest.raises(InvalidSourceError):
        http.read(uri)


@pytest.mark.parametrize("uri", ["ftp://x/a", "file:///etc/passwd", "a"])
def test_other_schemes_are_refused_with_what_there_is(uri: str, http: Fetcher) -> None:
    with pytest.raises(InvalidSourceError, match="pvc://, s3://, gs://, az://, hf://, https://"):
        http.read(uri)


def test_what_is_shown_of_a_uri_has_no_credentials() -> None:
    shown = public_uri("https://user:password@models.example:8443/a/b?X-Signature=1#f")
    assert shown == "https://models.example:8443/a/b"
    assert public_uri("pvc://claim/what?") == "pvc://claim/what?"
    assert file_name("https://models.example/my%20model.onnx?x=/y") == "my model.onnx"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    key, certificate = tmp_path / "tls.key", tmp_path / "tls.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out",
         certificate, "-subj", "/CN=localhost", "-days", "1", "-addext",
         "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:models.test"],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.fixture
def tls(tmp_path: Path, files: Path, certificate) -> Iterator[str]:
    (files / "model.onnx").write_bytes(BODY)
    with servers.nginx(tmp_path / "tls", files, tls=certificate) as url:
        yield url


def test_only_trusted_servers_are_believed(tls: str, http: Fetcher, certificate) -> None:
    with pytest.raises(SourceUnreachableError, match="caBundle"):
        http.read(f"{tls}/model.onnx")
    trusting = Fetcher(open_sources({}, ca_bundle=certificate[0]), http.folder)
    assert trusting.read(f"{tls}/model.onnx") == BODY


def made_certificate(folder: Path, name: str, days: int) -> tuple[Path, Path]:
    key, request, made = folder / "made.key", folder / "made.csr", folder / "made.crt"
    extensions = folder / "made.ext"
    extensions.write_text(f"subjectAltName={name}")
    for command in (
        ["req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=x"],
        ["x509", "-req", "-in", request, "-signkey", key, "-days", str(days), "-extfile",
         extensions, "-out", made],
    ):  # fmt: skip
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    return made, key


@pytest.mark.parametrize(
    ("name", "days", "words"),
    [
        ("IP:127.0.0.9", 1, "certificate of another name.*127.0.0.1.*correct the host"),
        ("DNS:other.test", 1, "certificate of another name.*correct the host"),
        ("IP:127.0.0.1", -1, "not valid today.*expired"),
    ],
)
def test_a_certificate_that_no_ca_bundle_would_mend_is_told_as_what_it_is(
    name: str, days: int, words: str, tmp_path: Path, files: Path
) -> None:
    made = made_certificate(tmp_path, name, days)
    trusting = Fetcher(open_sources({}, ca_bundle=made[0]), tmp_path)
    with (
        servers.nginx(tmp_path / "tls", files, tls=made) as url,
        pytest.raises(SourceUnreachableError, match=words) as told,
    ):
        trusting.read(f"{url}/model.onnx")
    assert "caBundle" not in str(told.value)


def test_a_port_without_tls_is_told_as_one(web: str, http: Fetcher) -> None:
    with pytest.raises(SourceUnreachableError, match=r"without TLS.*http://") as told:
        http.read(f"{web.replace('http:', 'https:')}/model.onnx")
    assert "certificate" not in str(told.value)


def test_credentials_of_a_secret_are_sent(tls, tmp_path, certificate, server: Scripted) -> None:
    root = servers.write_secret(
        tmp_path / "s" / "token", Authorization="Bearer abcdefgh", hosts=f"h {urlsplit(tls).netloc}"
    )
    servers.write_secret(root / "basic", username="me", password="pass-word", hosts="h")
    servers.write_secret(root / "other", key="x")
    sources = open_sources({}, Secrets(root), ca_bundle=certificate[0])
    http = Fetcher(sources, tmp_path)
    headers = sources._by_scheme["https"]._authorization  # what goes out: nginx cannot tell us
    assert headers("https://h/a", "token") == {"Authorization": "Bearer abcdefgh"}
    basic = base64.b64encode(b"me:pass-word").decode()
    assert headers("https://h/a", "basic") == {"Authorization": f"Basic {basic}"}
    assert headers("https://h/a", None) == {}
    assert http.read(f"{tls}/model.onnx", "token") == BODY
    with pytest.raises(InvalidSourceError, match="unencrypted"):
        http.read(f"{server.url}/model.onnx", "token")
    assert server.requests == []
    for missing in ("gone", "other", "../s/token"):
        with pytest.raises(SourceRefusedError, match="secretRef"):
            http.read(f"{tls}/model.onnx", missing)


def bound(folder: Path, hosts: str, *, foreign_ca: bool = False) -> Secrets:
    root = servers.write_secret(folder / "token", Authorization="Bearer abcdefgh", hosts=hosts)
    return Secrets(root, foreign_ca=foreign_ca)


@pytest.mark.parametrize(
    ("hosts", "address"),
    [
        ("models.example", "https://models.example/a"),
        ("models.example", "https://MODELS.example:443/a"),
        ("models.example:443", "https://models.example/a?signed=1"),
        ("a.example,models.example:8443\n", "https://models.example:8443/a"),
        ("[::1]:8443", "https://[::1]:8443/a"),
    ],
)
def test_a_secret_goes_to_the_hosts_that_it_names(tmp_path: Path, hosts, address: str) -> None:
    http = open_sources({}, bound(tmp_path, hosts))._by_scheme["https"]
    assert http._authorization(address, "token") == {"Authorization": "Bearer abcdefgh"}


@pytest.mark.parametrize(
    ("hosts", "address"),
    [
        ("", "https://models.example/a"),
        ("models.example", "https://evil.example/a"),
        ("models.example", "https://models.example:8443/a"),
        ("models.example:8443", "https://models.example/a"),
        ("models.example", "https://models.example.evil.example/a"),
        ("models.example", "https://evil.models.example/a"),
        ("models.example", "https://models.example\\.evil.example/a"),
        ("models.example", "https://models.example%2f.evil.example/a"),
        ("models.example", "https://evil.example/?@models.example/a"),
        ("models.example", "https://evil.example/#@models.example/a"),
        ("*", "https://evil.example/a"),
        ("https://models.example", "https://evil.example/a"),
        ("models.example:x", "https://models.example/a"),
    ],
)
def test_a_secret_goes_nowhere_else(tmp_path: Path, hosts: str, address: str) -> None:
    sources = open_sources({}, bound(tmp_path, hosts))
    with pytest.raises(SourceRefusedError, match="name that host in the Secret's key 'hosts'"):
        sources._by_scheme["https"]._authorization(address, "token")


@pytest.mark.parametrize("default", [None, "token"])
def test_a_host_that_a_secret_does_not_name_is_not_even_asked(
    tls, tmp_path: Path, certificate, default: str | None
) -> None:
    secrets = Secrets(bound(tmp_path / "s", "models.example").root, default=default)
    http = Fetcher(open_sources({}, secrets, ca_bundle=certificate[0]), tmp_path)
    with pytest.raises(SourceRefusedError, match=r"not for 127\.0\.0\.1:") as raised:
        http.read(f"{tls}/model.onnx", None if default else "token")
    assert "abcdefgh" not in str(raised.value)
    assert not (tmp_path / "tls" / "access.log").read_text()


def test_the_user_of_a_uri_is_not_a_secrets_host(tmp_path: Path) -> None:
    """What looks like the host is the name of a user, whom the author sends: no Secret."""
    http = open_sources({}, bound(tmp_path, "models.example"))._by_scheme["https"]
    sent = http._authorization("https://models.example:x@evil.example/a", "token")
    assert sent == {"Authorization": f"Basic {base64.b64encode(b'models.example:x').decode()}"}


def test_a_proxy_that_could_read_along_must_be_named(
    tmp_path: Path, certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:word@proxy.example:3128")
    uri = "https://models.example/a"

    def send_with(hosts: str, ca: Path | None) -> object:
        secrets = bound(tmp_path / hosts / str(ca is None), hosts)
        sources = open_sources({}, secrets, ca_bundle=ca)
        return sources._by_scheme["https"]._authorization(uri, "token")

    assert send_with("models.example", None)
    with pytest.raises(SourceRefusedError, match=r"not for proxy\.example:3128") as raised:
        send_with("models.example", certificate[0])
    assert "word" not in str(raised.value)
    assert send_with("models.example proxy.example:3128", certificate[0])


def test_the_password_of_a_uri_stays_with_its_host(server: Scripted, http: Fetcher) -> None:
    with servers.scripted() as elsewhere:
        elsewhere.answers["/cdn"] = good
        server.answers["/a.onnx"] = lambda handler, _: send(
            handler, 302, Location=f"{elsewhere.url}/cdn"
        )
        address = server.url.replace("http://", "http://me:word@")
        assert http.read(f"{address}/a.onnx") == BODY
        assert all("authorization" in each for each in server.requests)
        assert not any("authorization" in each for each in elsewhere.requests)


@pytest.mark.parametrize(
    ("host", "excluded"),
    [
        ("minio.storage.svc:9000", True),
        ("x.svc.cluster.local", False),
        ("10.1.2.3", True),
        ("10.1.2.3:9000", True),
        ("11.1.2.3:9000", False),
        ("192.168.7.200", True),
        ("192.168.8.1", False),
        ("[fd00::7]:443", True),
        ("[fd01::7]:443", False),
        ("0xa010203", False),
        ("10.example", False),
    ],
)
def test_a_network_or_a_domain_needs_no_proxy(
    monkeypatch: pytest.MonkeyPatch, host: str, excluded: bool
) -> None:
    networks = "10.0.0.0/8, 192.168.7.9/24,fd00::/16, 11.0.0.0/99, /, example/x"
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", f".svc,{networks}")
    assert needs_no_proxy(host) == excluded


class Proxy:
    """A CONNECT proxy that sends everybody to one server, and remembers whom they asked for."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.asked: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.asked.append(client.recv(65536).decode())
            server = socket.create_connection(("127.0.0.1", self.target))
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self.pump, args=(one, other), daemon=True).start()

    @staticmethod
    def pump(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        other.close()


@pytest.mark.parametrize("excluded", ["127.0.0.1", ".svc, 127.0.0.0/8"])
def test_a_proxy_is_used_unless_the_host_is_excluded(
    tls, tmp_path, certificate, monkeypatch, excluded: str
) -> None:
    proxy = Proxy(urlsplit(tls).port or 0)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("http://", "http://me:word@"))
    monkeypatch.setenv("NO_PROXY", excluded)
    sources = open_sources({}, ca_bundle=certificate[0], timeout_seconds=5)
    http = Fetcher(sources, tmp_path)
    assert http.read("https://models.test/model.onnx") == BODY
    assert proxy.asked[0].startswith("CONNECT models.test:443 ")
    assert base64.b64encode(b"me:word").decode() in proxy.asked[0]
    asked = len(proxy.asked)
    assert http.read(f"{tls}/model.onnx") == BODY
    assert len(proxy.asked) == asked
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(SourceUnreachableError, match="proxy"):
        http.read("https://models.test/other.onnx")
    proxy.listener.close()
