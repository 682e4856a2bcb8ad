"""Models from real stores, and what the status says of sources that are not as they should be."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256

import pytest

from tests.cluster.support import triton
from tests.cluster.support.kube import Object, condition
from tests.cluster.support.manifests import adds, model, server, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.web import address_towards, send_slowly
from tests.cluster.support.world import World
from tests.wire import servers

pytestmark = pytest.mark.cluster

SERVER = "stores"
CODE = adds(1)
DIGEST = sha256(CODE.encode()).hexdigest()
TEBIBYTE = 1 << 40


@dataclass(frozen=True)
class Stores:
    """Where pods find the servers of these tests."""

    s3: servers.S3
    web: str
    rude: str
    silence: threading.Event
    """Once it is set, the silent and the slow server answer as they should."""


@pytest.fixture(scope="module")
def stores(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    world.apply(server(SERVER), model("first", version(1, adds(1)), on=SERVER))
    world.wait_ready("first")
    host = address_towards(world.pods(SERVER)[0].ip)
    files = tmp_path_factory.mktemp("files")
    (files / "model.py").write_text(CODE)
    (files / "closed").mkdir()
    (files / "closed" / "model.py").write_text(CODE)
    with (files / "huge.bin").open("wb") as huge:
        huge.truncate(TEBIBYTE)
    with (
        servers.s3(tmp_path_factory.mktemp("s3"), host) as s3,
        servers.nginx(tmp_path_factory.mktemp("nginx"), files, host=host) as web,
        servers.scripted(host) as rude,
    ):
        s3.put("models/adder/1/model.py", CODE.encode())
        rude.answers["/half"] = send_half
        world.apply(secret("keys", s3.url), secret("wrong", s3.url, key="not-the-key"))
        silence = threading.Event()
        rude.answers["/silent/model.py"] = lambda handler, _: send_late(handler, silence)
        rude.answers["/slow/model.py"] = lambda handler, _: send_slowly(
            handler, CODE.encode() + b"#" * 600, silence
        )
        yield Stores(s3, web, rude.url, silence)
        silence.set()


def send_half(handler: servers.Handler, _: int) -> None:
    """Promise more than is sent, and close."""
    servers.send(handler, 200, b"half", length="1000")
    handler.close_connection = True


def send_late(handler: servers.Handler, end: threading.Event) -> None:
    """Say nothing until the end."""
    end.wait(600)
    servers.send(handler, 200, CODE.encode())


def secret(name: str, endpoint: str, key: str = servers.SECRET_KEY) -> Object:
    values = {
        "AWS_ACCESS_KEY_ID": servers.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": key,
        "AWS_ENDPOINT_URL": endpoint,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": values,
    }


def source(uri: str, **more: object) -> Object:
    return {"version": 1, "source": {"uri": uri, **more}}


def test_a_folder_of_a_store_and_a_file_of_a_web_server_are_served(
    world: World, stores: Stores
) -> None:
    keys = {"secretRef": {"name": "keys"}}
    world.apply(
        model("from-store", source("s3://models/adder/1", **keys), on=SERVER),
        model("from-web", source(f"{stores.web}/model.py", sha256=DIGEST), on=SERVER),
    )

    world.wait_ready("from-store", "from-web")

    for name in ("from-store", "from-web"):
        world.wait_answer(SERVER, name, 2.0)
    (artifact,) = world.status("TritonModel", "from-web")["artifacts"]
    assert artifact["sha256"] == DIGEST
    assert artifact["bytes"] == len(CODE)


def test_a_source_that_is_not_as_it_should_be_fails_its_model_and_says_why(
    world: World, stores: Stores, figure: Callable[[str], None]
) -> None:
    keys, wrong = {"secretRef": {"name": "keys"}}, {"secretRef": {"name": "wrong"}}
    cases: dict[str, tuple[Object, str, str]] = {
        "checksum": (
            source(f"{stores.web}/model.py", sha256="0" * 64),
            "ChecksumMismatch",
            f"has sha256 {DIGEST}, not {'0' * 64}",
        ),
        "web-403": (source(f"{stores.web}/closed/model.py"), "SourceRefused", "answers HTTP 403"),
        "web-404": (source(f"{stores.web}/gone.py"), "SourceNotFound", "answers HTTP 404"),
        "huge": (source(f"{stores.web}/huge.bin"), "InsufficientSpace", f"({TEBIBYTE} bytes are"),
        "half": (source(f"{stores.rude}/half"), "SourceUnreachable", "/half"),
        "nowhere": (source("https://nowhere.invalid/m"), "SourceUnreachable", "nowhere.invalid"),
        "key-gone": (source("s3://models/gone", **keys), "SourceNotFound", "s3://models/gone"),
        "key-wrong": (source("s3://models/adder", **wrong), "SourceRefused", "secretRef"),
        "no-secret": (
            source("s3://models/adder", secretRef={"name": "missing"}),
            "SourceRefused",
            "missing",
        ),
    }
    world.apply(
        *(model(name, what, on=SERVER) for name, (what, _, _) in cases.items()),
        model("beside", version(1, adds(4)), on=SERVER),
    )

    for name, (_, reason, words) in cases.items():
        synced = world.wait_condition(
            "TritonModel", name, "Synced", "False", reason=reason, seconds=180
        )
        figure(f"source {name}: {synced['reason']}: {synced['message']}")
        assert words in synced["message"], synced
        assert servers.SECRET_KEY not in synced["message"]
    world.wait_answer(SERVER, "first", 2.0)
    world.wait_answer(SERVER, "beside", 5.0)


def test_what_failed_is_served_once_its_source_is_mended(world: World, stores: Stores) -> None:
    stores.s3.put("models/late/1/model.py", adds(6).encode())
    world.apply(
        model("key-gone", source("s3://models/late/1", secretRef={"name": "keys"}), on=SERVER)
    )

    world.wait_ready("key-gone", seconds=180)

    world.wait_answer(SERVER, "key-gone", 7.0)


@pytest.mark.parametrize("how", ["silent", "slow"])
def test_a_source_that_is_silent_or_slow_keeps_only_its_own_model_waiting(
    world: World, stores: Stores, how: str, figure: Callable[[str], None]
) -> None:
    shared, late, quick, beside = (f"{how}-{name}" for name in ("shared", "a", "quick", "beside"))
    stores.silence.clear()
    world.apply(
        server(shared),
        model(late, source(f"{stores.rude}/{how}/model.py"), on=shared),
        model(quick, version(1, adds(1)), on=shared),
    )

    def measure(what: str, name: str, value: float) -> None:
        begun = time.monotonic()
        world.wait_ready(name)
        world.wait_answer(shared, name, value, seconds=60)
        world.wait_ready(name)
        figure(f"{how} source: {what} after {time.monotonic() - begun:.1f} s")
        assert condition(world.get("TritonModel", late), "Synced").get("status") == "False"

    measure("a model applied with it is served", quick, 2.0)
    world.apply(model(beside, version(1, adds(2)), on=shared))
    measure("one applied later is served", beside, 3.0)
    world.apply(model(quick, version(1, adds(3)), on=shared))
    measure("an update is served", quick, 4.0)
    world.delete("TritonModel", beside)
    wait_for(
        "the deleted model is unloaded",
        lambda: not triton.answers(world.service(shared), beside),
        60,
    )
    stores.silence.set()
    world.wait_ready(late, quick, seconds=180)
    world.wait_answer(shared, late, 2.0)
    world.wait_answer(shared, quick, 4.0)


def test_a_path_that_climbs_is_refused_at_once(world: World) -> None:
    with pytest.raises(Exception, match=r"\.\."):
        world.apply(model("climber", source("s3://models/../other/model.py"), on=SERVER))
