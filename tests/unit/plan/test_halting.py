"""When a rollout stops because new pods serve less than older ones."""

import pytest

from tests.unit.plan.values import hash_of, model, pod, server
from triton_operator.api.model import TritonModelStatus
from triton_operator.observed import Pod, Served, ServedModel, ServedVersion
from triton_operator.plan.acceptance import judge_models
from triton_operator.plan.halting import find_loss
from triton_operator.plan.models import plan_models

GOOD = hash_of(model())
SERVES = {"resnet": ServedModel((ServedVersion("1", "READY"),), GOOD)}
REFUSES = {"resnet": ServedModel((ServedVersion("1", "UNAVAILABLE", "another TensorRT"),))}
LOADS = {"resnet": ServedModel((ServedVersion("1", "LOADING"),))}


def loss(*pods: tuple[Pod, Served | None], good: str = GOOD, paused: bool = False) -> str:
    status = TritonModelStatus(server="vision", model_name="resnet", config_hash=good)
    plans = plan_models(judge_models(server(), [model(status=status)]), "vision")
    return find_loss(plans, dict(pods), "new", paused=paused)


def test_a_new_pod_that_cannot_load_what_an_older_one_serves_stops_it() -> None:
    told = loss((pod("a", revision="old"), SERVES), (pod("b", revision="new"), REFUSES))

    assert "pod b of the new revision cannot load model 'resnet'" in told
    assert "another TensorRT" in told


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        pytest.param(SERVES, SERVES, id="it serves"),
        pytest.param(SERVES, LOADS, id="it loads"),
        pytest.param(SERVES, {}, id="it was not told to load it yet"),
        pytest.param(SERVES, None, id="it does not answer"),
        pytest.param(REFUSES, REFUSES, id="none serves it"),
        pytest.param(None, REFUSES, id="of the older ones nothing is known"),
    ],
)
def test_else_it_goes_on(older: Served | None, newer: Served | None) -> None:
    assert not loss((pod("a", revision="old"), older), (pod("b", revision="new"), newer))


def test_pods_that_leave_or_are_not_ready_do_not_count() -> None:
    old, new = (pod("a", revision="old"), SERVES), (pod("b", revision="new"), REFUSES)

    assert not loss((pod("a", revision="old", terminating=True), SERVES), new)
    assert not loss(old, (pod("b", revision="new", ready=False), REFUSES))


def test_a_generation_that_is_on_trial_says_nothing_of_the_pods() -> None:
    old, new = (pod("a", revision="old"), SERVES), (pod("b", revision="new"), REFUSES)

    assert not loss(old, new, good="another")


@pytest.mark.parametrize("newer", [REFUSES, LOADS, {}], ids=["refused", "loading", "not told"])
@pytest.mark.parametrize("good", [GOOD, "another"], ids=["as it was", "changed"])
def test_what_is_paused_stays_so_until_a_new_pod_serves_it(newer: Served, good: str) -> None:
    old, new = (pod("a", revision="old"), SERVES), pod("b", revision="new")

    assert loss(old, (new, newer), good=good, paused=True)
    assert not loss(old, (new, SERVES), good=good, paused=True)
    assert not loss((new, newer), good=good, paused=True), "nobody else serves it"
