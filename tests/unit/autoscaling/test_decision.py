"""How many pods a server should have."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.autoscaling.pods import SECONDS, Plant, counters, sample, spec
from triton_operator.autoscaling.decision import Decision, Memory, Observed, Pool, decide
from triton_operator.autoscaling.model_memory import MOST_BATCHES
from triton_operator.autoscaling.samples import Batches, Counters, ModelShape

CAPACITY = 10.0
"""Requests per second that one pod of the plant can serve."""


def settled(pods: int, load: float, **fields: object) -> Plant:
    """A pool that has run at a share of its capacity for longer than the window."""
    plant = Plant(spec(**fields))
    plant.start(pods)
    plant.run(load * pods * CAPACITY, 400)
    return plant


@pytest.mark.parametrize("pods", [1, 4, 20])
@pytest.mark.parametrize("load", [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
def test_every_load_settles_in_two_steps_without_turning_back(pods: int, load: float) -> None:
    plant = Plant(spec(scaleDown={"maxPercent": 100}))
    plant.start(pods)

    plant.run(load * pods * CAPACITY, 1200)

    directions = {after > before for before, after in plant.changes}
    assert len(plant.changes) <= 2
    assert len(directions) <= 1
    assert load * pods / len(plant.pods) < 0.8  # 500 ms at 100 ms of service, with random arrivals


def test_three_times_the_load_is_answered_within_ten_seconds() -> None:
    plant = settled(2, 0.6)

    plant.run(3 * 12, 10)

    assert len(plant.pods) >= 4


def test_pods_that_are_starting_are_not_bought_twice() -> None:
    plant = settled(1, 0.6)

    plant.run(30, 20)
    bought = len(plant.pods)
    plant.run(30, 35)  # they take 60 s to start, and the queue grows meanwhile

    assert bought == len(plant.pods)


def test_what_will_wait_when_pods_are_ready_is_ordered_for_at_once() -> None:
    plant = settled(2, 0.6)

    plant.run(60, 15)  # 6 pods for the load, and 60 s of what the others cannot do piles up
    ordered = len(plant.pods)
    plant.run(60, 45 + 60)

    assert ordered > 6 / 0.75
    assert max(pod.pending for pod in plant.pods[2:]) == 0
    assert max(len(plant.pods), *(n for _, n in plant.changes)) <= 1.3 * ordered


def test_pods_that_drained_a_backlog_leave_before_the_window_is_over() -> None:
    plant = settled(2, 0.6)
    plant.run(60, 60)
    most = max(n for _, n in plant.changes)

    plant.run(60, 240)

    assert len(plant.pods) < most


def test_what_has_piled_up_is_drained() -> None:
    plant = settled(2, 0.6)
    plant.run(60, 120)
    assert max(pod.pending for pod in plant.pods) > 5

    plant.run(60, 500)  # a pod keeps its own queue: others can only take new requests off it

    assert max(pod.pending for pod in plant.pods) == 0


def test_a_single_stalled_pod_gets_company() -> None:
    plant = settled(1, 0.3)
    plant.pods[0].stuck = True

    decision = plant.run(1, 30)

    assert decision.desired == 2
    assert "none" in decision.reason
    assert "finished" in decision.reason


def test_pods_that_all_stall_are_not_multiplied() -> None:
    plant = settled(1, 0.3)
    for _ in range(100):
        for pod in plant.pods:
            pod.stuck = True
        plant.run(0.01, 5)

    assert len(plant.pods) == 2


def test_a_pod_that_never_finished_anything_gets_company() -> None:
    plant = Plant(spec())
    plant.pods[0].stuck = True

    plant.run(1, 90)

    assert len(plant.pods) == 2


def test_an_idle_pool_shrinks_after_the_window_and_not_before() -> None:
    plant = settled(8, 0.6, minReplicas=2, scaleDown={"maxPercent": 100})
    pods = len(plant.pods)

    plant.run(0, 300)
    assert len(plant.pods) == pods

    plant.run(0, 30)
    assert len(plant.pods) == 2


@pytest.mark.parametrize("surge", [60, 300, 900])
def test_an_idle_pool_forgets_a_surge_with_the_longest_window(surge: int) -> None:
    plant = settled(2, 0.6, scaleDown={"maxPercent": 100, "longestWindowSeconds": 1200})

    plant.run(60, surge)
    plant.run(0, 1200 + 120)

    assert len(plant.pods) == 1


def windows(seconds: int, longest: int) -> dict[str, object]:
    return {
        "stabilizationWindowSeconds": seconds,
        "longestWindowSeconds": longest,
        "maxPercent": 100,
    }


def test_a_shorter_window_of_the_spec_holds_at_once() -> None:
    plant = Plant(spec(scaleDown=windows(600, 600)))
    plant.start(8)
    plant.run(48, 700)
    pods = len(plant.pods)
    plant.run(0, 120)
    assert len(plant.pods) == pods

    plant.spec = spec(scaleDown=windows(60, 60))
    decision = plant.run(0, 2 * SECONDS)

    assert len(plant.pods) == 1
    rule = decision.needs[0].rule
    assert rule is not None
    assert rule.window == 60


def test_a_longer_window_of_the_spec_knows_the_load_before_it() -> None:
    plant = Plant(spec(scaleDown=windows(300, 300)))
    plant.start(8)
    plant.run(48, 400)
    plant.run(0, 200)
    pods = len(plant.pods)

    plant.spec = spec(scaleDown=windows(900, 900))
    plant.run(0, 600)
    assert len(plant.pods) == pods

    plant.run(0, 150)
    assert len(plant.pods) == 1


def test_a_pool_shrinks_step_by_step() -> None:
    plant = settled(8, 0.6)
    plant.run(0, 330)
    del plant.decisions[:-6]

    plant.run(0, 120)

    assert all(before - after <= -(-before // 4) for before, after in plant.changes)
    assert len(plant.pods) == 1


def test_steps_upwards_keep_to_the_limit_of_their_period() -> None:
    plant = settled(2, 0.6, scaleUp={"maxPods": 2, "periodSeconds": 30})

    plant.run(200, 25)
    assert len(plant.pods) == 4

    plant.run(200, 10)
    assert len(plant.pods) == 6


def test_a_window_upwards_waits_out_a_burst() -> None:
    plant = settled(2, 0.5, scaleUp={"stabilizationWindowSeconds": 60})
    before = len(plant.pods)

    plant.run(40, 20)
    plant.run(10, 60)
    assert len(plant.pods) == before

    plant.run(60, 90)
    assert len(plant.pods) > before


def test_after_a_restart_nothing_is_taken_away_for_one_window() -> None:
    plant = settled(8, 0.6)
    pods = len(plant.pods)
    plant.memory = Memory()

    decision = plant.run(0, 295)

    assert decision.desired == pods
    assert "watched" in decision.hold
    assert plant.run(0, 60).desired < pods


def test_after_a_restart_more_pods_are_asked_for_at_once() -> None:
    plant = settled(2, 0.6)
    plant.memory = Memory()

    plant.run(60, 15)

    assert len(plant.pods) > 4


def test_the_number_stays_when_fewer_than_half_of_the_pods_answer() -> None:
    plant = settled(8, 0.6)
    pods = len(plant.pods)
    plant.silent = pods // 2 + 1

    idle = plant.run(0, 900)
    busy = plant.run(500, 60)

    assert (idle.desired, busy.desired) == (pods, pods)
    assert "answered" in idle.hold


def test_the_bounds_hold_even_when_nothing_answers() -> None:
    plant = Plant(spec(minReplicas=3))
    plant.silent = 1

    assert plant.run(0, 5).desired == 3


def test_pods_that_do_not_answer_are_taken_to_be_as_busy_as_the_others() -> None:
    plant = settled(8, 0.6)
    plant.silent = 3

    assert plant.run(8 * 0.6 * CAPACITY, 900).desired >= 8 * 0.6 / 0.8


def test_during_a_rollout_pods_are_added_and_not_taken_away() -> None:
    plant = settled(4, 0.6)
    pods = len(plant.pods)
    plant.rolling_out = True

    assert plant.run(0, 900).desired == pods
    assert plant.run(100, 30).desired > pods


def test_what_finds_no_node_is_not_asked_for_again() -> None:
    plant = settled(2, 0.6)
    plant.unschedulable = 1
    pods = len(plant.pods)

    decision = plant.run(200, 60)

    assert decision.desired == pods
    assert "find no node" in decision.limit


def test_requests_that_have_just_ended_are_not_told_as_none_that_keep_pods_busy() -> None:
    plant = settled(2, 0.6)
    assert plant.run(12, 5).reason.startswith("m: 12.0 requests/s keep 1.2 pods busy")

    ended = plant.run(0, 5).reason

    assert ended.startswith("m: no requests now, those of the last seconds keep ")
    assert plant.run(0, 60).reason.startswith("m: 0.0 requests/s keep 0.0 pods busy")


@pytest.mark.parametrize(("most", "word"), [(None, "maxReplicas"), (3, "maxGPUs")])
def test_no_more_pods_than_allowed_and_the_status_says_why(most: int | None, word: str) -> None:
    plant = settled(2, 0.6, maxReplicas=5)
    plant.most = most

    decision = plant.run(200, 60)

    assert decision.desired == (most or 5)
    assert word in decision.limit
    assert decision.need > decision.desired


def test_a_limit_stands_above_what_is_held_and_does_not_contradict_itself() -> None:
    plant = settled(6, 0.6)
    pods = len(plant.pods)
    plant.rolling_out, plant.most = True, 3

    decision = plant.run(1, 5)

    assert decision.hold == "pods are being replaced"
    assert decision.desired < pods
    assert decision.limit.startswith(f"{pods} pods are needed, the GPU limit leaves room for 3 now")
    assert plant.run(1, 300).desired == 3


def test_a_floor_is_not_above_the_most_pods_that_there_may_be() -> None:
    plant = settled(2, 0.6, maxReplicas=5)
    plant.run(60, 300)
    plant.run(12, 400)
    model = plant.memory.models["m"]
    highest = len(model.rehearsal.habits) - 1
    rehearsal = replace(model.rehearsal, chosen=highest, level=0.9)
    plant.memory = replace(plant.memory, models={"m": replace(model, rehearsal=rehearsal)})

    decision = plant.run(60, 5)  # so much waits that the rule stays

    need = decision.needs[0]
    assert need.rule is not None
    assert need.rule.floor > 5
    assert need.steady == 5


def test_a_pool_beyond_its_maximum_comes_back_to_it() -> None:
    plant = Plant(spec(maxReplicas=4))
    plant.start(9)

    assert plant.run(1, 5).desired == 4


def test_the_reason_has_the_numbers_and_units() -> None:
    plant = settled(4, 0.7)

    surge = plant.run(60, 30)
    assert surge.reason.startswith("m: 60.0 requests/s keep 6.0 pods busy and 600 requests wait: ")

    decision = plant.run(60, 600)
    assert decision.reason.startswith("m: 60.0 requests/s keep ")
    assert " % load keep the wait of 95 % of the requests below 500 ms" in decision.reason


def test_the_reason_of_an_idle_pool_is_that_nobody_asks() -> None:
    plant = settled(2, 0.6, scaleDown={"maxPercent": 100})

    decision = plant.run(0, 3600)

    assert decision.desired == 1
    assert decision.reason == "m: no requests within 300 s"


def test_of_several_models_the_one_that_needs_most_counts() -> None:
    memory = Memory()
    for tick in range(100):
        done = 5.0 * tick
        page = {"quiet": counters(done, pending=0), "busy": counters(6 * done, pending=0)}
        shapes = {"quiet": ModelShape(), "busy": ModelShape()}
        seen = Observed(5.0 * tick, Pool(8, 1), [sample(page, at=5.0 * tick)], shapes)
        decision, memory = decide(spec(), seen, memory)

    assert [each.model for each in decision.needs] == ["busy", "quiet"]
    assert decision.need == decision.needs[0].pods
    assert decision.reason.startswith("busy:")


def test_a_model_that_is_gone_is_forgotten() -> None:
    memory = Memory()
    for tick in range(5):
        page = {"old" if tick < 3 else "new": counters(10.0 * tick)}
        shapes = {"old" if tick < 3 else "new": ModelShape()}
        seen = Observed(5.0 * tick, Pool(1, 1), [sample(page, at=5.0 * tick)], shapes)
        _, memory = decide(spec(), seen, memory)

    assert set(memory.models) == {"new"}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 500), st.integers(5, 120)), min_size=1, max_size=8),
    st.integers(1, 20),
)
def test_whatever_arrives_the_number_keeps_its_bounds(
    loads: list[tuple[float, int]], least: int
) -> None:
    plant = Plant(spec(minReplicas=least, maxReplicas=20))
    plant.start(least)

    for arrivals, seconds in loads:
        plant.run(arrivals, seconds)

    assert all(least <= each.desired <= 20 for each in plant.decisions)
    assert all(_explained(each) for each in plant.decisions)
    assert all(each.wanted >= each.need for each in plant.decisions)


def _explained(decision: Decision) -> bool:
    return bool(decision.reason) and (decision.desired >= decision.need or bool(decision.limit))


def test_an_ensemble_needs_no_pods_beside_those_of_its_members() -> None:
    """Both are busy for 100 ms a request, but the ensemble on the instances of its member."""
    memory, pool = Memory(), Pool(desired=2, ready=2)
    shapes = {"steps": ModelShape(instances=0), "step": ModelShape(instances=4)}
    for tick in range(1, 6):
        at = 5.0 * tick
        done = counters(success=20 * at)
        pod = sample({"steps": done, "step": done}, at=at)
        decision, memory = decide(spec(), Observed(at, pool, [pod], shapes), memory)

    assert [each.model for each in decision.needs] == ["step"]
    assert decision.needs[0].load == pytest.approx(2 * 20 * 0.1 / 4)  # one of two pods answered


def decide_beside_a_stream(rates: dict[str, float], pods: int, seconds: float) -> Decision:
    """Let models be asked so often per second; ``llm`` is decoupled, and done with each in 1 ms."""
    memory = Memory()
    shapes = {"llm": ModelShape(decoupled=True), "m": ModelShape()}
    for tick in range(round(seconds / SECONDS)):
        at = SECONDS * tick
        seen = [
            sample(
                {
                    model: counters(
                        rate / pods * at,
                        compute_us=(1e3 if model == "llm" else 1e5) * rate / pods * at,
                    )
                    for model, rate in rates.items()
                },
                f"pod-{index}",
                at,
            )
            for index in range(pods)
        ]
        decision, memory = decide(spec(), Observed(at, Pool(pods, pods), seen, shapes), memory)
    return decision


@pytest.mark.parametrize("rates", [{"llm": 8.0}, {"llm": 0.0}, {"llm": 8.0, "m": 5.0}])
def test_what_a_decoupled_model_needs_is_not_guessed(rates: dict[str, float]) -> None:
    decision = decide_beside_a_stream(rates, pods=4, seconds=900)

    assert decision.desired == 4
    assert decision.hold.startswith("the load of llm cannot be seen: it is decoupled")
    needs = {each.model: each for each in decision.needs}
    assert needs["llm"].signals.arrivals == pytest.approx(rates["llm"])
    assert needs["llm"].load is None
    assert not needs["llm"].pods
    if "m" not in rates:
        assert decision.reason.startswith(f"llm: {rates['llm']:.1f} requests/s; its load cannot")


def test_other_models_beside_a_decoupled_one_are_followed_upwards() -> None:
    decision = decide_beside_a_stream({"llm": 8.0, "m": 35.0}, pods=4, seconds=30)

    assert decision.desired > 4
    assert decision.reason.startswith("m: 35.0 requests/s keep 3.5 pods busy")


def test_a_model_whose_config_cannot_be_read_is_not_guessed_at() -> None:
    """20 requests/s keep 2 instances busy: half a pod of four, and two of one."""
    memory, pool, decisions = Memory(), Pool(2, 2), []
    for tick in range(120):
        at = SECONDS * tick
        read = {} if tick in (80, 81) else {"m": ModelShape(instances=4)}
        pods = [sample({"m": counters(10 * at)}, uid, at) for uid in ("a", "b")]
        decision, memory = decide(spec(minReplicas=2), Observed(at, pool, pods, read), memory)
        decisions.append(decision)

    before, during, after = decisions[79], decisions[80:82], decisions[82]
    assert {each.desired for each in decisions[61:]} == {2}
    assert {each.hold for each in during} == {
        "the load of m cannot be seen: its config could not be read yet"
    }
    assert after.needs[0].load == pytest.approx(before.needs[0].load)
    assert after.needs[0].rule == before.needs[0].rule
    assert after.hold == ""


def tell_while_pods_come(before: float, after: float, late: float) -> list[float]:
    """Return the arrivals told, of which 12 of 14 pods get a part for the last ``late`` seconds."""
    memory, told, done = Memory(), [], dict.fromkeys((f"pod-{n}" for n in range(14)), 0.0)
    for tick in range(12):
        at, alone = SECONDS * tick, SECONDS - late if tick == 8 else SECONDS if tick < 8 else 0.0
        rate = before if tick < 8 else after
        for index, uid in enumerate(done):
            shared = rate / 14 * (SECONDS - alone)
            done[uid] += shared + (rate / 2 * alone if index < 2 else 0.0)
        uids = list(done)[: 2 if tick < 8 else 14]
        pods = [sample({"m": counters(done[uid])}, uid, at) for uid in uids]
        seen = Observed(at, Pool(14, len(pods)), pods, {"m": ModelShape()})
        decision, memory = decide(spec(), seen, memory)
        told += [each.arrivals for each in decision.needs]
    return told


@pytest.mark.parametrize("late", [0.5, 2.5, 5.0])
def test_pods_that_come_are_no_notch_in_the_arrivals_that_are_told(late: float) -> None:
    told = tell_while_pods_come(60, 60, late)

    assert len(told) == 11
    assert told == pytest.approx([60.0] * 11)


@pytest.mark.parametrize("after", [0.0, 30.0, 1200.0])
def test_arrivals_that_change_while_pods_come_are_told_a_tick_later(after: float) -> None:
    told = tell_while_pods_come(60, after, 5.0)

    assert told[:7] == pytest.approx([60.0] * 7)
    assert min(60, after) <= told[7] <= max(60, after)
    assert told[8:] == pytest.approx([after] * 3)


def test_the_arrivals_that_are_told_are_also_those_of_a_silent_pod() -> None:
    memory = Memory()
    for tick in range(4):
        pod = sample({"m": counters(50.0 * tick)}, at=SECONDS * tick)
        seen = Observed(SECONDS * tick, Pool(2, 2), [pod], {"m": ModelShape()})
        decision, memory = decide(spec(), seen, memory)

    assert decision.needs[0].arrivals == pytest.approx(20.0)
    assert decision.reason.startswith("m: 20.0 requests/s")


def test_counters_that_an_unloaded_model_leaves_on_the_page_hold_nothing() -> None:
    """Triton 2.51 keeps those of failures."""
    memory, pods_left, left = Memory(), 2, Counters(failures={"BACKEND": 3.0, "REJECTED": 0.0})
    for tick in range(80):
        at = SECONDS * tick
        pods = [sample({"m": counters(at), "gone": left}, uid, at) for uid in ("a", "b")]
        seen = Observed(at, Pool(pods_left, 2), pods, {"m": ModelShape()})
        decision, memory = decide(spec(), seen, memory)
        pods_left = decision.desired

    assert [each.model for each in decision.needs] == ["m"]
    assert decision.hold == ""
    assert pods_left == 1


def test_ever_new_sizes_of_batches_do_not_fill_the_memory() -> None:
    """A pod may tell of any."""
    memory, pool = Memory(), Pool(desired=1, ready=1)
    executed = 0.0
    for tick in range(1, 6):
        sizes = range(1000 * tick, 1000 * tick + 500)
        executed += 500
        batches = (Batches(1, executed, executed * 1e8), *(Batches(n, 1, 1e8) for n in sizes))
        pod = sample({"m": counters(success=2 * executed)}, at=5.0 * tick, batches={"m": batches})
        shapes = {"m": ModelShape(max_batch=8)}
        _, memory = decide(spec(), Observed(5.0 * tick, pool, [pod], shapes), memory)
    kept = memory.models["m"].batches
    assert len(kept) == MOST_BATCHES
    assert max(kept, key=lambda each: each.executions).size == 1, "what is executed most stays"


def test_a_time_without_any_share_of_the_gpus_leaves_nothing_behind() -> None:
    plant = Plant(spec())
    plant.start(1)
    plant.most = 0
    plant.run(0.5 * CAPACITY, 60)
    assert len(plant.pods) == 1, "minReplicas are kept"

    plant.most = None
    rule = plant.run(0.5 * CAPACITY, 60).needs[0].rule
    assert rule is not None
    assert rule.level < 0.8, "500 ms at 100 ms of service, with random arrivals"


def test_a_pod_that_answers_again_does_not_change_when_pods_were_ordered() -> None:
    """What was ordered just now has not worked for as long as that pod was silent."""
    memory = Memory()
    for tick in range(1, 10):
        at, back = SECONDS * tick, tick in {1, 2, 9}
        said = {"m": counters(success=10.0 * tick)}
        pods = [sample(said, uid, at) for uid in ("a", "b")[: 2 if back else 1]]
        pool = Pool(desired=2 if tick < 8 else 8, ready=2)
        _, memory = decide(spec(), Observed(at, pool, pods, {"m": ModelShape()}), memory)

    ordered = memory.models["m"].ordered
    assert list(ordered.times) == sorted(ordered.times)
    assert ordered.valid_since(SECONDS * 6).values[0] == 2
