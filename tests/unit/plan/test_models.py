"""Which generation the repository links to, over the life of a model."""

from typing import Any

import pytest

from tests.unit.plan.values import NOW, ensemble, hash_of, model, plain, plan, server, step
from triton_operator.api.model import LastFailure, TritonModelStatus
from triton_operator.plan.acceptance import judge_models
from triton_operator.plan.content import build_manifest
from triton_operator.plan.models import (
    LOAD_FAILED,
    SERVER_DIED,
    linked,
    plan_models,
)
from triton_operator.repository.manifest import Link

NEW = hash_of(model())
OLD = "0123456789abcdef"


def status(good: str = "", **fields: Any) -> TritonModelStatus:
    known = {"server": "vision", "model_name": "resnet", "config_hash": good} | fields
    return TritonModelStatus(**known)


def refused(good: str = "", reason: str = LOAD_FAILED, what: str = NEW) -> TritonModelStatus:
    failure = LastFailure(reason=reason, message="boom", time=NOW, config_hash=what)
    return status(good, transition="BlockedByFailedLoad", last_failure=failure)


@pytest.mark.parametrize(
    ("before", "spec", "link"),
    [
        (None, {}, NEW),
        (status(NEW), {}, NEW),
        (status(OLD), {}, NEW),
        (refused(OLD), {}, OLD),
        (refused(), {}, NEW),
        (refused(OLD, what="another"), {}, NEW),
        (refused(NEW), {}, NEW),
        (refused(OLD, SERVER_DIED), {}, OLD),
        (refused("", SERVER_DIED), {}, None),
        (status(OLD), {"config": {"name": "x"}}, OLD),
        (None, {"config": {"name": "x"}}, None),
        (status(OLD, server="other"), {"config": {"name": "x"}}, None),
        (status(OLD, server="other"), {}, NEW),
        (
            refused(OLD).model_copy(update={"transition": "InProgress"}),
            {},
            NEW,
        ),
    ],
    ids=[
        "new",
        "unchanged",
        "update",
        "refused: back to the good one",
        "refused, nothing to go back to: it stays",
        "another generation was refused",
        "what was refused is good by now",
        "killed its server: back to the good one",
        "killed its server, nothing to go back to: no link",
        "a rejected spec keeps the good one",
        "a rejected spec of a new model",
        "rejected, good on another server",
        "moved to another server",
        "the refusal is history",
    ],
)
def test_the_link_follows_the_spec_unless_that_was_refused(
    before: TritonModelStatus | None, spec: dict[str, Any], link: str | None
) -> None:
    found = plan(model(status=before, **spec))

    assert found.link == link


def test_a_renamed_model_has_nothing_to_go_back_to() -> None:
    found = plan(model(modelName="new", status=status(OLD)))

    assert (found.folder, found.good, found.link) == ("new", None, found.wanted)


def test_a_rejected_rename_keeps_the_old_name_served() -> None:
    record = model(modelName="new", config={"name": "x"}, status=status(OLD))

    found = plan(record)

    assert (found.folder, found.link) == ("resnet", OLD)


def test_a_failure_on_another_server_does_not_block_the_model_here() -> None:
    before = refused().model_copy(update={"server": "other"})

    assert plan(model(status=before)).link == NEW


VERSIONS = [{"version": v, "files": {"model.py": str(v)}} for v in (3, 1, 2)]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (None, (3,)),
        ({"latest": {"numVersions": 1}}, (3,)),
        ({"latest": {"numVersions": 2}}, (2, 3)),
        ({"latest": {"numVersions": 9}}, (1, 2, 3)),
        ({"all": {}}, (1, 2, 3)),
        ({"specific": {"versions": [1, 3, 1]}}, (1, 3)),
        ({"specific": {"versions": [4, 2]}}, (2,)),
    ],
)
def test_the_version_policy_says_which_versions_are_to_be_served(
    policy: dict[str, Any] | None, expected: tuple[int, ...]
) -> None:
    config = {"versionPolicy": policy} if policy else {}

    assert plan(model(config=config, versions=VERSIONS)).expected_versions == expected


def test_the_versions_of_an_older_generation_are_not_known() -> None:
    assert plan(model(versions=VERSIONS, status=status(OLD), config={"name": "x"})).config is None
    assert plan(model(status=refused(OLD))).expected_versions == ()


def test_an_ensemble_without_folders_is_served_as_version_1() -> None:
    whole = ensemble({"X": ("FP32", [1])}, {"Y": ("FP32", [1])}, step("m", {"x": "X"}, {"y": "Y"}))
    member = model("m", config=plain({"x": ("FP32", [1])}, {"y": ("FP32", [1])}))
    records = [model("whole", config=whole), member]
    plans = plan_models(judge_models(server(), records), "vision")

    assert {p.object: p.expected_versions for p in plans} == {"whole": (1,), "m": (1,)}


def test_the_manifest_of_a_server_holds_links_generations_and_what_may_be_gone_back_to() -> None:
    records = [
        model("fresh"),
        model("updated", status=status(OLD, model_name="updated")),
        model("rejected", config={"name": "x"}, status=status(OLD, model_name="rejected")),
        model("never", config={"name": "x"}),
    ]
    blocked = model("blocked")
    failure = LastFailure(reason=LOAD_FAILED, time=NOW, config_hash=hash_of(blocked))
    records.append(
        model(
            "blocked",
            status=status(
                OLD,
                model_name="blocked",
                transition="BlockedByFailedLoad",
                last_failure=failure,
            ),
        )
    )
    plans = plan_models(judge_models(server(), records), "vision")

    found = build_manifest("vision", plans)

    fresh, updated = hash_of(records[0]), hash_of(records[1])
    assert found.server == "vision"
    assert not found.remove
    assert found.links == (
        Link("blocked", "blocked", OLD),
        Link("fresh", "fresh", fresh),
        Link("rejected", "rejected", OLD),
        Link("updated", "updated", updated),
    )
    assert {(g.object, g.hash) for g in found.generations} == {
        ("fresh", fresh),
        ("updated", updated),
    }
    assert found.keep == (("updated", OLD),)
    assert set(linked(plans)) == {"blocked", "fresh", "rejected", "updated"}
    assert found.digest() == build_manifest("vision", plans[::-1]).digest()


def test_an_ensemble_stands_until_its_wanted_generation_serves() -> None:
    ends = {"x": ("FP32", [1])}, {"y": ("FP32", [1])}
    config = ensemble(*ends, step("member", {"x": "x"}, {"y": "y"}))

    def find(good: str) -> tuple[tuple[str, str], ...]:
        records = [
            model("whole", config=config, status=status(good, model_name="whole")),
            model("member", config=plain(*ends), status=status(OLD, model_name="member")),
        ]
        plans = plan_models(judge_models(server(), records), "vision")
        nonlocal wanted
        wanted = str(linked(plans)["whole"].wanted)
        return build_manifest("vision", plans).standing

    wanted = ""
    assert find("") == ()
    assert find(OLD) == (("whole", OLD),)
    assert find(wanted) == ()
