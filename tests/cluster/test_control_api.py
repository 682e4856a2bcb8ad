"""Who may load a model may run code: model control answers only who has the server's key."""

import http

import pytest
import tritonclient.grpc as grpc_client
from tritonclient.utils import InferenceServerException

from tests.cluster.support import triton
from tests.cluster.support.manifests import adds, model, version
from tests.cluster.support.world import World

pytestmark = pytest.mark.cluster

NAME = "locked"

CLOSED = {
    "index": ("POST", "/v2/repository/index"),
    "load": ("POST", f"/v2/repository/models/{NAME}/load"),
    "unload": ("POST", f"/v2/repository/models/{NAME}/unload"),
    "trace": ("GET", "/v2/trace/setting"),
    "logging": ("GET", "/v2/logging"),
    "shared-memory": ("GET", "/v2/systemsharedmemory/status"),
}


@pytest.fixture(scope="module")
def host(world: World) -> str:
    world.apply(model(NAME, version(1, adds(1))))
    world.wait_ready(NAME)
    return world.service(NAME)


@pytest.mark.parametrize("what", CLOSED)
@pytest.mark.parametrize("headers", [{}, {"triton-operator-key": "guessed"}], ids=["no", "wrong"])
def test_without_the_key_it_is_closed(host: str, what: str, headers: dict[str, str]) -> None:
    verb, path = CLOSED[what]

    answer = triton.ask(host, path, {} if verb == "POST" else None, method=verb, headers=headers)

    assert answer.status == http.HTTPStatus.FORBIDDEN


def test_without_the_key_it_is_closed_over_grpc(host: str) -> None:
    client = grpc_client.InferenceServerClient(f"{host}:{triton.GRPC_PORT}")
    try:
        for call in (client.get_model_repository_index, lambda: client.unload_model(NAME)):
            with pytest.raises(InferenceServerException, match="restricted"):
                call()
    finally:
        client.close()


def test_with_the_key_it_answers(world: World, host: str) -> None:
    answer = triton.ask(host, "/v2/repository/index", {}, headers=world.control_key(NAME))

    assert answer.status == http.HTTPStatus.OK
    assert [each["name"] for each in answer.json()] == [NAME]


def test_inference_and_health_are_open(host: str) -> None:
    assert triton.number(host, NAME) == 2.0
    assert triton.ask(host, "/v2/health/ready").status == http.HTTPStatus.OK
    assert triton.ask(host, f"/v2/models/{NAME}/stats").status == http.HTTPStatus.OK


def test_the_key_is_only_in_the_secret(world: World) -> None:
    key = world.control_key(NAME)["triton-operator-key"]
    (pod,) = world.pods(NAME)

    assert len(key) >= 32
    for kind, name in (
        ("Pod", pod.name),
        ("Deployment", NAME),
        ("TritonServer", NAME),
        ("TritonModel", NAME),
    ):
        assert key not in str(world.live(kind, name)), f"{kind} {name} shows the key"


def test_pods_have_no_token_of_the_cluster(world: World) -> None:
    (pod,) = world.pods(NAME)

    assert world.sh(pod.name, "ls /var/run/secrets 2>/dev/null || echo none").strip() == "none"
