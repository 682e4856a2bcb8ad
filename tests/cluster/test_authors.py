"""An author without rights on Secrets reads none through the operator, by any path there is; and
what else the administrator keeps from pods."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.cluster.support.installation import Installation
from tests.cluster.support.kube import Object, kubectl
from tests.cluster.support.manifests import adds, model, server, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.web import address_towards
from tests.cluster.support.world import World
from tests.wire import servers

pytestmark = pytest.mark.cluster

AUTHOR, CREATOR = "author", "creator-of-pods"
WORD = "a-very-secret-word"
KEY = {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "token", "key": "password"}}}
VOLUME = {"name": "token", "secret": {"secretName": "token"}}
POWERS: dict[str, tuple[Object, str]] = {
    "env": ({"env": [KEY]}, "env[].valueFrom"),
    "volume": ({"podTemplate": {"volumes": [VOLUME]}}, "podTemplate.volumes"),
    "account": (
        {"podTemplate": {"serviceAccountName": "default"}},
        "podTemplate.serviceAccountName",
    ),
    "reader": (
        {"repository": {"sync": {"serviceAccountName": "default"}}},
        "repository.sync.serviceAccountName",
    ),
}
every_power = pytest.mark.parametrize("power", POWERS)


def role(user: str, *rules: Object) -> Iterator[Object]:
    group = "rbac.authorization.k8s.io"
    common = {"apiVersion": f"{group}/v1", "metadata": {"name": user}}
    yield {**common, "kind": "Role", "rules": list(rules)}
    yield {
        **common,
        "kind": "RoleBinding",
        "roleRef": {"apiGroup": group, "kind": "Role", "name": user},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }


def rule(group: str, resources: list[str], *verbs: str) -> Object:
    return {"apiGroups": [group], "resources": resources, "verbs": [*verbs]}


@pytest.fixture(scope="module")
def town(world: World) -> World:
    """A namespace with a Secret, an author, and one who may create pods as well."""
    writes = rule("triton-operator.io", ["tritonmodels", "tritonservers"], "create", "get", "patch")
    for each in (*role(AUTHOR, writes), *role(CREATOR, writes, rule("", ["pods"], "create"))):
        applied = kubectl("apply", "-n", world.namespace, "-f", "-", stdin=each)
        assert applied.returncode == 0, applied.stderr
    world.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "token"},
            "stringData": {"username": "me", "password": WORD, "hosts": "models.example"},
        }
    )
    # The API server takes a moment to know new policies and roles.
    wait_for("the policy acts", lambda: refused(world, AUTHOR, POWERS["env"][0]), 30)
    wait_for("the role acts", lambda: not refused(world, CREATOR, POWERS["env"][0]), 30)
    return world


def refused(world: World, user: str, spec: Object) -> bool:
    return write(world, user, server("any", **spec)).returncode != 0


def write(world: World, user: str, body: Object) -> subprocess.CompletedProcess[str]:
    arguments = ("create", "--dry-run=server", "-n", world.namespace, "--as", user, "-f", "-")
    return kubectl(*arguments, stdin=body)


def objects(spec: Object) -> Iterator[Object]:
    yield server("mine", **spec)
    yield model("mine", version(1, adds(1)), server=dict(server("mine", **spec)["spec"]))


@every_power
def test_who_may_not_create_pods_gives_none_what_only_their_creator_may(
    town: World, power: str
) -> None:
    spec, field = POWERS[power]
    for body in objects(spec):
        answer = write(town, AUTHOR, body)
        assert answer.returncode != 0, body["kind"]
        assert f"{field}: a model could read what its pod may read" in answer.stderr


@every_power
def test_who_may_create_pods_may_do_it_here_too(town: World, power: str) -> None:
    for body in objects(POWERS[power][0]):
        answer = write(town, CREATOR, body)
        assert answer.returncode == 0, answer.stderr


def test_an_author_may_write_everything_else(town: World) -> None:
    for body in (
        *objects({"env": [{"name": "A", "value": "b"}], "podTemplate": {"nodeSelector": {}}}),
        model("shared", version(1, adds(1)), on="mine"),
    ):
        answer = write(town, AUTHOR, body)
        assert answer.returncode == 0, answer.stderr


def test_an_update_is_asked_about_as_well_but_no_label(town: World) -> None:
    town.apply(server("old", replicas=0, **POWERS["volume"][0]), server("plain", replicas=0))

    def patch(name: str, change: Object) -> subprocess.CompletedProcess[str]:
        where = ("patch", "tritonserver", name, "-n", town.namespace, "--as", AUTHOR)
        return kubectl(*where, "--dry-run=server", "--type=merge", "-p", json.dumps(change))

    assert patch("plain", {"spec": {"env": [KEY]}}).returncode != 0
    assert patch("old", {"spec": {"logVerbosity": 1}}).returncode != 0
    for name, change in (
        ("plain", {"spec": {"logVerbosity": 1}}),
        ("old", {"metadata": {"labels": {"a": "b"}}}),
    ):
        answer = patch(name, change)
        assert answer.returncode == 0, answer.stderr


def test_the_operator_makes_the_server_that_an_author_was_allowed(town: World) -> None:
    town.apply(model("own", version(1, adds(1)), server=dict(server("x", env=[KEY])["spec"])))

    town.wait_ready("own")

    assert town.live("TritonServer", "own")["spec"]["env"] == [KEY]


def test_a_secret_is_sent_to_no_host_of_the_authors(town: World) -> None:
    town.apply(server("shop", replicas=1), model("first", version(1, adds(1)), on="shop"))
    town.wait_ready("first")
    host = address_towards(town.pods("shop")[0].ip)
    with servers.scripted(host) as authors_own:
        address = authors_own.url.replace("http://", "https://")
        uri = {"uri": f"{address}/model.py", "secretRef": {"name": "token"}}
        body = model("thief", {"version": 1, "source": uri}, on="shop")
        created = kubectl(*("create", "-n", town.namespace, "--as", AUTHOR, "-f", "-"), stdin=body)
        assert created.returncode == 0, created.stderr

        said = town.wait_condition(
            "TritonModel", "thief", "Synced", "False", reason="SourceRefused", seconds=60
        )

        assert f"Secret 'token' is not for {host}:" in said["message"]
        assert WORD not in json.dumps(town.live("TritonModel", "thief"))
        assert authors_own.requests == []


def test_nobody_shows_a_pod_its_node(town: World) -> None:
    volume = {"name": "node", "hostPath": {"path": "/"}}
    for body in objects({"podTemplate": {"volumes": [volume]}}):
        answer = write(town, CREATOR, body)
        assert answer.returncode != 0
        assert "podTemplate.volumes: a hostPath shows a pod the files of its node" in answer.stderr


BACKENDS = ["tensorrt", "python"]
ALLOWED = ["registry.example/team", "registry.example:5000/triton", "nvcr.io"]


@pytest.fixture(scope="module")
def restricted(town: World, operator: Installation) -> Iterator[World]:
    """The same namespace, where the administrator allows some images and backends only."""
    operator.install(**{"security.allowedImages": ALLOWED, "security.allowedBackends": BACKENDS})
    wait_for("the policy acts", lambda: refused(town, CREATOR, {"image": "other"}), 30)
    yield town
    operator.install()
    wait_for("the policy is gone", lambda: not refused(town, CREATOR, {"image": "other"}), 30)


@pytest.mark.parametrize(
    "image",
    [
        "registry.example/team/triton:26.07",
        "registry.example/team:26.07",
        "registry.example:5000/triton@sha256:" + "0" * 64,
        "nvcr.io/nvidia/tritonserver:26.07-py3",
    ],
)
def test_an_image_that_the_administrator_allows_is_taken(restricted: World, image: str) -> None:
    for body in objects({"image": image}):
        answer = write(restricted, CREATOR, body)
        assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize(
    "image",
    [
        "registry.example/teams/triton",
        "registry.example/other",
        "nvcr.io:5000/nvidia/tritonserver",
        "nvcr.io.evil.example/x",
        "nvcr.io@evil.example/x",
        "registry.example:5000/triton-evil",
        "evil.example/registry.example/team",
        "python:3",
    ],
)
def test_another_image_is_refused_with_those_that_are_allowed(
    restricted: World, image: str
) -> None:
    volume = {"name": "v", "image": {"reference": image}}
    for body in (*objects({"image": image}), *objects({"podTemplate": {"volumes": [volume]}})):
        answer = write(restricted, CREATOR, body)
        assert answer.returncode != 0
        assert f"image: {image} is not among the images" in answer.stderr
        assert ", ".join(ALLOWED) in answer.stderr


def test_the_administrators_own_image_needs_no_leave(restricted: World) -> None:
    for body in objects({}):
        answer = write(restricted, AUTHOR, body)
        assert answer.returncode == 0, answer.stderr


def refusal(field: str) -> str:
    return (
        f"{field} among the backends that the administrator allows: tensorrt, python"
        " (security.allowedBackends of the operator's chart)"
    )


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"backend": "onnxruntime"}, "config.backend: onnxruntime is not"),
        ({"platform": "onnxruntime_onnx"}, "config.platform: onnxruntime_onnx is not"),
        ({"maxBatchSize": 1}, "config.backend: the one that is named must be"),
        ({"backend": "onnxruntime", "platform": "python"}, "config.backend: onnxruntime is not"),
    ],
)
def test_another_backend_is_refused_with_those_that_are_allowed(
    restricted: World, config: Object, said: str
) -> None:
    answer = write(restricted, CREATOR, model("mine", version(1, adds(1)), config=config))
    assert answer.returncode != 0
    assert refusal(said) in answer.stderr


def test_a_backend_in_the_text_of_a_config_is_told_by_the_operator(restricted: World) -> None:
    body = model("texts", version(1, adds(1)), on="nothing")
    del body["spec"]["config"]
    body["spec"]["configText"] = 'backend: "onnx" "runtime"'
    restricted.apply(server("nothing", replicas=0), body)
    told = restricted.wait_condition(
        "TritonModel", "texts", "Accepted", "False", reason="BackendNotAllowed"
    )
    assert told["message"] == refusal("configText: onnxruntime is not")
