"""What a decision looks like in the status."""

from datetime import UTC, datetime, timedelta

from tests.unit.autoscaling.pods import Plant, counters, sample, spec
from triton_operator.api.autoscaling import AutoscalingStatus
from triton_operator.autoscaling.decision import Memory, Observed, Pool, decide
from triton_operator.autoscaling.samples import ModelShape
from triton_operator.autoscaling.status import build_status

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_status_has_every_number_with_its_unit() -> None:
    plant = Plant(spec())
    decision = plant.run(36, 10)

    status = build_status(decision, None, plant.startup, START).manifest()

    assert status["desired"] == len(plant.pods)
    assert status["podsAnswering"] == "1/1"
    assert status["utilization"] == 1
    assert status["startupSeconds"] == 60
    assert status["windowSeconds"] == 300
    assert status["expectedQueueTimeMilliseconds"] > 1000
    (model,) = status["models"]
    assert model["name"] == "m"
    assert model["serviceTimeMilliseconds"] == 100
    assert model["arrivalsPerSecond"] == 36


def test_of_a_decoupled_model_only_the_arrivals_are_told() -> None:
    memory = Memory()
    for at in (0.0, 5.0):
        page = sample({"llm": counters(8 * at)}, at=at)
        seen = Observed(at, Pool(1, 1), [page], {"llm": ModelShape(decoupled=True)})
        decision, memory = decide(spec(), seen, memory)

    status = build_status(decision, None, None, START).manifest()

    assert status.keys().isdisjoint(
        {"pending", "utilization", "queueTimeMilliseconds", "expectedQueueTimeMilliseconds"}
    )
    (model,) = status["models"]
    assert model["arrivalsPerSecond"] == 8
    assert model.keys().isdisjoint({"offeredLoad", "serviceTimeMilliseconds", "desired"})


def test_a_start_up_time_that_nobody_measured_is_not_told() -> None:
    status = build_status(Plant(spec()).run(36, 10), None, None, START).manifest()

    assert "startupSeconds" not in status


def test_only_changes_are_kept_and_the_last_five_of_them() -> None:
    plant = Plant(spec())
    status: AutoscalingStatus | None = None
    changes = 0
    for step in range(12):
        decision = plant.run(10 * (step + 1), 5)
        changes += decision.desired != decision.previous
        status = build_status(decision, status, 60, START + timedelta(seconds=step))

    assert status is not None
    assert changes > 5
    assert len(status.decisions) == 5
    assert [each.time for each in status.decisions] == sorted(
        (each.time for each in status.decisions), reverse=True
    )
    assert all("requests/s" in each.reason for each in status.decisions)


def test_a_steady_load_leaves_the_status_as_it_is() -> None:
    plant = Plant(spec())
    plant.start(4)
    plant.run(20, 600)
    before = build_status(plant.decisions[-1], None, 60, START)

    after = build_status(plant.run(20, 5), before, 60, START + timedelta(hours=1))

    assert after == before


def test_a_silent_pool_says_so_and_keeps_its_decisions() -> None:
    plant = Plant(spec())
    plant.start(4)
    plant.silent = 3
    earlier = build_status(Plant(spec()).run(50, 15), None, 60, START)

    status = build_status(plant.run(20, 5), earlier, 60, START)

    assert status.pods_answering == "1/4"
    assert "answered" in status.hold
    assert (
        status.manifest()
        .keys()
        .isdisjoint(
            {"pending", "utilization", "queueTimeMilliseconds", "expectedQueueTimeMilliseconds"}
        )
    ), "pods that hang are not idle"
    assert status.decisions == earlier.decisions
