"""Servers whose pods are immutable: a change of a model is a rolling update, or is taken back."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.reconcile.test_scenarios import (
    ENSEMBLE,
    SHARED,
    assert_all_serve,
    hash_of,
)
from tests.unit.reconcile.world import Operator, World, killed_at_each_moment
from triton_operator import names
from triton_operator.observed import Pod
from triton_operator.repository.manifest import LINKS

ROLLOUT: dict[str, Any] = {"modelUpdates": "Rollout"}


@pytest.fixture
async def vision(world: World, operator: Operator) -> World:
    """Two pods that serve two models."""
    world.server("vision", replicas=2, **ROLLOUT)
    world.model("resnet", **SHARED)
    world.model("steady", **SHARED)
    await operator.settle()
    assert_all_serve(world, "vision", "resnet", "steady")
    return world


def pods(world: World, server: str = "vision") -> list[Pod]:
    found = (Pod.parse(body) for body in world.objects.values() if body["kind"] == "Pod")
    return [pod for pod in found if pod.name.startswith(f"{server}-") and not pod.job]


def revisions(world: World, server: str = "vision") -> set[str]:
    return {pod.repository for pod in pods(world, server)}


async def settle_serving(world: World, operator: Operator, *models: str) -> None:
    """Settle, and see to it that at every moment a ready pod serves each of these."""
    step = world.step

    def watched() -> None:
        step()
        ready = {pod.uid for pod in pods(world) if pod.ready}
        serving = [p.loaded for uid, p in world.triton.processes.items() if uid in ready]
        for model in models:
            assert any(model in loaded for loaded in serving), f"nobody serves {model}"

    world.step = watched  # type: ignore[method-assign]
    try:
        await operator.settle(steps=80)
    finally:
        world.step = step  # type: ignore[method-assign]


async def test_a_new_model_on_its_own_server(world: World, operator: Operator) -> None:
    world.model("resnet", server=ROLLOUT)
    await operator.run_once()
    # The pod starts beside the sync, and waits for it.
    assert world.get("Deployment", "resnet") is not None
    await operator.settle()

    assert_all_serve(world, "resnet", "resnet")
    assert [p.loads for p in world.processes("resnet")] == [["resnet"]]
    assert len(world.writes) <= 12, world.writes


async def test_an_update_replaces_the_pods_and_keeps_serving(
    vision: World, operator: Operator
) -> None:
    before, old = {pod.uid for pod in pods(vision)}, revisions(vision)
    good = hash_of(vision, "resnet")

    vision.model("resnet", "pass  # better", **SHARED)
    await settle_serving(vision, operator, "resnet", "steady")

    assert_all_serve(vision, "vision", "resnet", "steady")
    assert hash_of(vision, "resnet") != good
    assert not before & {pod.uid for pod in pods(vision)}
    assert len(revisions(vision)) == 1
    assert revisions(vision) != old
    assert vision.warnings("resnet") == []


async def test_while_the_pods_change_the_model_says_so(vision: World, operator: Operator) -> None:
    vision.model("resnet", "pass  # better", **SHARED)
    seen = []
    for _ in range(12):
        await operator.run_once()
        vision.step()
        if len(revisions(vision)) == 2:
            await operator.run_once()
            seen.append(vision.model_status("resnet").transition)

    assert seen
    assert set(seen) == {"InProgress"}
    await operator.settle()
    assert vision.model_status("resnet").transition == "UpToDate"


@pytest.mark.parametrize("failure", ["raise", "die"])
async def test_a_broken_update_is_taken_back(
    vision: World, operator: Operator, failure: str
) -> None:
    good, old = hash_of(vision, "resnet"), revisions(vision)
    template = vision.get("Deployment", "vision")["spec"]["template"]  # type: ignore[index]

    vision.model("resnet", failure, **SHARED)
    await settle_serving(vision, operator, "resnet", "steady")

    assert revisions(vision) == old
    assert vision.get("Deployment", "vision")["spec"]["template"] == template  # type: ignore[index]
    assert [loaded["resnet"] for loaded in vision.serving("vision")] == [good, good]
    status = vision.model_status("resnet")
    assert status.transition == "BlockedByFailedLoad"
    assert status.config_hash == good
    assert status.last_failure is not None
    expected = {"raise": "RuntimeError: boom", "die": "the server died while it loaded resnet"}
    assert expected[failure] in status.last_failure.message
    assert vision.warnings("resnet") == ["BlockedByFailedLoad"]
    assert vision.condition("steady") == "True Serving"
    assert vision.model_status("steady").last_failure is None

    vision.model("resnet", "pass  # mended", **SHARED)
    await settle_serving(vision, operator, "resnet", "steady")
    assert_all_serve(vision, "vision", "resnet", "steady")


async def test_a_model_that_was_loaded_when_the_server_died_is_not_to_blame(
    vision: World, operator: Operator
) -> None:
    good = vision.serving("vision")
    vision.model("resnet", "pass  # better", **SHARED)
    vision.model("steady", "die", **SHARED)
    await settle_serving(vision, operator, "resnet", "steady")

    assert vision.condition("steady") == "False BlockedByFailedLoad"
    assert vision.model_status("resnet").transition == "UpToDate"
    assert [each["steady"] for each in vision.serving("vision")] == [
        each["steady"] for each in good
    ]


async def test_a_broken_newcomer_does_not_hold_back_the_others(
    vision: World, operator: Operator
) -> None:
    vision.model("new", "raise", **SHARED)
    await settle_serving(vision, operator, "resnet", "steady")
    assert vision.condition("new") == "False LoadFailed"
    assert "RuntimeError: boom" in vision.message("new")

    vision.model("resnet", "pass  # better", **SHARED)
    await settle_serving(vision, operator, "resnet", "steady")

    assert_all_serve(vision, "vision", "resnet", "steady")
    assert vision.condition("new") == "False LoadFailed"


async def test_a_first_version_that_fails_is_told_and_tried_again(
    world: World, operator: Operator
) -> None:
    world.model("resnet", "raise", server=ROLLOUT)
    await operator.settle()

    status = world.model_status("resnet")
    assert status.transition == "BlockedByFailedLoad"
    assert "RuntimeError: boom" in world.message("resnet", "Loaded")
    assert sorted(world.warnings("resnet")) == ["LoadFailed", "PodsFailing"]
    (pod,) = pods(world, "resnet")
    assert pod.waiting == "CrashLoopBackOff"  # which is Kubernetes' way of trying again
    before = len(world.log_reads)
    await operator.run(seconds=20)
    (again,) = pods(world, "resnet")
    # Of each container that has ended, the log and that of the one before it are read once.
    assert 0 < len(world.log_reads) - before <= 2 * (again.restarts - pod.restarts)
    await operator.run_once()
    read = len(world.log_reads)
    await operator.run_once()
    assert len(world.log_reads) == read

    world.model("resnet", "pass", server=ROLLOUT)
    await operator.settle()
    assert_all_serve(world, "resnet", "resnet")


async def test_files_that_cannot_be_had_hold_back_one_model(
    vision: World, operator: Operator
) -> None:
    good = hash_of(vision, "resnet")
    uri = "https://models.example/none.onnx"
    vision.missing_sources.add(uri)
    broken = [{"version": 1, "source": {"uri": uri}}]
    vision.model("resnet", versions=broken, **SHARED)
    vision.model("new", versions=broken, **SHARED)
    vision.model("steady", "pass  # better", **SHARED)

    step = vision.step
    for _ in range(30):
        await operator.run_once()
        step()

    assert vision.condition("steady") == "True Serving"
    assert vision.condition("resnet") == "False SourceNotFound"
    assert vision.condition("new") == "False SourceNotFound"
    assert vision.serving("vision") == [
        {"resnet": good, "steady": hash_of(vision, "steady")} for _ in range(2)
    ]

    vision.missing_sources.clear()
    await operator.run(seconds=700)
    assert_all_serve(vision, "vision", "new", "resnet", "steady")


async def test_an_ensemble_changes_with_its_members(vision: World, operator: Operator) -> None:
    vision.model("member", **SHARED)
    vision.model("whole", "", config=ENSEMBLE, **SHARED)
    await operator.settle()
    assert_all_serve(vision, "vision", "member", "resnet", "steady", "whole")
    good = hash_of(vision, "member")

    vision.model("member", "raise", **SHARED)
    await settle_serving(vision, operator, "whole", "member")

    assert vision.condition("whole") == "True Serving"
    assert vision.model_status("whole").last_failure is None
    assert vision.condition("member") == "False BlockedByFailedLoad"
    assert [loaded["member"] for loaded in vision.serving("vision")] == [good, good]


async def test_a_model_that_goes_is_in_no_revision_any_more(
    vision: World, operator: Operator
) -> None:
    vision.remove(names.KIND_MODEL, "steady")
    await settle_serving(vision, operator, "resnet")

    assert_all_serve(vision, "vision", "resnet")


async def test_pods_that_find_no_node_are_not_a_models_fault(
    vision: World, operator: Operator
) -> None:
    run_pod = vision._run_pod

    def unschedulable(pod: dict[str, Any]) -> None:
        if pod["metadata"]["uid"] in vision.triton.processes:
            run_pod(pod)
            return
        since = pod["metadata"]["creationTimestamp"]
        pod["status"]["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "message": "Insufficient nvidia.com/gpu",
                "lastTransitionTime": since,
            }
        ]

    vision._run_pod = unschedulable  # type: ignore[method-assign]
    vision.model("resnet", "pass  # better", **SHARED)
    await operator.run(seconds=120)

    assert vision.model_status("resnet").last_failure is None
    limited = vision.condition("vision", "ScalingLimited", of=names.KIND_SERVER)
    assert limited == "True Unschedulable"
    assert len(revisions(vision)) == 2


# ---- from one mode to the other ---------------------------------------------------------------


async def test_a_server_changes_over_to_rollout_and_back(world: World, operator: Operator) -> None:
    world.server("vision", replicas=2)
    world.model("resnet", **SHARED)
    await operator.settle()
    assert revisions(world) == {LINKS}

    world.server("vision", replicas=2, **ROLLOUT)
    await settle_serving(world, operator, "resnet")
    assert_all_serve(world, "vision", "resnet")
    assert LINKS not in revisions(world)

    world.model("resnet", "pass  # better", **SHARED)
    await settle_serving(world, operator, "resnet")
    # Nothing reads the links any more.
    assert world.claims["vision-repository"].links == {}

    world.server("vision", replicas=2)
    world.model("resnet", "raise", **SHARED)
    await settle_serving(world, operator, "resnet")
    assert revisions(world) == {LINKS}
    assert world.condition("resnet") == "False BlockedByFailedLoad"

    world.model("resnet", "pass  # mended", **SHARED)
    await settle_serving(world, operator, "resnet")
    assert_all_serve(world, "vision", "resnet")


async def test_a_broken_change_together_with_the_change_to_rollout(
    world: World, operator: Operator
) -> None:
    world.server("vision", replicas=2)
    world.model("resnet", **SHARED)
    await operator.settle()
    good = hash_of(world, "resnet")

    world.server("vision", replicas=2, **ROLLOUT)
    world.model("resnet", "raise", **SHARED)
    await settle_serving(world, operator, "resnet")

    assert world.serving("vision") == [{"resnet": good}] * 2
    assert LINKS not in revisions(world)
    assert world.condition("resnet") == "False BlockedByFailedLoad"


# ---- the operator comes and goes --------------------------------------------------------------


def ending(world: World) -> object:
    statuses = {
        name: (
            world.condition(name),
            world.model_status(name).transition,
            world.model_status(name).config_hash,
        )
        for name in world.all_of(names.KIND_MODEL)
    }
    return (statuses, world.serving("vision"), revisions(world))


def improve(world: World) -> None:
    world.model("resnet", "pass  # better", **SHARED)


def damage(world: World) -> None:
    world.model("resnet", "raise", **SHARED)


def change_over(world: World) -> None:
    world.server("vision", replicas=2)


@pytest.mark.exhaustive
@pytest.mark.parametrize("change", [improve, damage, change_over])
async def test_an_operator_killed_before_or_after_any_call_reaches_the_same_end(
    change: Callable[[World], None],
) -> None:
    async def begun() -> tuple[World, Operator]:
        world = World()
        operator = Operator(world)
        world.server("vision", replicas=2, **ROLLOUT)
        world.model("resnet", **SHARED)
        world.model("steady", **SHARED)
        await operator.settle()
        change(world)
        return world, operator

    expected, operator = await begun()
    await operator.settle(steps=80)

    async for moment, world, operator in killed_at_each_moment(begun):
        await settle_serving(world, operator, "resnet", "steady")
        assert ending(world) == ending(expected), f"killed at moment {moment}"
    assert moment > 12


async def test_an_operator_without_memory_reaches_the_same_end(
    vision: World, operator: Operator
) -> None:
    vision.model("resnet", "raise", **SHARED)
    await operator.settle(steps=80, restarting=True)

    assert vision.model_status("resnet").transition == "BlockedByFailedLoad"
    assert vision.warnings("resnet") == ["BlockedByFailedLoad"]

    before = len(vision.writes)
    operator.restart()
    await operator.run_once()
    assert vision.writes[before:] == []
