"""An ensemble that changes together with what it calls is served at every moment."""

from typing import Any

import pytest

from tests.unit.reconcile.fake_triton import Triton
from tests.unit.reconcile.test_scenarios import SHARED, assert_all_serve, calling, hash_of, typed
from tests.unit.reconcile.world import Operator, World, killed_at_each_moment
from triton_operator import names


def whole(member: str) -> dict[str, Any]:
    """The config of an ensemble that calls this member."""
    step = {"modelName": member, "modelVersion": -1, "inputMap": {"x": "X"}}
    steps = [{**step, "outputMap": {"y": "Y"}}]
    return {**calling([1]), "ensembleScheduling": {"step": steps}}


class Pair(World):
    """An ensemble and its member, which are looked at before and after each load and unload."""

    def watch(self) -> None:
        """From now on, every pod serves the ensemble, with what it calls, at every moment."""
        interrupt = self.triton.interrupt

        def look() -> None:
            self.assert_served()
            interrupt()

        self.triton.interrupt = look

    def assert_served(self) -> None:
        for process in self.processes("vision"):
            assert "whole" in process.loaded, f"{[*process.loaded]} {process.log}"

    def assert_startable(self) -> None:
        """A pod that starts now serves the ensemble, too."""
        pods = {p.repository for p in self.server_pods("vision")}
        for claim in self.claims.values():
            for repository in pods:
                process = Triton("vision", claim, repository=repository)
                process.start()
                assert "whole" in process.loaded, process.broken

    def replace_member(self, code: str = "pass", **spec: Any) -> None:
        """One push: a new member, the ensemble that calls it, and the old member is deleted."""
        self.model("fresh", code, config=typed([1]), **{**SHARED, **spec})
        self.model("whole", "", config=whole("fresh"), **SHARED)
        self.remove(names.KIND_MODEL, "member")


async def begin(**server: Any) -> tuple[Pair, Operator]:
    """Return a world in which the ensemble and its member serve on two pods."""
    pair = Pair()
    operator = Operator(pair)
    pair.server("vision", replicas=2, **server)
    pair.model("member", config=typed([1]), **SHARED)
    pair.model("whole", "", config=whole("member"), **SHARED)
    await operator.settle(steps=80)
    assert_all_serve(pair, "vision", "member", "whole")
    return pair, operator


async def test_an_ensemble_whose_member_is_replaced_serves_at_every_moment() -> None:
    pair, operator = await begin()
    pair.watch()
    pair.replace_member()
    await operator.settle()

    assert_all_serve(pair, "vision", "fresh", "whole")
    assert all(set(models) == {"fresh", "whole"} for models in pair.serving("vision"))


@pytest.mark.parametrize("server", [{}, {"modelUpdates": "Rollout"}])
async def test_an_ensemble_whose_member_is_renamed_serves_at_every_moment(
    server: dict[str, Any],
) -> None:
    pair, operator = await begin(**server)
    pair.watch()
    pair.model("member", modelName="fresh", config=typed([1]), **SHARED)
    pair.model("whole", "", config=whole("fresh"), **SHARED)
    await operator.settle(steps=80)

    assert pair.condition("whole") == pair.condition("member") == "True Serving"
    assert all(set(models) == {"fresh", "whole"} for models in pair.serving("vision"))
    assert all(models == {"fresh", "whole"} for models in links(pair))


async def test_the_old_member_stays_while_the_new_one_is_loaded() -> None:
    pair, operator = await begin()
    pair.watch()
    pair.replace_member("hang")
    await operator.run(seconds=30)
    assert all(set(models) == {"member", "whole"} for models in pair.serving("vision"))

    pair.triton.release.set()
    await operator.settle()
    assert all(set(models) == {"fresh", "whole"} for models in pair.serving("vision"))


@pytest.mark.parametrize("restarting", [False, True])
async def test_where_the_new_member_does_not_load_the_old_pair_serves_on(restarting: bool) -> None:
    pair, operator = await begin()
    good = hash_of(pair, "whole")
    pair.watch()
    pair.replace_member("raise")
    await operator.settle(restarting=restarting)

    assert [models["whole"] for models in pair.serving("vision")] == [good, good]
    assert pair.condition("whole") == "False WaitingForMember"
    assert "'fresh'" in pair.message("whole")
    pair.assert_startable()

    pair.model("fresh", "pass  # mended", config=typed([1]), **SHARED)
    await operator.settle(restarting=restarting)
    assert all(set(models) == {"fresh", "whole"} for models in pair.serving("vision"))


async def test_a_member_goes_at_once_with_its_ensemble() -> None:
    pair, operator = await begin()
    pair.model("steady", **SHARED)
    pair.remove(names.KIND_MODEL, "member")
    pair.remove(names.KIND_MODEL, "whole")
    await operator.settle()

    assert all(set(models) == {"steady"} for models in pair.serving("vision"))


URI = "s3://models/fresh/model.py"
FETCHED = [{"version": 1, "source": {"uri": URI}, "files": {"model.py": "pass  # new"}}]
ROLLOUT = {"modelUpdates": "Rollout"}


@pytest.mark.parametrize("server", [{}, ROLLOUT])
@pytest.mark.parametrize("replaced", [True, False])
async def test_a_member_that_cannot_be_had_leaves_the_old_pair_serving_until_it_can(
    server: dict[str, Any], replaced: bool
) -> None:
    pair, operator = await begin(**server)
    before = pair.serving("vision")
    pair.watch()
    pair.missing_sources.add(URI)
    name = "fresh" if replaced else "member"
    if replaced:
        pair.replace_member("", versions=FETCHED)
    else:
        pair.model("member", "", config=typed([2]), versions=FETCHED, **SHARED)
        pair.model("whole", "", config=calling([2]), **SHARED)
    await operator.settle(steps=80)

    assert pair.serving("vision") == before
    pair.assert_startable()
    assert pair.condition("whole") == "False WaitingForMember"
    assert pair.condition("whole", "Synced") == "False WaitingForMember"
    assert repr(name) in pair.message("whole")
    assert pair.condition(name) == "False SourceNotFound"
    assert [pair.condition(each, "Stalled") for each in ("whole", name)] == [
        "none",
        "True SourceNotFound",
    ]
    pair.remove("Pod", pair.server_pods("vision")[0].name)
    await operator.settle(steps=80)
    assert pair.serving("vision") == before

    pair.missing_sources.clear()
    await operator.run(seconds=900)

    assert_all_serve(pair, "vision", name, "whole")
    assert all(set(models) == {name, "whole"} for models in pair.serving("vision"))
    assert all(set(models) == {name, "whole"} for models in links(pair))


def links(world: World) -> list[set[str]]:
    """What pods that start find, in the folder of the links or in each revision."""
    (claim,) = world.claims.values()
    found = [{model for _, model in claim.links}, *map(set, claim.revisions.values())]
    return [models for models in found if models]


async def test_the_old_members_link_goes_when_the_new_generation_serves() -> None:
    pair, operator = await begin()
    pair.replace_member()
    await operator.settle()

    assert links(pair) == [{"fresh", "whole"}]


@pytest.mark.parametrize("failure", ["raise", "die"])
async def test_a_rollout_whose_new_member_does_not_load_goes_back_to_the_old_pair(
    failure: str,
) -> None:
    pair, operator = await begin(**ROLLOUT)
    before = pair.serving("vision")
    pair.watch()
    pair.replace_member(failure)
    await operator.settle(steps=120)

    assert pair.serving("vision") == before
    assert pair.condition("whole").startswith("False ")
    pair.assert_startable()

    pair.model("fresh", "pass  # mended", config=typed([1]), **SHARED)
    await operator.settle(steps=120)
    assert_all_serve(pair, "vision", "fresh", "whole")


@pytest.mark.parametrize("server", [{}, ROLLOUT])
@pytest.mark.parametrize("mistake", ["ensemble", "member"])
async def test_a_mistake_in_the_new_pair_leaves_the_old_one_serving(
    server: dict[str, Any], mistake: str
) -> None:
    pair, operator = await begin(**server)
    before = pair.serving("vision")
    pair.watch()
    pair.replace_member()
    config = typed([2]) if mistake == "ensemble" else {"name": "another", **typed([1])}
    pair.model("fresh", config=config, **SHARED)
    await operator.settle(steps=80)

    assert pair.condition("whole") == "False InvalidEnsemble"
    assert [models["whole"] for models in pair.serving("vision")] == [
        models["whole"] for models in before
    ]
    pair.assert_startable()

    pair.model("fresh", config=typed([1]), **SHARED)
    await operator.settle(steps=80)
    assert_all_serve(pair, "vision", "fresh", "whole")
    assert all(models == {"fresh", "whole"} for models in links(pair))


@pytest.mark.exhaustive
@pytest.mark.parametrize("code", ["pass", "raise"])
async def test_an_operator_killed_at_any_moment_of_the_swap_costs_no_ensemble(code: str) -> None:
    async def begun() -> tuple[World, Operator]:
        pair, operator = await begin()
        pair.watch()
        pair.replace_member(code)
        return pair, operator

    async for _, world, operator in killed_at_each_moment(begun):
        await operator.settle()
        for models in world.serving("vision"):
            assert models["whole"] == hash_of(world, "whole")
            assert ("fresh" in models, "member" in models) == (code == "pass", code == "raise")
        assert all({"whole", "member" if code == "raise" else "fresh"} <= m for m in links(world))
