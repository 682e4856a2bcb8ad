"""Pods that others end: their PodDisruptionBudget, and what is left of them once they are over."""

import pytest

from tests.unit.reconcile.world import NAMESPACE, Operator, World
from triton_operator import names

BUDGET = "PodDisruptionBudget"


@pytest.fixture
async def serving(world: World, operator: Operator) -> World:
    world.server("vision", replicas=1)
    world.model("resnet", serverRef={"name": "vision"})
    await operator.settle()
    return world


async def test_it_comes_with_the_second_pod_and_goes_with_it(
    serving: World, operator: Operator
) -> None:
    assert serving.all_of(BUDGET) == set()

    serving.server("vision", replicas=2)
    await operator.settle()
    assert serving.all_of(BUDGET) == {"vision"}
    serving.server("vision", replicas=3)
    await operator.settle()
    assert serving.writes.count(("apply", BUDGET, "vision")) == 1

    serving.server("vision", replicas=1)
    await operator.settle()
    assert serving.all_of(BUDGET) == set()


async def test_it_follows_the_number_that_somebody_else_sets(
    serving: World, operator: Operator
) -> None:
    serving.autoscaler("other", "vision")
    serving.scale("vision", 2)
    await operator.settle()

    assert serving.all_of(BUDGET) == {"vision"}


# ---- pods that were evicted, which Kubernetes keeps -------------------------------------------


async def evict_one_of_two(world: World, operator: Operator, **spec: str) -> None:
    """Have one of two pods evicted, and another one take its place."""
    world.server("vision", replicas=2, **spec)
    await operator.settle()
    gone = world.server_pods("vision")[0]
    world.evict(gone.name)
    await operator.settle()
    left = [pod.finished for pod in world.observe((NAMESPACE, "vision")).pods if not pod.job]
    assert sorted(left) == [False, False, True]
    assert gone.uid not in {pod.uid for pod in world.server_pods("vision")}


async def test_the_control_key_of_a_pod_that_is_over_is_not_needed(
    serving: World, operator: Operator
) -> None:
    await evict_one_of_two(serving, operator)

    meta = serving.objects[(names.KIND_SERVER, NAMESPACE, "vision")]["metadata"]
    meta["annotations"] = {names.ANNOTATION_ROTATE_CONTROL_KEY: "monday"}
    await operator.settle()

    status = serving.server_status("vision").control_key
    assert status is not None
    assert status.request == "monday"
    assert len(serving.all_of("Secret")) == 1


async def test_the_revision_of_a_pod_that_is_over_does_not_stay_on_the_claim(
    world: World, operator: Operator
) -> None:
    world.model("resnet", serverRef={"name": "vision"})
    await evict_one_of_two(world, operator, modelUpdates="Rollout")

    world.model("resnet", "pass  # better", serverRef={"name": "vision"})
    await operator.settle(steps=80)
    world.model("resnet", "pass  # still better", serverRef={"name": "vision"})
    await operator.settle(steps=80)

    # The last one, and perhaps the one before it: what pods served when the last Job began.
    assert len(world.claims["vision-repository"].revisions) <= 2


async def test_a_pod_in_which_no_load_ends_is_replaced_beside_one_that_is_over(
    serving: World, operator: Operator
) -> None:
    await evict_one_of_two(serving, operator)
    before = set(serving.triton.processes)

    for code in ("wedge", "pass  # mended"):
        serving.model("resnet", code, serverRef={"name": "vision"})
        await operator.run(seconds=60)

    assert len(before & set(serving.triton.processes)) == 1


async def test_what_a_node_says_of_pods_that_it_rejects_is_told(
    serving: World, operator: Operator
) -> None:
    for _ in range(2):
        (pod,) = serving.server_pods("vision")
        serving.evict(pod.name, reason="UnexpectedAdmissionError")
        await operator.run_once()
        status = serving.server_status("vision")
        ready = next(each for each in status.conditions if each.type == "Ready")
        assert ready.reason == "PodsFailing"
        assert "UnexpectedAdmissionError: The node" in ready.message
        serving.step()

    await operator.settle()
    assert serving.condition("vision", "Ready", names.KIND_SERVER) == "True AllPodsReady"
