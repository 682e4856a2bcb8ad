"""``s3://`` against a real S3 server; what no real server does, against a scripted one."""

import os
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from tests.wire import servers
from tests.wire.fetching import Fetcher
from tests.wire.servers import S3, Scripted, send
from triton_operator.adapters.credentials import Secrets, blot_out
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

BODY = os.urandom(9 << 20)


@pytest.fixture
def store(s3: S3, tmp_path: Path) -> Iterator[Fetcher]:
    s3.put("models/bert/1/model.onnx", BODY)
    s3.put("models/bert/1/vocab/en.txt", b"hello")
    s3.put("models/bert/1/empty", b"")
    s3.put("models/bert-large/x", b"not below bert/")
    (s3.root / "models/bert/marker").mkdir(exist_ok=True)
    root = s3.write_secret(tmp_path / "secrets/good").parent / "secrets"
    s3.write_secret(root / "wrong", AWS_SECRET_ACCESS_KEY="not-the-key-of-anybody")
    sources = open_sources({}, Secrets(root, default="good"), timeout_seconds=5)
    return Fetcher(sources, tmp_path, Limits(attempts=2))


def test_an_object_or_all_below_a_prefix_is_read(store: Fetcher) -> None:
    assert store.read("s3://models/bert/1/model.onnx") == BODY
    tree = {"model.onnx": BODY, "vocab/en.txt": b"hello", "empty": b""}
    assert store.read_all("s3://models/bert/1") == tree
    assert store.read_all("s3://models/bert/1/") == tree
    assert set(store.read_all("s3://models/bert")) == {f"1/{path}" for path in tree}


@pytest.mark.parametrize(
    ("uri", "secret", "error", "said"),
    [
        ("s3://models/gone", None, SourceNotFoundError, "neither an object nor a folder"),
        ("s3://models/gone/", None, SourceNotFoundError, "neither an object nor a folder"),
        ("s3://nobody/x", None, SourceNotFoundError, "NoSuchBucket"),
        ("s3://models/bert/1/model.onnx", "wrong", SourceRefusedError, "may not be read"),
        ("s3://models/bert/1/", "wrong", SourceRefusedError, "SignatureDoesNotMatch"),
        ("s3://models/bert", "gone", SourceRefusedError, "Secret 'gone' is not in this namespace"),
    ],
)
def test_what_cannot_be_read_is_said_with_the_mend(store, uri, secret, error, said) -> None:
    with pytest.raises(error, match=said) as raised:
        store.read_all(uri, secret)
    assert uri in str(raised.value)
    for hidden in (servers.SECRET_KEY, "not-the-key-of-anybody", servers.ACCESS_KEY):
        assert hidden not in str(raised.value)


def test_an_object_that_changes_is_not_put_together(store: Fetcher, s3: S3) -> None:
    s3.put("models/changing", BODY)
    (file,) = store.sources.list_files(SourceRef("s3://models/changing"))
    s3.put("models/changing", BODY[::-1])
    with (
        store.sources.read(file, 0, 10) as chunks,
        pytest.raises(SourceChangedError, match="changed"),
    ):
        next(chunks)
    assert file.identity != store.sources.list_files(SourceRef("s3://models/changing"))[0].identity


def test_an_object_that_vanishes_is_not_found(store: Fetcher, s3: S3) -> None:
    s3.put("models/vanishing/x", BODY)
    (file,) = store.sources.list_files(SourceRef("s3://models/vanishing"))
    (s3.root / "models/vanishing/x").unlink()
    with store.sources.read(file, 0, 10) as chunks, pytest.raises(SourceNotFoundError):
        next(chunks)


def test_a_store_that_is_not_there_is_unreachable(store: Fetcher, tmp_path: Path) -> None:
    root = servers.write_secret(
        tmp_path / "away/s", AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_ACCESS_KEY_ID="hidden-id",
        AWS_SECRET_ACCESS_KEY="hidden-key",
    )  # fmt: skip
    away = Fetcher(open_sources({}, Secrets(root)), tmp_path, Limits(attempts=1))
    with pytest.raises(SourceUnreachableError, match="it is tried again") as raised:
        away.read("s3://models/x", "s")
    assert "hidden" not in str(raised.value)


@pytest.fixture
def odd(server: Scripted, tmp_path: Path) -> Fetcher:
    """A store that lists what a test says, and has no object of the prefix's own name."""
    root = servers.write_secret(
        tmp_path / "odd/s", AWS_ENDPOINT_URL=server.url, AWS_ACCESS_KEY_ID="a",
        AWS_SECRET_ACCESS_KEY="b",
    )  # fmt: skip
    return Fetcher(open_sources({}, Secrets(root, default="s")), tmp_path, Limits(attempts=1))


def listing(*keys: str, size: int = 1, tag: str = '"e"') -> servers.Answer:
    entries = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>{tag}</ETag><Size>{size}</Size></Contents>"
        for key in keys
    )
    body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
    return lambda handler, _: send(handler, 200, body.encode(), Content_Type="application/xml")


@pytest.mark.parametrize(
    "key", ["a/../../evil", "a/..", "a//b", "a/./b", "a/b\\c", "a/" + "n" * 300]
)
def test_no_key_leads_out_of_its_folder(server: Scripted, odd: Fetcher, key: str) -> None:
    server.answers["/bucket"] = listing("a/good", key)
    with pytest.raises(InvalidSourceError, match="s3://bucket/a/"):
        odd.sources.list_files(SourceRef("s3://bucket/a/"))


def test_markers_of_folders_are_no_files(server: Scripted, odd: Fetcher) -> None:
    server.answers["/bucket"] = listing("a/", "a/sub/", "a/sub/x", size=0)
    files = odd.sources.list_files(SourceRef("s3://bucket/a/"))
    assert [each.path for each in files] == ["sub/x"]


def test_a_list_may_have_entity_tags_without_quotes(server: Scripted, odd: Fetcher) -> None:
    plain = listing("a/x", tag="v1")
    server.answers |= {
        "/bucket": plain,
        "/bucket/a/x": lambda handler, _: send(
            handler, 206, b"1", ETag='"v1"', Content_Range="bytes 0-0/1",
            Last_Modified="Thu, 01 Jan 2026 00:00:00 GMT",
        ),
    }  # fmt: skip
    assert odd.read_all("s3://bucket/a/") == {"x": b"1"}


def test_a_store_that_does_not_answer_in_time_is_given_up(server: Scripted, tmp_path) -> None:
    import threading  # noqa: PLC0415

    silence = threading.Event()
    server.answers["/bucket"] = lambda *_: silence.wait(30)
    root = servers.write_secret(
        tmp_path / "slow/s", AWS_ENDPOINT_URL=server.url, AWS_ACCESS_KEY_ID="a",
        AWS_SECRET_ACCESS_KEY="b",
    )  # fmt: skip
    sources = open_sources({}, Secrets(root, default="s"), timeout_seconds=0.2)
    with pytest.raises(SourceUnreachableError, match="tried again"):
        sources.list_files(SourceRef("s3://bucket/a/"))
    silence.set()


def test_messages_are_blotted() -> None:
    text = "GET https://h/x?sig=abc%3D failed with hunter22: more"
    assert blot_out(text, {"KEY": "hunter22"}) == "GET https://h/x failed with ***: more"


@pytest.mark.parametrize(
    ("uri", "keys"),
    [
        ("gs://b/x", {"GOOGLE_APPLICATION_CREDENTIALS": "{}"}),
        ("az://b/x", {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=2"}),
    ],
)
def test_credentials_are_not_sent_unencrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, keys: dict[str, str]
) -> None:
    for variable in ("STORAGE_EMULATOR_HOST", "AZURE_STORAGE_ENDPOINT"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    folder = tmp_path / "store"
    folder.mkdir()
    for key, value in keys.items():
        (folder / key).write_text(value)
    with pytest.raises(InvalidSourceError, match="not sent unencrypted"):
        open_sources({}, Secrets(tmp_path)).list_files(SourceRef(uri, secret="store"))


@pytest.mark.parametrize(
    ("uri", "variable", "keys"),
    [
        ("s3://b/x", "AWS_ENDPOINT_URL", {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}),
        ("gs://b/x", "STORAGE_EMULATOR_HOST", {"GOOGLE_APPLICATION_CREDENTIALS": "{}"}),
        (
            "az://b/x",
            "AZURE_STORAGE_ENDPOINT",
            {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=2"},
        ),
    ],
)
@pytest.mark.parametrize("default", [None, "store"])
def test_a_spec_sends_no_secret_to_an_endpoint_that_the_secret_does_not_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uri: str,
    variable: str,
    keys: dict[str, str],
    default: str | None,
) -> None:
    monkeypatch.setenv(variable, "https://evil.example")
    root = servers.write_secret(tmp_path / "s/store", hosts="store.example", **keys)
    source = SourceRef(uri, secret=None if default else "store")
    with pytest.raises(SourceRefusedError, match=r"not for evil\.example:443"):
        open_sources({}, Secrets(root, default=default)).list_files(source)


def test_an_endpoint_of_the_spec_is_asked_when_the_secret_names_it(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put("models/named/x", b"1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    root = servers.write_secret(
        tmp_path / "s/store", AWS_ACCESS_KEY_ID=servers.ACCESS_KEY,
        AWS_SECRET_ACCESS_KEY=servers.SECRET_KEY, hosts=s3.url.removeprefix("http://"),
    )  # fmt: skip
    fetcher = Fetcher(open_sources({}, Secrets(root, default="store")), tmp_path)
    assert fetcher.read("s3://models/named/x") == b"1"
