"""What ``kubectl triton status`` tells of a fleet."""

from datetime import timedelta

import pytest

from tests.unit.kubectl.fleets import (
    HASH,
    NOW,
    REFUSED,
    SERVING,
    VISION,
    condition,
    fleet,
    model,
    pod,
    render,
    server,
)
from triton_operator.kubectl.errors import UnusableError
from triton_operator.kubectl.fleet import Fleet
from triton_operator.kubectl.tree import build_tree, tell_age
from triton_operator.kubectl.view import view_fleet, view_server

VISION_TREE = """\
team/vision  2/3 ready  1 GPU per pod  wants 3  queue 12 ms  45% busy
├── Ready Unschedulable: 2 of 3 pods ready
├── ScalingLimited Unschedulable: 1 of 3 pods: no GPU
├── models
│   ├── detector  as yolo  Ready  Serving  versions 1, 2  0123456789  on 2/2 pods
│   └── draw  not ready  LoadFailed  on 0/2 pods  copied 61% of 2.0 GiB
│       ├── Ready LoadFailed: failed to load 'draw': no such file
│       ├── Synced Copying: 61% of 2.0 GiB
│       └── last failure 2h ago LoadFailed
└── pods
    ├── vision-a  ready  on node-1  3m
    ├── vision-b  ready  on node-1  2 restarts  3m  revision fedcba9876
    └── vision-c  no node has a GPU  3m"""


def tree(found: Fleet, name: str) -> str:
    return render(build_tree(view_server(found, ("team", name)), now=NOW))


def test_a_server_with_its_models_and_pods():
    assert tree(VISION, "vision") == VISION_TREE


def test_a_server_that_only_a_model_names():
    nowhere, _ = view_fleet(VISION)

    assert nowhere.name == "nowhere"
    assert render(build_tree(nowhere, now=NOW)).splitlines()[0] == (
        "team/nowhere  there is no TritonServer of this name"
    )


def test_a_server_without_anything():
    assert tree(fleet([server("new", gpus=0)], [], {}), "new") == (
        "team/new  no status yet  CPU\n"
        "├── models\n"
        "│   └── none names this server\n"
        "└── pods\n"
        "    └── none"
    )


def test_one_model_can_be_looked_at_alone():
    view = view_server(VISION, ("team", "vision"), only=VISION.find_model(("team", "draw")))

    assert [each.name for each in view.models] == ["draw"]
    assert len(view.pods) == 3


def test_a_spec_that_the_operator_has_not_seen_yet_is_told():
    found = fleet([server("vision", generation=2, ready="1/1")], [], {})

    assert "the spec is newer than the status" in tree(found, "vision")


def test_what_is_as_it_should_be_is_no_trouble():
    calm = [
        condition("Accepted", "True", "Valid"),
        condition("Progressing", "False", "Complete"),
        condition("ScalingLimited", "False", "NotLimited"),
    ]
    (view,) = view_fleet(fleet([server("vision", conditions=calm)], [], {}))

    assert view.troubles == ()


def test_an_old_failure_of_a_model_that_serves_is_told_in_full():
    failure = {"reason": "LoadFailed", "message": REFUSED, "time": "2026-01-01T10:00:00Z"}
    found = fleet([server("vision")], [model("draw", "vision", **SERVING, lastFailure=failure)], {})

    assert f"last failure 2h ago LoadFailed: {REFUSED}" in tree(found, "vision")


def test_a_pod_says_what_it_serves():
    found = fleet([server("vision")], [], {"vision": [pod("a"), pod("b")]})
    view = view_server(found, ("team", "vision"), {(("team", "vision"), "a"): {"m": HASH}})

    assert view.pods[0].serves == {"m": HASH}
    assert view.pods[1].serves is None
    assert "m  0123456789" in render(build_tree(view, now=NOW))


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "ready"),
        ({"terminating": True}, "terminating"),
        ({"ready": False}, "not ready"),
        ({"ready": False, "waiting": "ImagePullBackOff: no such image"}, "ImagePullBackOff: no"),
        ({"ready": False, "crash": "Error, exit code 1", "restarts": 1}, "crashed: Error, exit"),
        ({"ready": False, "finished": True, "exit_reason": "Evicted: no disk"}, "ended: Evicted"),
    ],
)
def test_the_state_of_a_pod(fields: dict[str, object], state: str):
    view = view_server(fleet([], [], {"vision": [pod("a", **fields)]}), ("team", "vision"))

    assert view.pods[0].state.startswith(state)
    assert view.pods[0].ready is (state == "ready")


@pytest.mark.parametrize(
    "words",
    ["--log-file <string> Where to.", "creating server: Internal - failed to load all models"],
)
def test_last_words_that_do_not_tell_why_are_left_out(words: str):
    crashed = pod("a", ready=False, restarts=1, crash=f"Error, exit code 1, last words: …{words}")
    view = view_server(fleet([], [], {"vision": [crashed]}), ("team", "vision"))

    assert view.pods[0].state == "crashed: Error, exit code 1; the server's message says why"


def test_the_values_for_programs_have_the_names_of_the_api():
    manifest = view_server(VISION, ("team", "vision")).manifest()

    assert manifest["queueTimeMilliseconds"] == 12
    assert manifest["models"][0] == {
        "name": "detector",
        "modelName": "yolo",
        "ready": True,
        "reason": "Serving",
        "versions": [1, 2],
        "configHash": HASH,
        "loaded": "2/2",
        "sync": "",
        "outdated": False,
        "troubles": [],
    }
    assert manifest["pods"][0]["createdAt"] == "2026-01-01T11:57:00Z"


def test_a_name_is_a_server_or_else_a_model():
    assert VISION.find_server(("team", "vision")) == ("team", "vision")
    assert VISION.find_server(("team", "draw")) == ("team", "vision")


def test_a_model_that_moves_is_served_by_its_old_server():
    found = fleet([], [model("draw", "new", server="old")], {})

    assert found.find_server(("team", "draw")) == ("team", "old")


@pytest.mark.parametrize(
    ("name", "mend"),
    [("detectr", "did you mean detector?"), ("quite-else", "there are detector, draw, lost")],
)
def test_a_name_that_does_not_exist_is_answered_with_those_that_do(name: str, mend: str):
    with pytest.raises(UnusableError, match="there is no TritonModel") as refusal:
        VISION.find_model(("team", name))

    assert mend in str(refusal.value)
    assert refusal.value.exit_code == 2


def test_an_empty_namespace_is_told_as_such():
    with pytest.raises(UnusableError, match="in the namespace other: choose another one with -n"):
        VISION.find_model(("other", "detector"))


@pytest.mark.parametrize(
    ("seconds", "age"), [(0, "0s"), (59, "59s"), (61, "1m"), (7300, "2h"), (200_000, "2d")]
)
def test_ages(seconds: int, age: str):
    assert tell_age(NOW - timedelta(seconds=seconds), NOW) == age
