"""What happens to models and servers, from a user's change to a world at rest."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.unit.reconcile.world import NAMESPACE, Operator, World, killed_at_each_moment
from triton_operator import names
from triton_operator.errors import (
    ClusterError,
    InvalidSpecError,
    NameNotFreeYetError,
    NamespaceTerminatingError,
)
from triton_operator.reconcile import loader

SHARED = {"serverRef": {"name": "vision"}}
ENSEMBLE = {
    "platform": "ensemble",
    "input": [{"name": "X", "dataType": "TYPE_FP32", "dims": [1]}],
    "output": [{"name": "Y", "dataType": "TYPE_FP32", "dims": [1]}],
    "ensembleScheduling": {
        "step": [
            {
                "modelName": "member",
                "modelVersion": -1,
                "inputMap": {"x": "X"},
                "outputMap": {"y": "Y"},
            }
        ]
    },
}


def hash_of(world: World, model: str) -> str:
    return world.model_status(model).config_hash


def assert_all_serve(world: World, server: str, *models: str) -> None:
    """Every process serves exactly these, each in the generation that its status names."""
    expected = {model: hash_of(world, model) for model in models}
    assert world.serving(server) == [expected] * len(world.serving(server))
    assert world.serving(server)
    for model in models:
        assert world.condition(model) == "True Serving"
        assert world.model_status(model).transition == "UpToDate"


# ---- a model and its own server ---------------------------------------------------------------


async def test_a_new_model_becomes_ready(world: World, operator: Operator) -> None:
    world.model("resnet")

    await operator.settle()

    assert_all_serve(world, "resnet", "resnet")
    assert world.model_status("resnet").loaded == "1/1"
    assert world.condition("resnet", of=names.KIND_SERVER) == "True AllPodsReady"
    assert world.warnings("resnet") == []


async def test_a_new_model_costs_few_requests(world: World, operator: Operator) -> None:
    world.model("resnet")
    await operator.settle()

    assert len(world.writes) <= 12, world.writes


async def test_a_new_model_on_a_server_that_is_there_costs_fewer(
    world: World, operator: Operator
) -> None:
    world.server("vision")
    world.model("first", **SHARED)
    await operator.settle()
    before = len(world.writes)

    world.model("second", **SHARED)
    await operator.settle()

    assert_all_serve(world, "vision", "first", "second")
    assert len(world.writes) - before <= 8, world.writes[before:]


async def test_a_second_pass_over_an_unchanged_world_writes_nothing(
    world: World, operator: Operator
) -> None:
    world.model("resnet")
    world.model("broken", "raise")
    world.server("vision", replicas=2)
    world.model("shared", **SHARED)
    world.model("rejected", config={"name": "other"}, **SHARED)
    await operator.settle()
    before = len(world.writes)

    await operator.run_once()
    operator.restart()
    await operator.run_once()

    assert world.writes[before:] == []


async def test_a_model_that_names_a_server_by_mistake_is_served_by_the_old_one(
    world: World, operator: Operator
) -> None:
    world.server("vision")
    world.model("resnet", **SHARED)
    await operator.settle()
    served = world.serving("vision")

    world.model("resnet", serverRef={"name": "visoin"})
    await operator.settle()
    assert world.condition("resnet") == "False ServerNotFound"
    assert world.serving("vision") == served != [{}]

    world.server("visoin")
    await operator.settle()
    assert world.condition("resnet") == "True Serving"
    assert_all_serve(world, "visoin", "resnet")
    assert world.serving("vision") == [{}]


async def test_a_pod_that_goes_during_a_load_says_nothing_about_the_model(
    world: World, operator: Operator
) -> None:
    world.server("vision")
    world.model("resnet", **SHARED)
    await operator.settle()
    world.triton.died = lambda uid: world.objects[_pod(world, uid)]["metadata"].setdefault(
        "deletionTimestamp", world.now.isoformat()
    )

    world.model("resnet", "die once", **SHARED)
    await operator.run_once()

    assert world.warnings("resnet") == []


def _pod(world: World, uid: str) -> tuple[str, str, str]:
    return next(ref for ref, body in world.objects.items() if body["metadata"]["uid"] == uid)


async def test_a_deleted_model_takes_its_own_server_with_it(
    world: World, operator: Operator
) -> None:
    world.model("resnet")
    await operator.settle()

    world.remove(names.KIND_MODEL, "resnet")
    await operator.settle()

    assert world.objects == {}


async def test_a_server_that_is_somebody_elses_is_not_taken_over(
    world: World, operator: Operator
) -> None:
    world.server("resnet", replicas=2)
    world.model("resnet")

    await operator.settle()

    assert world.condition("resnet") == "False ServerNameTaken"
    assert "set spec.serverRef.name to 'resnet'" in world.message("resnet")
    assert world.get(names.KIND_SERVER, "resnet")["spec"] == {"replicas": 2}


async def test_a_model_whose_service_is_somebody_elses_is_not_ready_until_it_has_its_own(
    world: World, operator: Operator
) -> None:
    world.put("Service", "resnet", {})
    world.model("resnet")
    await operator.settle()

    assert world.condition("resnet") == "False NameTaken"
    assert "Service team/resnet exists" in world.message("resnet")
    assert "urls" not in world.get(names.KIND_MODEL, "resnet")["status"]
    assert await operator.reconciler.reconcile((NAMESPACE, "resnet")) <= 10

    world.remove("Service", "resnet")
    await operator.settle()

    assert world.condition("resnet") == "True Serving"
    assert "resnet.team.svc" in world.get(names.KIND_MODEL, "resnet")["status"]["urls"]["http"]


async def test_a_changed_server_spec_reaches_the_pods(world: World, operator: Operator) -> None:
    world.model("resnet")
    await operator.settle()
    (before,) = world.triton.processes

    world.model("resnet", server={"env": [{"name": "A", "value": "1"}]})
    await operator.settle()

    assert_all_serve(world, "resnet", "resnet")
    assert before not in world.triton.processes


# ---- new generations --------------------------------------------------------------------------


async def test_an_update_reaches_every_pod(world: World, operator: Operator) -> None:
    world.server("vision", replicas=3)
    world.model("resnet", **SHARED)
    await operator.settle()
    before = hash_of(world, "resnet")

    world.model("resnet", "pass  # better", **SHARED)
    await operator.settle()

    assert_all_serve(world, "vision", "resnet")
    assert hash_of(world, "resnet") != before
    assert [p.loads for p in world.processes("vision")] == [["resnet", "resnet"]] * 3


@pytest.mark.parametrize("failure", ["raise", "silent"])
async def test_a_broken_update_is_rolled_back_and_told_with_tritons_error(
    world: World, operator: Operator, failure: str
) -> None:
    world.server("vision", replicas=3)
    world.model("resnet", **SHARED)
    await operator.settle()
    good = hash_of(world, "resnet")

    world.model("resnet", failure, **SHARED)
    await operator.settle()

    assert world.serving("vision") == [{"resnet": good}] * 3
    assert sum(len(p.loads) - 1 for p in world.processes("vision")) == 1
    assert world.claims["vision-repository"].links == {("vision", "resnet"): ("resnet", good)}
    status = world.model_status("resnet")
    assert status.transition == "BlockedByFailedLoad"
    assert status.config_hash == good
    assert status.last_failure is not None
    assert "RuntimeError: boom" in status.last_failure.message
    assert world.condition("resnet") == "False BlockedByFailedLoad"
    assert "RuntimeError: boom" in world.message("resnet")
    assert f"generation {good} keeps serving" in world.message("resnet")
    assert world.warnings("resnet") == ["BlockedByFailedLoad"]


async def test_a_pod_that_starts_after_a_rollback_finds_what_works(
    world: World, operator: Operator
) -> None:
    world.server("vision")
    world.model("resnet", **SHARED)
    await operator.settle()
    good = hash_of(world, "resnet")
    world.model("resnet", "raise", **SHARED)
    await operator.settle()

    world.server("vision", replicas=2)
    operator.restart()
    await operator.settle()

    assert world.serving("vision") == [{"resnet": good}] * 2
    assert world.model_status("resnet").transition == "BlockedByFailedLoad"
    assert world.warnings("resnet") == ["BlockedByFailedLoad"]


@pytest.mark.parametrize("fix", ["pass  # fixed", "pass"], ids=["a fix", "the old spec"])
async def test_a_mended_spec_recovers(world: World, operator: Operator, fix: str) -> None:
    world.server("vision", replicas=2)
    world.model("resnet", **SHARED)
    await operator.settle()
    world.model("resnet", "raise", **SHARED)
    await operator.settle()

    world.model("resnet", fix, **SHARED)
    await operator.settle()

    assert_all_serve(world, "vision", "resnet")
    assert world.model_status("resnet").last_failure is not None


async def test_a_broken_first_version_is_told_and_its_mend_is_served(
    world: World, operator: Operator
) -> None:
    world.model("resnet", "raise")
    await operator.settle()

    status = world.model_status("resnet")
    assert status.transition == "BlockedByFailedLoad"
    assert status.config_hash == ""
    assert "RuntimeError: boom" in world.message("resnet", "Loaded")
    assert len(world.warnings("resnet")) == 1

    world.model("resnet", "pass")
    await operator.settle()
    assert_all_serve(world, "resnet", "resnet")


async def test_a_model_that_kills_its_server_is_taken_off_and_the_others_serve_on(
    world: World, operator: Operator
) -> None:
    world.server("vision", replicas=2)
    world.model("good", **SHARED)
    await operator.settle()

    world.model("deadly", "die", **SHARED)
    await operator.settle()

    assert world.serving("vision") == [{"good": hash_of(world, "good")}] * 2
    assert world.condition("good") == "True Serving"
    assert ("vision", "deadly") not in world.claims["vision-repository"].links
    assert "stopped answering while it loaded" in world.message("deadly")
    assert len(world.warnings("deadly")) == 1


async def test_an_update_that_kills_its_server_goes_back(world: World, operator: Operator) -> None:
    world.server("vision", replicas=2)
    world.model("resnet", **SHARED)
    await operator.settle()
    good = hash_of(world, "resnet")

    world.model("resnet", "die", **SHARED)
    await operator.settle()

    assert world.serving("vision") == [{"resnet": good}] * 2
    assert world.model_status("resnet").transition == "BlockedByFailedLoad"


# ---- loads that take long ----------------------------------------------------------------------


@pytest.fixture
async def slow(world: World, operator: Operator, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two pods that serve two models, of which one loads an update that does not end."""
    monkeypatch.setattr(loader, "_PATIENCE_SECONDS", 0.0)
    world.server("vision", replicas=2)
    world.model("big", **SHARED)
    world.model("small", **SHARED)
    await operator.settle()
    world.model("big", "hang", **SHARED)
    await operator.settle()
    return world


async def test_a_load_that_takes_long_is_told_meanwhile(slow: World, operator: Operator) -> None:
    assert slow.condition("big") == "False Loading"
    assert slow.model_status("big").transition == "InProgress"

    slow.triton.release.set()
    await operator.settle()

    assert_all_serve(slow, "vision", "big", "small")


async def test_a_load_that_goes_on_for_long_is_told_once(slow: World, operator: Operator) -> None:
    assert "since" not in slow.message("big")
    # No news will come: the pass that tells it comes by itself.
    pause = await operator.reconciler.reconcile((NAMESPACE, "vision"))
    assert 0 < pause < 30
    slow.now += timedelta(seconds=pause)
    await operator.run_once()
    told = slow.message("big")
    assert "0 of 2 ready pods serve it; pod vision-" in told
    assert "a load is given up after 1800 s" in told
    assert slow.message("small") == "2 of 2 ready pods serve it"

    writes = list(slow.writes)
    await operator.run(seconds=60)
    assert slow.message("big") == told
    assert slow.writes == writes
    assert slow.warnings("big") == []

    slow.triton.release.set()
    await operator.settle()
    assert_all_serve(slow, "vision", "big", "small")


async def test_a_load_that_takes_long_keeps_nobody_waiting(slow: World, operator: Operator) -> None:
    before = hash_of(slow, "small")
    slow.model("small", "pass  # better", **SHARED)
    slow.model("new", **SHARED)
    await operator.settle()

    assert slow.condition("small") == "True Serving"
    assert slow.condition("new") == "True Serving"
    assert hash_of(slow, "small") != before
    assert slow.condition("big") == "False Loading"


@pytest.mark.parametrize("restarted", [False, True])
async def test_the_link_of_what_is_being_loaded_does_not_move(
    slow: World, operator: Operator, restarted: bool
) -> None:
    if restarted:
        # Its first pass asks for the load again: Triton answers that when the first one has ended.
        operator.restart()
        await operator.run_once()
    claim = slow.claims["vision-repository"]
    linked = claim.links[("vision", "big")]
    slow.model("big", "pass  # the next one", **SHARED)
    await operator.settle()
    assert claim.links[("vision", "big")] == linked

    slow.triton.release.set()
    await operator.settle()

    assert claim.links[("vision", "big")] != linked
    assert_all_serve(slow, "vision", "big", "small")


async def test_a_model_made_anew_while_its_namesake_loads_has_its_own_link(
    slow: World, operator: Operator
) -> None:
    """What loads belongs to an object that is gone, and so do its files."""
    links = slow.claims["vision-repository"].links
    hanging = links[("vision", "big")]
    slow.remove(names.KIND_MODEL, "big")
    await operator.settle()
    slow.model("big", "pass  # mended", **SHARED)
    await operator.settle()
    assert slow.condition("big") == "False Loading"
    assert links[("vision", "big")] != hanging

    slow.triton.release.set()
    await operator.settle()

    assert_all_serve(slow, "vision", "big", "small")


async def test_a_load_that_ends_wakes_its_server(slow: World, operator: Operator) -> None:
    operator.woken.clear()
    slow.triton.release.set()
    await asyncio.sleep(0.01)

    assert operator.woken == {(NAMESPACE, "vision")}


async def test_a_server_that_goes_waits_for_no_load(slow: World, operator: Operator) -> None:
    slow.remove(names.KIND_SERVER, "vision")
    await operator.reconciler.reconcile((NAMESPACE, "vision"))
    await asyncio.sleep(0)

    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("big on")]


async def test_nothing_loads_on_when_the_operator_stops(slow: World, operator: Operator) -> None:
    await operator.reconciler.stop()

    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("big on")]


# ---- several models on one server -------------------------------------------------------------


async def test_an_ensemble_is_served_after_its_members(world: World, operator: Operator) -> None:
    world.server("vision", replicas=2)
    world.model("whole", "", config=ENSEMBLE, **SHARED)
    await operator.settle()
    assert world.condition("whole") == "False InvalidEnsemble"
    assert world.warnings("whole") == ["InvalidEnsemble"]

    world.model("member", **SHARED)
    await operator.settle()

    assert_all_serve(world, "vision", "member", "whole")


async def test_the_update_of_a_member_leaves_the_ensemble_serving(
    world: World, operator: Operator
) -> None:
    world.server("vision", replicas=2)
    world.model("whole", "", config=ENSEMBLE, **SHARED)
    world.model("member", **SHARED)
    await operator.settle()

    world.model("member", "pass  # better", **SHARED)
    await operator.settle()
    assert_all_serve(world, "vision", "member", "whole")

    world.model("member", "raise", **SHARED)
    await operator.settle()
    assert world.condition("whole") == "True Serving"
    assert world.condition("member") == "False BlockedByFailedLoad"


def typed(dims: list[int]) -> dict[str, object]:
    """The config of a member that says what it takes and gives."""
    return {
        "backend": "python",
        "input": [{"name": "x", "dataType": "TYPE_FP32", "dims": dims}],
        "output": [{"name": "y", "dataType": "TYPE_FP32", "dims": dims}],
    }


def calling(dims: list[int]) -> dict[str, object]:
    """The config of an ensemble that calls it."""
    ends = {
        "input": [{"name": "X", "dataType": "TYPE_FP32", "dims": dims}],
        "output": [{"name": "Y", "dataType": "TYPE_FP32", "dims": dims}],
    }
    return {**ENSEMBLE, **ends}


@pytest.fixture
async def pair(world: World, operator: Operator) -> World:
    """An ensemble and its member, which serve on two pods."""
    world.server("vision", replicas=2)
    world.model("whole", "", config=calling([1]), **SHARED)
    world.model("member", config=typed([1]), **SHARED)
    await operator.settle()
    assert_all_serve(world, "vision", "member", "whole")
    return world


async def test_a_member_that_would_break_its_ensemble_is_held_back_until_that_changes_too(
    pair: World, operator: Operator
) -> None:
    served = pair.serving("vision")
    pair.model("member", config=typed([2]), **SHARED)
    await operator.settle()

    assert pair.serving("vision") == served
    assert pair.condition("whole") == "True Serving"
    assert pair.condition("member", "Accepted") == "False BreaksEnsemble"
    message = pair.message("member", "Accepted")
    assert "'whole'" in message
    assert "TYPE_FP32[1]" in message
    assert "TYPE_FP32[2]" in message
    assert "what was served before keeps serving" in message

    pair.model("whole", "", config=calling([2]), **SHARED)
    await operator.settle()

    assert_all_serve(pair, "vision", "member", "whole")
    assert pair.serving("vision") != served
    # The ensemble brought its member along: no moment without either.
    assert not [line for p in pair.processes("vision") for line in p.log if line[0] == "E"]


async def test_an_ensemble_that_changes_first_waits_for_its_member(
    pair: World, operator: Operator
) -> None:
    served = pair.serving("vision")
    pair.model("whole", "", config=calling([2]), **SHARED)
    await operator.settle()
    assert pair.condition("whole", "Accepted") == "False InvalidEnsemble"
    assert pair.serving("vision") == served

    pair.model("member", config=typed([2]), **SHARED)
    await operator.settle()

    assert_all_serve(pair, "vision", "member", "whole")


async def test_a_member_that_turns_out_to_break_its_ensemble_is_taken_back(
    pair: World, operator: Operator
) -> None:
    served = pair.serving("vision")
    pair.model("member", "unfit", config=typed([1]), **SHARED)
    await operator.settle()

    assert pair.serving("vision") == served
    assert pair.condition("whole") == "True Serving"
    assert pair.condition("member") == "False BlockedByFailedLoad"
    assert "dropped the ensemble 'whole'" in pair.message("member")
    assert "inconsistent shape" in pair.message("member")
    assert pair.warnings("whole") == []
    assert sum("unfit" in str(p.loaded) for p in pair.processes("vision")) == 0


@pytest.mark.parametrize("restarting", [False, True])
async def test_a_member_that_was_taken_back_is_tried_again_with_another_ensemble(
    pair: World, operator: Operator, restarting: bool
) -> None:
    pair.model("member", "unfit", config=typed([1]), **SHARED)
    await operator.settle(restarting=restarting)
    assert pair.model_status("member").last_failure.reason == "BreaksEnsemble"

    pair.model("whole", "", config=calling([1]), files={"note": "takes anything"}, **SHARED)
    await operator.settle(restarting=restarting)

    assert_all_serve(pair, "vision", "member", "whole")


async def test_members_that_change_together_are_loaded_with_the_ensemble_that_stays(
    world: World, operator: Operator
) -> None:
    def between(dims: list[int]) -> None:
        first, second = typed([1]), typed([1])
        first["output"][0]["dims"] = second["input"][0]["dims"] = dims
        world.model("first", config=first, **SHARED)
        world.model("second", config=second, **SHARED)

    steps = [
        {
            "modelName": name,
            "modelVersion": -1,
            "inputMap": {"x": given},
            "outputMap": {"y": made},
        }
        for name, given, made in (("first", "X", "between"), ("second", "between", "Y"))
    ]
    world.server("vision", replicas=2)
    world.model(
        "whole", "", config={**calling([1]), "ensembleScheduling": {"step": steps}}, **SHARED
    )
    between([1])
    await operator.settle()
    whole = hash_of(world, "whole")

    between([3])
    await operator.settle()

    assert_all_serve(world, "vision", "whole", "first", "second")
    assert hash_of(world, "whole") == whole
    assert not [line for p in world.processes("vision") for line in p.log if line[0] == "E"]


def pin(world: World, version: int) -> None:
    """Have the one step of the ensemble ask for a version."""
    (step,) = calling([1])["ensembleScheduling"]["step"]
    steps = {"step": [{**step, "modelVersion": version}]}
    world.model("whole", "", config={**calling([1]), "ensembleScheduling": steps}, **SHARED)


def offer(world: World, version: int) -> None:
    """Have the member serve one version only."""
    files = {"model.py": "pass"}
    world.model(
        "member", config=typed([1]), versions=[{"version": version, "files": files}], **SHARED
    )


async def test_an_ensemble_that_asks_for_a_version_nobody_serves_is_not_even_tried(
    pair: World, operator: Operator
) -> None:
    served = pair.serving("vision")
    loads = [list(process.loads) for process in pair.processes("vision")]
    pin(pair, 7)
    await operator.settle()

    assert pair.serving("vision") == served
    assert [process.loads for process in pair.processes("vision")] == loads
    assert pair.condition("whole", "Accepted") == "False InvalidEnsemble"
    message = pair.message("whole", "Accepted")
    assert "step 1 asks for modelVersion 7 of 'member', which serves 1" in message
    assert "what was served before keeps serving" in message


async def test_a_member_keeps_the_version_that_its_ensemble_asks_for(
    pair: World, operator: Operator
) -> None:
    pin(pair, 1)
    await operator.settle()
    assert_all_serve(pair, "vision", "member", "whole")
    served = pair.serving("vision")

    offer(pair, 2)
    await operator.settle()

    assert pair.serving("vision") == served
    assert pair.condition("member", "Accepted") == "False BreaksEnsemble"
    assert not [line for p in pair.processes("vision") for line in p.log if line[0] == "E"]


@pytest.mark.parametrize("after", [2, -1])
async def test_a_version_and_who_asks_for_it_change_together_and_the_ensemble_stays(
    pair: World, operator: Operator, after: int
) -> None:
    pin(pair, 1)
    await operator.settle()

    pin(pair, after)
    offer(pair, 2)
    await operator.settle()

    assert_all_serve(pair, "vision", "member", "whole")
    assert not [line for p in pair.processes("vision") for line in p.log if line[0] == "E"]


@pytest.mark.parametrize("restarting", [False, True])
async def test_a_refused_ensemble_is_tried_again_when_its_member_changes(
    pair: World, operator: Operator, restarting: bool
) -> None:
    pair.model("member", "raise", config=typed([2]), **SHARED)
    pair.model("whole", "", config=calling([2]), **SHARED)
    await operator.settle(restarting=restarting)
    assert pair.condition("member") == "False BlockedByFailedLoad"
    assert pair.condition("whole").startswith("False ")
    assert all(set(models) == {"member", "whole"} for models in pair.serving("vision"))

    pair.model("member", "pass", config=typed([2]), **SHARED)
    await operator.settle(restarting=restarting)

    assert_all_serve(pair, "vision", "member", "whole")


async def test_an_ensemble_whose_member_goes_says_so(world: World, operator: Operator) -> None:
    world.server("vision")
    world.model("whole", "", config=ENSEMBLE, **SHARED)
    world.model("member", **SHARED)
    await operator.settle()

    world.remove(names.KIND_MODEL, "member")
    await operator.settle()

    assert world.condition("whole") == "False InvalidEnsemble"
    assert world.serving("vision") == [{}]


async def test_a_deleted_model_is_unlinked_and_unloaded(world: World, operator: Operator) -> None:
    world.server("vision", replicas=2)
    world.model("stays", **SHARED)
    world.model("goes", **SHARED)
    await operator.settle()

    world.remove(names.KIND_MODEL, "goes")
    await operator.settle()

    assert_all_serve(world, "vision", "stays")
    claim = world.claims["vision-repository"]
    assert set(claim.links) == {("vision", "stays")}
    assert world.server_status("vision").models == ("stays",)


async def test_a_model_is_unloaded_from_a_pod_that_did_not_answer_at_first(
    world: World, operator: Operator
) -> None:
    world.server("vision", replicas=2)
    world.model("goes", **SHARED)
    await operator.settle()
    deaf = next(iter(sorted(n for n in world.all_of("Pod") if n.startswith("vision-"))))
    world.triton.deaf.add(deaf)

    world.remove(names.KIND_MODEL, "goes")
    await operator.settle()
    world.triton.deaf.clear()
    operator.restart()
    await operator.settle()

    assert world.serving("vision") == [{}, {}]
    assert world.server_status("vision").models == ()


async def test_a_renamed_model_is_served_by_its_new_name_only(
    world: World, operator: Operator
) -> None:
    world.server("vision")
    world.model("resnet", modelName="old", **SHARED)
    await operator.settle()

    world.model("resnet", modelName="new", **SHARED)
    await operator.settle()

    assert world.serving("vision") == [{"new": hash_of(world, "resnet")}]
    assert world.model_status("resnet").model_name == "new"
    assert world.condition("resnet") == "True Serving"


@pytest.mark.exhaustive
async def test_one_download_that_fails_fails_one_model(world: World, operator: Operator) -> None:
    uri = "https://models.example/none.onnx"
    world.missing_sources.add(uri)
    world.server("vision")
    world.model("good", **SHARED)
    world.model("bad", versions=[{"version": 1, "source": {"uri": uri}}], **SHARED)
    await operator.run(seconds=60)

    assert world.condition("good") == "True Serving"
    assert world.condition("bad") == "False SourceNotFound"
    assert world.warnings("bad") == ["SourceNotFound"]

    world.missing_sources.clear()
    await operator.run(seconds=600)
    assert_all_serve(world, "vision", "bad", "good")
    assert world.warnings("bad") == ["SourceNotFound"]


# ---- servers ----------------------------------------------------------------------------------


async def test_a_model_whose_server_is_gone_is_served_nowhere(
    world: World, operator: Operator
) -> None:
    world.server("vision")
    world.model("resnet", **SHARED)
    await operator.settle()
    world.model("resnet", serverRef={"name": "other"})
    await operator.settle()
    assert world.condition("resnet") == "False ServerNotFound"
    assert world.model_status("resnet").versions == (1,)
    assert world.message("resnet").endswith("; what was served before keeps serving")

    world.remove(names.KIND_SERVER, "vision")
    await operator.run(seconds=60)

    assert world.condition("resnet") == "False ServerNotFound"
    assert world.message("resnet").endswith("to get a server of its own")
    assert world.model_status("resnet").versions == ()
    assert world.model_status("resnet").urls is None


async def test_a_model_waits_for_the_server_it_names(world: World, operator: Operator) -> None:
    world.model("resnet", **SHARED)
    await operator.settle()
    assert world.condition("resnet") == "False ServerNotFound"
    assert world.warnings("resnet") == ["ServerNotFound"]

    world.server("vision")
    await operator.settle()

    assert_all_serve(world, "vision", "resnet")


async def test_a_model_that_comes_just_before_its_server_is_not_warned_about(
    world: World, operator: Operator
) -> None:
    world.model("resnet", **SHARED)
    await operator.run_once()
    assert world.condition("resnet") == "False ServerNotFound"
    assert world.condition("resnet", "Accepted") == "False ServerNotFound"
    world.step()

    world.server("vision")
    await operator.settle()
    assert_all_serve(world, "vision", "resnet")
    assert world.warnings("resnet") == []

    world.model("resnet", serverRef={"name": "visoin"})
    await operator.run(seconds=30)
    assert world.warnings("resnet") == ["ServerNotFound"]


async def test_a_model_is_looked_at_again_until_its_missing_server_was_told(
    world: World, operator: Operator
) -> None:
    key = (NAMESPACE, "resnet")
    world.model("resnet", **SHARED)
    pauses = []
    for _ in range(4):
        pauses.append(await operator.assigner.assign(key))
        world.step()

    assert pauses == [5.0, 3.0, 1.0, None]
    assert world.warnings("resnet") == ["ServerNotFound"]
    assert await operator.assigner.assign(key) is None

    operator.restart()
    await operator.run(seconds=30)
    assert world.warnings("resnet") == ["ServerNotFound"]


async def test_a_pod_that_is_replaced_serves_again(world: World, operator: Operator) -> None:
    world.model("resnet")
    await operator.settle()
    (name,) = (n for n in world.all_of("Pod") if "sync" not in n)

    world.remove("Pod", name)
    await operator.settle()

    assert_all_serve(world, "resnet", "resnet")


async def test_a_deployment_that_somebody_deleted_comes_back(
    world: World, operator: Operator
) -> None:
    world.model("resnet")
    await operator.settle()

    world.remove("Deployment", "resnet")
    operator.restart()
    await operator.settle()

    assert_all_serve(world, "resnet", "resnet")


async def test_a_model_that_moves_is_served_by_the_old_server_until_the_new_one_does(
    world: World, operator: Operator
) -> None:
    world.model("resnet")
    await operator.settle()
    world.server("vision")
    world.model("resnet", "die", **SHARED)
    await operator.settle()
    assert world.serving("resnet") != [{}]
    assert world.get(names.KIND_SERVER, "resnet") is not None

    world.model("resnet", **SHARED)
    await operator.settle()

    assert_all_serve(world, "vision", "resnet")
    assert world.get(names.KIND_SERVER, "resnet") is None
    assert world.serving("resnet") == []


async def test_an_own_server_that_others_use_stays_until_the_last_of_them_has_left(
    world: World, operator: Operator
) -> None:
    world.model("resnet")
    world.model("guest", serverRef={"name": "resnet"})
    await operator.settle()
    world.server("vision")

    world.model("resnet", **SHARED)
    await operator.settle()
    assert_all_serve(world, "resnet", "guest")
    assert_all_serve(world, "vision", "resnet")

    world.model("guest", **SHARED)
    await operator.settle()
    assert_all_serve(world, "vision", "guest", "resnet")
    assert world.all_of(names.KIND_SERVER) == {"vision"}


async def test_a_server_that_cannot_be_read_says_so_on_its_models(
    world: World, operator: Operator
) -> None:
    world.server("vision", gpus=-1)
    world.model("resnet", **SHARED)
    await operator.settle()

    assert world.condition("vision", "Accepted", of=names.KIND_SERVER) == "False InvalidSpec"
    assert world.condition("resnet") == "False ServerInvalid"
    assert "spec.gpus" in world.message("resnet")


async def test_a_headless_service_goes_when_it_is_no_longer_asked_for(
    world: World, operator: Operator
) -> None:
    world.server("vision", service={"headless": True})
    await operator.settle()
    assert world.all_of("Service") == {"vision", "vision-pods"}

    world.server("vision")
    await operator.settle()

    assert world.all_of("Service") == {"vision"}


async def test_a_request_that_fails_once_is_no_news(world: World, operator: Operator) -> None:
    world.server("vision")
    world.model("resnet", **SHARED)
    await operator.settle()

    for seconds in (601, 602):  # not in a row
        world.failing[("apply", "Deployment")] = ClusterError("PATCH", "it", status=429)
        world.server("vision", startupTimeoutSeconds=seconds)
        assert len(await operator.run_once()) == 1
        assert world.condition("vision", of=names.KIND_SERVER) == "True AllPodsReady"
        world.failing.clear()
        await operator.settle()

    assert world.warnings("vision") == []


async def test_a_request_that_the_api_server_refuses_is_told_and_tried_again(
    world: World, operator: Operator
) -> None:
    world.server("vision")
    world.model("resnet", **SHARED)
    refused = ClusterError("PATCH", "deployments/vision", status=403, message="quota exceeded")
    world.failing[("apply", "Deployment")] = refused

    for _ in range(2):
        assert world.warnings("vision") == []
        (failure,) = await operator.run_once()
        assert failure is refused

    assert world.condition("vision", of=names.KIND_SERVER) == "False ClusterError"
    assert world.warnings("vision") == ["ClusterError"]

    await operator.run_once()
    assert world.warnings("vision") == ["ClusterError"]

    world.failing.clear()
    await operator.settle()
    assert_all_serve(world, "vision", "resnet")


async def test_what_an_earlier_server_leaves_is_waited_for_untold(
    world: World, operator: Operator
) -> None:
    world.model("resnet")
    world.failing[("create", "Secret")] = NameNotFreeYetError("Secret team/resnet is an earlier's")
    await operator.run(seconds=14)
    assert world.condition("resnet", of=names.KIND_SERVER) == "none"
    assert world.warnings("resnet") == []

    await operator.run(seconds=4)
    assert world.condition("resnet", of=names.KIND_SERVER) == "False NameTaken"

    world.failing.clear()
    await operator.settle()
    assert_all_serve(world, "resnet", "resnet")


async def test_a_child_that_is_refused_stops_nothing_that_serves(
    world: World, operator: Operator
) -> None:
    world.server("vision")
    world.model("resnet", **SHARED)
    await operator.settle()
    good = hash_of(world, "resnet")

    world.failing[("apply", "Deployment")] = InvalidSpecError("Deployment vision: no such volume")
    world.server("vision", podTemplate={"volumeMounts": [{"name": "x", "mountPath": "/x"}]})
    world.model("resnet", "pass  # better", **SHARED)
    await operator.settle()

    assert world.condition("vision", "Accepted", of=names.KIND_SERVER) == "False InvalidSpec"
    assert world.condition("vision", of=names.KIND_SERVER) == "False InvalidSpec"
    assert world.warnings("vision") == ["InvalidSpec"]
    assert world.serving("vision") != [{"resnet": good}]
    assert world.serving("vision")[0]["resnet"]

    world.failing.clear()
    world.server("vision")
    await operator.settle()
    assert_all_serve(world, "vision", "resnet")
    assert world.condition("vision", "Accepted", of=names.KIND_SERVER) == "True Valid"


async def test_a_load_that_failed_is_tried_again_after_a_while(
    world: World, operator: Operator
) -> None:
    world.server("vision")
    world.model("resnet", "raise", **SHARED)
    await operator.settle()
    (process,) = world.processes("vision")
    before = len(process.loads)

    await operator.run(seconds=200)
    assert len(process.loads) == before
    await operator.run(seconds=200)
    assert len(process.loads) == before + 1
    assert len(world.warnings("resnet")) == 1


# ---- drift ------------------------------------------------------------------------------------


def drifts(world: World) -> list[str]:
    return [event.message for _, event in world.events if event.reason == "DriftRepaired"]


@pytest.mark.parametrize("found", ["nothing", "something else"])
async def test_what_somebody_unloads_or_replaces_is_put_right_and_told(
    world: World, operator: Operator, found: str
) -> None:
    world.server("vision", replicas=2)
    world.model("resnet", **SHARED)
    await operator.settle()
    process = world.processes("vision")[1]
    if found == "nothing":
        process.unload("resnet")
    else:
        process.override("resnet")

    await operator.settle()

    assert_all_serve(world, "vision", "resnet")
    (message,) = drifts(world)
    assert "pod vision-" in message
    assert ("was not loaded any more" if found == "nothing" else "in its place") in message
    assert world.warnings("resnet") == ["DriftRepaired"]


async def test_what_the_operator_does_itself_is_no_drift(world: World, operator: Operator) -> None:
    world.server("vision", replicas=2)
    world.model("resnet", **SHARED)
    await operator.settle()

    world.model("resnet", "pass  # better", **SHARED)
    await operator.settle()
    (name, *_) = sorted(n for n in world.all_of("Pod") if n.startswith("vision-"))
    world.remove("Pod", name)
    await operator.settle()
    world.model("resnet", "raise", **SHARED)
    await operator.settle()

    assert drifts(world) == []


async def test_why_triton_cannot_take_a_config_is_told_from_its_log(
    world: World, operator: Operator
) -> None:
    world.server("vision", replicas=2)
    world.model("resnet", **SHARED)
    await operator.settle()
    world.model("resnet", "pass  # unread", **SHARED)
    await operator.settle()

    assert world.condition("resnet") == "False BlockedByFailedLoad"
    assert "'max_batch_size' must be non-negative value for resnet;" in world.message("resnet")


# ---- servers that crash while they start ------------------------------------------------------


async def test_a_model_that_kills_servers_at_their_start_is_found_and_the_others_serve(
    world: World, operator: Operator
) -> None:
    world.server("vision", replicas=2)
    world.model("good", **SHARED)
    world.model("deadly", "die", **SHARED)
    world.model("late", "pass  # too", **SHARED)
    await operator.settle()

    assert_all_serve(world, "vision", "good", "late")
    assert world.condition("deadly") == "False LoadFailed"
    assert "stopped answering while it loaded" in world.message("deadly")
    assert ("vision", "deadly") not in world.claims["vision-repository"].links
    assert world.model_status("good").last_failure is None
    assert world.model_status("late").last_failure is None


async def test_what_served_before_is_not_held_back_from_pods_that_crash(
    world: World, operator: Operator
) -> None:
    world.server("vision")
    world.model("resnet", **SHARED)
    await operator.settle()
    linked = dict(world.claims["vision-repository"].links)

    world.crashing.add("vision")
    await operator.settle()

    assert world.claims["vision-repository"].links == linked
    assert world.condition("vision", of=names.KIND_SERVER) == "False PodsFailing"
    (said,) = [c.message for c in world.server_status("vision").conditions if c.type == "Ready"]
    assert "exit code 139" in said
    assert "no CUDA-capable device" in said
    assert world.log_reads == []


async def test_the_argument_that_triton_refuses_is_told_though_its_last_words_are_others(
    world: World, operator: Operator
) -> None:
    world.server("vision", replicas=2)
    world.crashing.add("vision")
    options = "".join(f"  --option-{each} <integer>\n\tWhat it does.\n" for each in range(400))
    world.crash_log = f"tritonserver: unrecognized option '--x'\nUsage: tritonserver\n{options}"
    await operator.settle()
    await operator.run(seconds=60)

    (said,) = [c.message for c in world.server_status("vision").conditions if c.type == "Ready"]
    assert said.endswith("crashes: Error, exit code 139: unrecognized option '--x'")
    # The log of the container that ended, and that of the one before it.
    assert sorted(world.log_reads) == sorted(2 * [pod.name for pod in world.server_pods("vision")])

    world.crashing.clear()
    await operator.settle()
    assert world.condition("vision", of=names.KIND_SERVER) == "True AllPodsReady"


async def test_the_model_that_a_server_did_not_start_of_is_told_though_its_last_words_are_others(
    world: World, operator: Operator
) -> None:
    world.server("vision")
    world.crashing.add("vision")
    failed = "E1121 12:10:33.67 1 model_lifecycle.cc:642] \"failed to load 'bad' version 1: no\"\n"
    options = "".join(f"| option-{each} | value |\n" for each in range(400))
    world.crash_log = f"{failed}I1121 12:10:33.72 1 tritonserver.cc:2538]\n{options}"
    world.crash_log += "error: creating server: Internal - failed to load all models\n"
    await operator.settle()
    await operator.run(seconds=60)

    (said,) = [c.message for c in world.server_status("vision").conditions if c.type == "Ready"]
    assert said.endswith("crashes: Error, exit code 139: model 'bad' does not load: no")
    (pod,) = world.server_pods("vision")
    assert world.log_reads == 2 * [pod.name]


# ---- loads that never end ---------------------------------------------------------------------


async def test_a_pod_in_which_no_load_ends_is_replaced_while_others_serve(
    world: World, operator: Operator
) -> None:
    world.server("vision", replicas=2)
    world.model("resnet", **SHARED)
    await operator.settle()
    good, before = hash_of(world, "resnet"), set(world.triton.processes)
    world.model("resnet", "wedge", **SHARED)
    await operator.settle()
    assert world.serving("vision") == [{"resnet": good}] * 2
    assert world.condition("resnet") == "False BlockedByFailedLoad"
    assert "did not end within 1800 s" in world.message("resnet")
    assert set(world.triton.processes) == before

    world.model("resnet", "pass  # mended", **SHARED)
    await operator.run(seconds=60)
    await operator.settle()

    assert_all_serve(world, "vision", "resnet")
    assert len(before & set(world.triton.processes)) == 1


async def test_the_only_pod_of_a_server_is_not_deleted(world: World, operator: Operator) -> None:
    world.server("vision")
    world.model("resnet", **SHARED)
    world.model("steady", **SHARED)
    await operator.settle()
    before = set(world.triton.processes)
    world.model("resnet", "wedge", **SHARED)
    await operator.settle()
    world.model("resnet", "pass  # mended", **SHARED)
    await operator.run(seconds=60)

    assert set(world.triton.processes) == before
    assert world.condition("steady") == "True Serving"


# ---- from one shared server to another --------------------------------------------------------


async def test_a_model_is_served_by_the_old_server_until_the_new_one_has_loaded_it(
    world: World, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "_PATIENCE_SECONDS", 0.0)
    world.server("old")
    world.server("new")
    world.model("resnet", serverRef={"name": "old"})
    await operator.settle()
    served = world.serving("old")

    world.model("resnet", "hang", serverRef={"name": "new"})
    await operator.settle()
    assert world.serving("old") == served != [{}]
    assert world.model_status("resnet").server == "old"
    assert world.condition("resnet") == "False Loading"

    world.triton.release.set()
    await operator.settle()
    assert_all_serve(world, "new", "resnet")
    assert world.model_status("resnet").server == "new"
    assert world.serving("old") == [{}]


async def test_a_model_that_the_new_server_refuses_stays_with_the_old_one(
    world: World, operator: Operator
) -> None:
    world.server("old")
    world.server("new")
    world.model("resnet", serverRef={"name": "old"})
    await operator.settle()
    served = world.serving("old")

    world.model("resnet", "raise", serverRef={"name": "new"})
    await operator.settle()

    assert world.serving("old") == served
    assert world.condition("resnet") == "False LoadFailed"


# ---- the operator comes and goes --------------------------------------------------------------


async def story(world: World, operator: Operator, *, restarting: bool) -> None:
    world.server("vision", replicas=2)
    world.model("whole", "", config=ENSEMBLE, **SHARED)
    world.model("member", **SHARED)
    world.model("goes", **SHARED)
    await operator.settle(restarting=restarting)
    world.model("member", "raise", **SHARED)
    world.remove(names.KIND_MODEL, "goes")
    await operator.settle(restarting=restarting)


def ending(world: World) -> object:
    statuses = {
        name: (
            world.condition(name),
            world.message(name),
            world.model_status(name).transition,
            world.model_status(name).config_hash,
        )
        for name in world.all_of(names.KIND_MODEL)
    }
    return (statuses, world.serving("vision"), world.claims["vision-repository"].links)


async def test_an_operator_without_memory_reaches_the_same_end() -> None:
    ends = []
    for restarting in (False, True):
        world = World()
        await story(world, Operator(world), restarting=restarting)
        ends.append(ending(world))

    assert ends[0] == ends[1]
    assert ends[0][0]["member"][0] == "False BlockedByFailedLoad"  # type: ignore[index]


def prepare(world: World) -> None:
    world.server("vision", replicas=2)
    world.model("whole", "", config=ENSEMBLE, **SHARED)
    world.model("member", **SHARED)
    world.model("goes", **SHARED)


def create(_: World) -> None:
    """Nothing happens to what was prepared."""


def improve(world: World) -> None:
    world.model("member", "pass  # better", **SHARED)


def damage(world: World) -> None:
    world.model("member", "raise", **SHARED)


def remove(world: World) -> None:
    world.remove(names.KIND_MODEL, "goes")


@pytest.mark.exhaustive
@pytest.mark.parametrize("patience", [2.0, 0.0], ids=["in the pass", "beside it"])
@pytest.mark.parametrize("change", [create, improve, damage, remove])
async def test_an_operator_killed_before_or_after_any_call_reaches_the_same_end(
    change: Callable[[World], None], patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "_PATIENCE_SECONDS", patience)

    async def begun() -> tuple[World, Operator]:
        world = World()
        prepare(world)
        operator = Operator(world)
        if change is not create:
            await operator.settle()
            change(world)
        return world, operator

    expected, operator = await begun()
    await operator.settle()

    async for moment, world, operator in killed_at_each_moment(begun):
        await operator.settle()
        assert ending(world) == ending(expected), f"killed at moment {moment}"
    assert moment > 12


async def test_an_operator_killed_by_every_load_does_not_load_for_ever(world: World) -> None:
    """A model that kills its server is told although nobody saw the pass through."""
    operator = Operator(world)
    prepare(world)
    await operator.settle()

    world.model("member", "die", **SHARED)
    moment = 1
    while await operator.killed_at(moment) and moment < 60:
        moment += 1
    await operator.settle()

    assert world.condition("goes") == "True Serving"
    assert world.condition("member") == "False BlockedByFailedLoad"


# ---- a server on a claim of the user's own ----------------------------------------------------


@pytest.fixture
async def held(world: World, operator: Operator) -> World:
    """A server that serves a model from a claim which outlives it."""
    world.server("vision", repository={"claimName": "models"})
    world.model("resnet", **SHARED)
    await operator.settle()
    assert_all_serve(world, "vision", "resnet")
    return world


def gone(world: World) -> bool:
    return world.get(names.KIND_SERVER, "vision") is None


def terminating() -> NamespaceTerminatingError:
    return NamespaceTerminatingError("POST", "anything", status=403, message="it goes away")


async def test_a_server_leaves_nothing_on_a_claim_that_outlives_it(
    held: World, operator: Operator
) -> None:
    assert held.get(names.KIND_SERVER, "vision")["metadata"]["finalizers"] == [names.FINALIZER]

    held.remove(names.KIND_SERVER, "vision")
    await operator.settle()

    assert gone(held)
    assert (held.claims["models"].servers, held.claims["models"].links) == (set(), {})
    assert held.warnings("vision") == []


async def test_a_server_on_a_claim_of_its_own_is_not_held(world: World, operator: Operator) -> None:
    world.server("vision")
    await operator.settle()

    assert "finalizers" not in world.get(names.KIND_SERVER, "vision")["metadata"]


async def test_the_finalizers_of_others_stay(held: World, operator: Operator) -> None:
    meta = held.get(names.KIND_SERVER, "vision")["metadata"]
    meta["finalizers"].append("example.com/theirs")

    held.remove(names.KIND_SERVER, "vision")
    await operator.settle()

    assert meta["finalizers"] == ["example.com/theirs"]


async def test_a_server_whose_claim_is_gone_goes_at_once(held: World, operator: Operator) -> None:
    held.missing_claims.add("models")

    held.remove(names.KIND_SERVER, "vision")
    await operator.run(seconds=6)

    assert gone(held)


async def test_a_server_goes_with_its_namespace(held: World, operator: Operator) -> None:
    held.failing[("create", "ConfigMap")] = terminating()

    held.remove(names.KIND_SERVER, "vision")
    await operator.run_once()

    assert gone(held)
    assert held.warnings("vision") == ["FilesLeft"]


async def test_what_is_in_a_namespace_that_goes_away_is_left_alone(
    world: World, operator: Operator
) -> None:
    world.server("vision")
    world.model("resnet", **SHARED)
    world.model("alone")
    await operator.settle()
    told = len(world.events)
    statuses = [world.model_status(name) for name in ("alone", "resnet")]
    for verb, kind in (("create", "ConfigMap"), ("apply", "Deployment"), ("apply", "TritonServer")):
        world.failing[(verb, kind)] = terminating()

    world.remove("Deployment", "vision")
    world.remove(names.KIND_SERVER, "alone")
    failures = await operator.run_once()

    assert [type(failure) for failure in failures] == [NamespaceTerminatingError] * 2
    assert [world.model_status(name) for name in ("alone", "resnet")] == statuses
    assert world.condition("vision", of=names.KIND_SERVER).startswith("True")
    assert world.events[told:] == []


async def test_an_api_server_that_does_not_answer_is_no_reason_to_leave_files(
    held: World, operator: Operator
) -> None:
    held.failing[("create", "ConfigMap")] = ClusterError("POST", "configmaps", status=None)
    held.remove(names.KIND_SERVER, "vision")
    await operator.run_once()
    assert not gone(held)

    held.failing.clear()
    await operator.settle()

    assert gone(held)
    assert held.claims["models"].links == {}


async def test_a_server_does_not_wait_for_ever_for_its_files(
    held: World, operator: Operator
) -> None:
    held.stuck_jobs = True
    held.remove(names.KIND_SERVER, "vision")
    await operator.settle()
    assert not gone(held)

    for _ in range(160):
        held.step()
    await operator.settle()

    assert gone(held)
    assert held.warnings("vision") == ["FilesLeft"]


async def test_a_pass_over_what_is_not_there_does_nothing(operator: Operator) -> None:
    await operator.reconciler.reconcile((NAMESPACE, "none"))
    await operator.assigner.assign((NAMESPACE, "none"))

    assert operator.world.writes == []
