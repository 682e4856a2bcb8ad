"""What the passes over a world count."""

from datetime import timedelta
from typing import Any

import pytest

from tests.unit.reconcile.test_autoscaling import BOUNDS, WINDOW
from tests.unit.reconcile.world import NAMESPACE, Operator, World


def value(operator: Operator, name: str, **labels: str) -> float:
    registry = operator.telemetry.registry
    return registry.get_sample_value(f"triton_operator_{name}", labels) or 0.0


def results(operator: Operator, family: str) -> dict[str, float]:
    return {
        each.labels["result"]: each.value
        for metric in operator.telemetry.registry.collect()
        if metric.name == f"triton_operator_{family}"
        for each in metric.samples
    }


def of_vision(operator: Operator) -> dict[str, float]:
    """What carries the name of the server, by the one label more."""
    return {
        value: sample.value
        for metric in operator.telemetry.of_servers([(NAMESPACE, "vision")])
        for sample in metric.samples
        for label, value in sample.labels.items()
        if label in ("direction", "reason")
    }


async def test_a_new_model_is_one_sync_and_an_update_one_load_a_pod(
    world: World, operator: Operator
) -> None:
    world.server("vision", replicas=2)
    world.model("resnet", serverRef={"name": "vision"})
    await operator.settle()
    assert results(operator, "syncs") == {"Done": 1}
    assert value(operator, "sync_duration_seconds_count") == 1
    loads = value(operator, "loads_total", result="Loaded")

    world.model("resnet", code="print(2)", serverRef={"name": "vision"})
    await operator.settle()
    assert results(operator, "syncs") == {"Done": 2}
    assert results(operator, "loads") == {"Loaded": loads + 2}

    await operator.settle()
    assert results(operator, "syncs") == {"Done": 2}
    assert results(operator, "loads") == {"Loaded": loads + 2}


async def test_what_was_over_before_a_restart_is_not_counted_again(
    world: World, operator: Operator
) -> None:
    world.model("resnet")
    await operator.settle()
    operator.restart()
    await operator.settle()
    assert results(operator, "syncs") == {}
    assert results(operator, "loads") == {}


async def test_a_refused_load_is_counted_by_its_reason(world: World, operator: Operator) -> None:
    world.model("resnet")
    await operator.settle()
    before = value(operator, "loads_total", result="Loaded")
    world.model("resnet", code="raise ValueError")
    await operator.settle()
    assert world.condition("resnet", "Loaded") == "False BlockedByFailedLoad"
    assert value(operator, "loads_total", result="LoadFailed") == 1
    assert value(operator, "load_duration_seconds_count") >= before + 1


async def test_a_sync_that_leaves_a_model_out_is_incomplete(
    world: World, operator: Operator
) -> None:
    uri = "https://models.example.com/model.onnx"
    world.missing_sources.add(uri)
    world.model("resnet", code="", versions=[{"version": 1, "source": {"uri": uri}}])
    await operator.run_once()
    for _ in range(5):
        world.step()
        await operator.run_once()
    assert results(operator, "syncs") == {"Incomplete": 1}


@pytest.mark.parametrize("mode", ["Active", "Observe"])
async def test_decisions_are_counted(world: World, operator: Operator, mode: str) -> None:
    bounds: dict[str, Any] = BOUNDS | {"mode": mode}
    world.server("vision", autoscaling=bounds)
    world.model("resnet", serverRef={"name": "vision"})
    await operator.settle()
    await operator.run(seconds=WINDOW)
    world.load.arrivals["vision"] = 25.0
    await operator.run(seconds=60)
    status = operator.scaler.statuses()[(NAMESPACE, "vision")]
    told = of_vision(operator)
    assert told["up"] >= 1
    # The status has the last five; who only observes sees the queue grow, and decides anew.
    assert min(5, told["up"] + told.get("down", 0)) == len(status.decisions)
    assert status.models[0].arrivals_per_second == pytest.approx(25, rel=0.3)

    world.triton.deaf.update(pod.name for pod in world.server_pods("vision"))
    await operator.run_once()
    assert of_vision(operator)["Timeout"] >= 1


async def test_a_bug_in_one_decision_is_counted_and_keeps_no_other_server_from_its_own(
    world: World, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("vision", "speech"):
        world.server(name, autoscaling=BOUNDS)
        world.model(f"of-{name}", serverRef={"name": name})
    await operator.settle()
    assert await operator.scaler.tick() == ""
    asked = world.load.shapes

    async def fail(pods: Any, known: Any) -> Any:
        if any(pod.name.startswith("vision") for pod in pods):
            raise KeyError("a bug")
        return await asked(pods, known)

    monkeypatch.setattr(world.load, "shapes", fail)
    before = operator.scaler.statuses()
    world.now += timedelta(seconds=2)
    assert await operator.scaler.tick() == "Unexpected"
    after = operator.scaler.statuses()
    assert after[(NAMESPACE, "vision")] is before[(NAMESPACE, "vision")]
    assert after[(NAMESPACE, "speech")] is not before[(NAMESPACE, "speech")]
