"""What to load and unload on which pod: one careful step at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plan.values import (
    NOW,
    ensemble,
    hash_of,
    later,
    model,
    plain,
    plan,
    pod,
    served,
    server,
    step,
)
from triton_operator.api.model import TritonModelStatus
from triton_operator.observed import Pod, Served, ServedModel
from triton_operator.plan.acceptance import judge_models
from triton_operator.plan.loads import Attempt, LoadStep, Slot, plan_loads, serves
from triton_operator.plan.models import ModelPlan, linked, plan_models

PLAN = plan(model())
NEW = hash_of(model())
A, B, C = pod("a"), pod("b"), pod("c")
VECTOR = {"x": ("FP32", [1])}


def loads(
    pods: Mapping[Pod, Served],
    *plans: ModelPlan,
    unsynced: tuple[str, ...] = (),
    waiting: tuple[str, ...] = (),
    tried: tuple[Attempt, ...] = (),
    busy: tuple[Slot, ...] = (),
    stuck: tuple[Slot, ...] = (),
) -> LoadStep:
    return plan_loads(
        plans or (PLAN,),
        pods,
        unsynced=unsynced,
        waiting=waiting,
        tried=tried,
        busy=busy,
        stuck=stuck,
    )


def told(found: LoadStep) -> list[tuple[str, str, bool]]:
    return [(load.pod.name, load.model, load.first) for load in found.loads]


def test_a_new_generation_is_tried_on_one_pod_first() -> None:
    assert told(loads({A: {}, B: {}, C: {}})) == [("a", "resnet", True)]


def test_the_first_pod_is_one_that_takes_traffic() -> None:
    not_ready = pod("a", ready=False)

    assert told(loads({not_ready: {}, B: {}, C: {}})) == [("b", "resnet", True)]


def test_the_first_pod_is_not_one_that_fails_to_serve_other_models() -> None:
    bert = plan(model("bert"))
    serving = {"bert": served(bert.link)}
    refused = loads({A: {}}, bert).loads[0].attempt

    found = loads({A: {}, B: serving, C: serving}, PLAN, bert, tried=(refused,))
    assert told(found) == [("b", "resnet", True)]
    unready = pod("b", ready=False)
    found = loads({A: {}, unready: serving}, PLAN, bert, tried=(refused,))
    assert told(found) == [("a", "resnet", True)]


def test_the_first_pod_keeps_the_say_though_another_one_lacks_less_by_now() -> None:
    first = loads({A: {}, B: {}}).loads[0]
    bert = plan(model("bert"))
    pods = {A: {}, B: {"bert": served(bert.link)}}

    assert told(loads(pods, PLAN, bert, busy=(first.slot,))) == [("a", "bert", False)]
    assert told(loads(pods, PLAN, bert, tried=(first.attempt,))) == [("a", "bert", False)]


def test_the_first_pod_is_none_where_loads_of_the_model_never_end() -> None:
    slot = loads({A: {}, B: {}}).loads[0].slot

    assert told(loads({A: {}, B: {}}, busy=(slot,), stuck=(slot,))) == [("b", "resnet", True)]


def test_the_first_pod_is_the_newest_of_those_that_are_alike() -> None:
    old, new = pod("a", created_at=NOW), pod("b", created_at=later(60))

    assert told(loads({old: {}, new: {}})) == [("b", "resnet", True)]


def test_the_others_follow_when_one_pod_has_proved_it() -> None:
    found = loads({A: {"resnet": served("old")}, B: {"resnet": served(NEW)}, C: {}})

    assert told(found) == [("a", "resnet", False), ("c", "resnet", False)]


def test_nothing_is_loaded_where_it_is_served() -> None:
    assert not loads({A: {"resnet": served(NEW)}})
    assert not loads({})


def test_a_generation_that_a_pod_refused_is_not_tried_on_another() -> None:
    first = loads({A: {}, B: {}}).loads[0]

    assert not loads({A: {}, B: {}}, tried=(first.attempt,))


def test_a_pod_that_started_again_may_be_tried_again() -> None:
    first = loads({A: {}}).loads[0]

    assert loads({pod("a", started_at="t1"): {}}, tried=(first.attempt,)).loads


def test_a_model_that_is_not_on_the_claim_yet_is_not_loaded() -> None:
    assert not loads({A: {}}, unsynced=("resnet",))


def test_what_waits_for_a_source_is_left_alone_and_the_others_are_loaded() -> None:
    other = plan(model("bert"))

    assert told(loads({A: {}}, PLAN, other, waiting=("resnet",))) == [("a", "bert", True)]


def test_a_model_is_unloaded_only_when_its_link_is_gone() -> None:
    pods = {A: {"gone": served("x"), "resnet": served(NEW)}}

    assert not loads(pods, waiting=("gone",))
    assert [unload.model for unload in loads(pods, waiting=("other",)).unloads] == ["gone"]


def test_wrong_versions_count_as_not_served() -> None:
    both = plan(
        model(
            config={"versionPolicy": {"all": {}}},
            versions=[{"version": v, "files": {"model.py": ""}} for v in (1, 2)],
        )
    )
    link = both.link

    assert not serves({"resnet": served(link, 1)}, both)
    assert serves({"resnet": served(link, 1, 2)}, both)
    assert told(loads({A: {"resnet": served(link, 1)}}, both)) == [("a", "resnet", True)]


def test_a_model_without_a_ready_version_is_not_served() -> None:
    assert not serves({"resnet": ServedModel((), NEW)}, PLAN)
    assert not serves({}, PLAN)


def test_what_has_no_link_is_unloaded_wherever_it_is_loaded() -> None:
    found = loads({A: {"resnet": served(NEW), "gone": served("x")}, B: {"gone": served(None)}})

    assert [(u.pod.name, u.model) for u in found.unloads] == [("a", "gone")]


def test_what_an_ensemble_calls_stays_until_the_pod_serves_its_new_generation() -> None:
    plans = family()
    links = {p.folder: p.link for p in plans}
    below = {name: served(links[name]) for name in ("left", "right")}
    before = {"gone": served("x"), "other": served("x")}

    def unloads(whole: ServedModel, *plans: ModelPlan) -> list[tuple[str, str]]:
        pods = {A: {**before, **below, "whole": whole}, B: {"gone": served("x")}}
        return [(u.pod.name, u.model) for u in loads(pods, *plans).unloads]

    old = replace(served("old"), steps=frozenset({("nested", -1), ("gone", -1)}))
    assert unloads(old, *plans) == [("a", "other"), ("b", "gone")]
    new = replace(served(links["whole"]), steps=frozenset({("left", -1), ("right", -1)}))
    assert unloads(new, *plans) == [("a", "gone"), ("a", "other"), ("b", "gone")]
    # The ensemble was deleted, too.
    others = [p for p in plans if p.folder != "whole"]
    assert ("a", "gone") in unloads(old, *others)


def test_what_an_ensemble_calls_through_another_one_stays_with_it() -> None:
    calls = {"whole": "nested", "nested": "gone"}
    pods = {A: {n: replace(served("x"), steps=frozenset({(m, -1)})) for n, m in calls.items()}}

    assert not loads({A: {**pods[A], "gone": served("x")}}, *family()).unloads


def test_an_ensemble_that_serves_is_not_loaded_while_a_member_is_not_served() -> None:
    plans = family()
    right = {"right": served(linked(plans)["right"].link)}
    (first,) = loads({A: right}, *plans).loads

    old = {**right, "whole": served("old")}
    assert told(loads({A: right}, *plans, tried=(first.attempt,))) == [("a", "whole", True)]
    assert not loads({A: old}, *plans, tried=(first.attempt,))


def test_members_are_loaded_before_their_ensemble() -> None:
    plans = family()

    assert told(loads({A: {}}, *plans)) == [("a", "left", True), ("a", "right", True)]
    partly = {p.folder: served(p.link) for p in plans if p.folder != "whole"}
    assert told(loads({A: partly}, *plans)) == [("a", "whole", True)]


def test_an_ensemble_is_not_loaded_before_the_member_that_waits() -> None:
    plans = family()
    pods = {A: {"right": served(linked(plans)["right"].link)}}

    assert told(loads(pods, *plans)) == [("a", "left", True)]
    assert not loads(pods, *plans, waiting=("left",))


def test_a_member_that_is_refused_does_not_keep_the_others_back() -> None:
    plans = family()
    first = loads({A: {}}, *plans)
    tried = (first.loads[0].attempt,)

    assert told(loads({A: {}}, *plans, tried=tried)) == [("a", "right", True)]


def versioned(asked: int, version: int) -> tuple[ModelPlan, ...]:
    """An ensemble whose step asks for a version of a member, and the member that serves one."""
    one = {"modelVersion": asked}
    whole = ensemble(VECTOR, {"y": ("FP32", [1])}, step("left", {"x": "x"}, {"y": "y"}) | one)
    versions = [{"version": version, "files": {"model.py": "pass"}}]
    left = model("left", config=plain(VECTOR, {"y": ("FP32", [1])}), versions=versions)
    return plan_models(judge_models(server(), [model("whole", config=whole), left]), "vision")


def live(plans: tuple[ModelPlan, ...], version: int, *pins: tuple[str, int]) -> Served:
    """What a pod serves of an ensemble, which asks for versions, and its member."""
    links = linked(plans)
    whole = replace(served(links["whole"].link), steps=frozenset(pins))
    return {"left": served(links["left"].link, version), "whole": whole}


def test_a_version_that_goes_and_the_ensemble_that_asks_for_it_are_loaded_together() -> None:
    before = live(versioned(1, 1), 1, ("left", 1))

    for asked in (2, -1):
        (load,) = loads({A: before}, *versioned(asked, 2)).loads
        assert load.model == "whole"
        assert [each.model for each in load.along] == ["left"]


def test_a_version_that_no_ensemble_asks_for_goes_as_ever() -> None:
    before = live(versioned(-1, 1), 1)

    assert told(loads({A: before}, *versioned(-1, 2))) == [("a", "left", True)]


def family() -> tuple[ModelPlan, ...]:
    """Two members, the ensemble above them, and one that keeps an older generation."""
    whole = ensemble(
        VECTOR,
        {"y": ("FP32", [1])},
        step("left", {"x": "x"}, {"y": "m"}),
        step("right", {"x": "m"}, {"y": "y"}),
    )
    member = plain(VECTOR, {"y": ("FP32", [1])})
    records = [
        model("whole", config=whole),
        model("left", config=member),
        model("right", config=member),
    ]
    return plan_models(judge_models(server(), records), "vision")


# ---- from any state ---------------------------------------------------------------------------

KEPT = plan(
    model(
        "kept",
        config={"name": "x"},
        status=TritonModelStatus(server="vision", model_name="kept", config_hash="older"),
    )
)
PLANS = (*family(), KEPT)
LINKS = linked(PLANS)
PODS = tuple(pod(name, ready=ready) for name, ready in (("a", False), ("b", True), ("c", True)))
HASHES = st.sampled_from(["link", "link", "stale", "none"])
STATES = st.fixed_dictionaries(
    {p: st.fixed_dictionaries(dict.fromkeys((*LINKS, "gone"), HASHES)) for p in PODS}
)


@dataclass
class SimpleTriton:
    """Loads what it is told, unless it refuses; unloads take ensembles along."""

    pods: dict[Pod, dict[str, ServedModel]]
    refuses: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, states: Mapping[Pod, Mapping[str, str]], refuses: set[str]) -> "SimpleTriton":
        def state(name: str, kind: str) -> ServedModel:
            if kind == "none" or (name in refuses and kind == "link"):
                return served(None)
            return served("stale" if kind == "stale" or name == "gone" else LINKS[name].link)

        pods = {p: {n: state(n, k) for n, k in models.items()} for p, models in states.items()}
        return cls(pods, refuses)

    def run(self, found: LoadStep) -> tuple[Attempt, ...]:
        for unload in found.unloads:
            self.pods[unload.pod][unload.model] = served(None)
        for load in found.loads:
            if load.model not in self.refuses:
                self.pods[load.pod][load.model] = served(LINKS[load.model].link)
        return tuple(load.attempt for load in found.loads if load.model in self.refuses)


@settings(max_examples=150, deadline=None)
@given(states=STATES, refuses=st.sets(st.sampled_from(sorted(LINKS)), max_size=2))
def test_from_any_state_every_pod_ends_up_serving_every_link(
    states: Mapping[Pod, Mapping[str, str]], refuses: set[str]
) -> None:
    triton = SimpleTriton.of(states, refuses)
    tried: tuple[Attempt, ...] = ()
    for _ in range(2 * len(LINKS) + 1):
        found = plan_loads(PLANS, triton.pods, unsynced=(), tried=tried)
        if not found:
            break
        for name in {load.model for load in found.loads}:
            on = [load for load in found.loads if load.model == name]
            proven = any(serves(models, LINKS[name]) for models in triton.pods.values())
            assert len(on) == 1 or proven, f"{name} goes to {len(on)} pods unproven"
            assert all(load.first is not proven for load in on)
        tried += triton.run(found)
    else:
        raise AssertionError("it takes more steps than a first and a second one for each model")

    # An ensemble that serves is not touched, nor tried elsewhere, while a member is refused.
    stays = {"left", "right"} & refuses and [p for p in states if states[p]["whole"] == "stale"]
    due = {*LINKS} - refuses - ({"whole"} if stays else set())
    for models in triton.pods.values():
        assert not models["gone"].ready_versions
        assert all(serves(models, LINKS[name]) for name in due)
    assert all(triton.pods[each]["whole"].config_hash == "stale" for each in stays or ())
    assert len({(a[2], a[0]) for a in tried}) == len({a[2] for a in tried}), "tried on a second pod"
