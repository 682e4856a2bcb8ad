"""What new pods serve, and who is blamed when they do not come up."""

from dataclasses import replace

import pytest

from tests.unit.plan.values import hash_of, model, pod, server
from triton_operator.api.model import TritonModelStatus
from triton_operator.observed import ModelRecord, SyncJob, Workload
from triton_operator.plan.acceptance import judge_models
from triton_operator.plan.content import build_manifest
from triton_operator.plan.models import ModelPlan, plan_models
from triton_operator.plan.rollouts import (
    blame,
    choose_repository,
    find_fallen,
    is_changing_over,
    needed_repositories,
    template_repositories,
)
from triton_operator.plan.sync import SyncPlan, SyncState
from triton_operator.repository.manifest import LINKS, Link, Manifest, revision_digest

MANIFEST = Manifest("vision", links=(Link("resnet", "resnet", "a2"),), immutable=True)
WANTED = revision_digest(MANIFEST.links)
EMPTY = revision_digest(())
DONE = SyncPlan(SyncState.DONE, revision=WANTED)
RUNNING = SyncPlan(SyncState.RUNNING)
LIVE = Workload(exists=True, repository="live", repositories=frozenset({"live"}))


# ---- what new pods serve ----------------------------------------------------------------------


@pytest.mark.parametrize("state", list(SyncState))
def test_the_first_pods_wait_for_what_is_wanted(state: SyncState) -> None:
    assert choose_repository(MANIFEST, SyncPlan(state), Workload(), ()) == WANTED


@pytest.mark.parametrize("state", [SyncState.WAITING, SyncState.RUNNING, SyncState.FAILED])
def test_what_is_not_on_the_claim_replaces_nothing(state: SyncState) -> None:
    assert choose_repository(MANIFEST, SyncPlan(state), LIVE, ()) == "live"


def test_models_that_come_right_after_their_server_are_in_its_first_revision() -> None:
    starting = replace(RUNNING, start=SyncJob("", 1, "digest"))
    assert choose_repository(MANIFEST, starting, LIVE, [pod(ready=False)]) == WANTED
    assert choose_repository(MANIFEST, starting, LIVE, [pod(repository="live")]) == "live"
    later = replace(RUNNING, start=SyncJob("", 2, "digest"))
    assert choose_repository(MANIFEST, later, LIVE, [pod(ready=False)]) == "live"


def test_what_was_published_replaces_what_is_there() -> None:
    assert choose_repository(MANIFEST, DONE, LIVE, ()) == WANTED


def test_without_some_files_pods_serve_what_could_be_published() -> None:
    partly = replace(DONE, revision="partly")
    assert choose_repository(MANIFEST, partly, LIVE, ()) == "partly"


def test_the_way_back_does_not_wait_for_a_job() -> None:
    old = pod(repository=WANTED)
    assert choose_repository(MANIFEST, RUNNING, LIVE, [old]) == WANTED
    assert choose_repository(MANIFEST, RUNNING, LIVE, [replace(old, ready=False)]) == "live"


def test_pods_wait_for_the_first_model_rather_than_serve_none() -> None:
    nothing = replace(DONE, revision=EMPTY)
    assert choose_repository(MANIFEST, nothing, LIVE, [pod(ready=False)]) == "live"
    assert choose_repository(MANIFEST, nothing, LIVE, [pod(repository="live")]) == EMPTY
    assert choose_repository(replace(MANIFEST, links=()), nothing, LIVE, ()) == EMPTY


def test_pods_that_are_loaded_into_read_the_links_once_they_are_there() -> None:
    manifest = replace(MANIFEST, immutable=False)
    assert choose_repository(manifest, RUNNING, LIVE, ()) == "live"
    assert choose_repository(manifest, SyncPlan(SyncState.DONE), LIVE, ()) == LINKS
    assert choose_repository(manifest, RUNNING, Workload(), ()) == LINKS


def test_older_templates_count_until_the_rollout_is_complete() -> None:
    rolling = Workload(
        exists=True, observed=True, desired=2, replicas=2, updated=1, ready=2,
        repository="b", repositories=frozenset({"a", "b"}),
    )  # fmt: skip
    complete = replace(rolling, updated=2)

    assert template_repositories(rolling, "c") == {"a", "b", "c"}
    assert template_repositories(rolling, "b") == {"a", "b"}
    assert template_repositories(complete, "c") == {"b", "c"}
    assert template_repositories(complete, "b") == {"a", "b"}  # no write for what is over
    assert needed_repositories(rolling, [pod(repository="z")], "b") == ("a", "b", "z")
    assert needed_repositories(complete, [], "b") == ("b",)
    assert needed_repositories(complete, [], "c") == ("b", "c")
    assert needed_repositories(Workload(), [], "c") == ("c",)
    assert not replace(complete, ready=1).complete
    assert not replace(complete, observed=False).complete


def test_a_server_changes_over_until_its_last_immutable_pod_leaves() -> None:
    links = replace(LIVE, repository=LINKS)
    old = pod(repository="old")
    assert is_changing_over(LIVE, [])
    assert is_changing_over(links, [pod(), old])
    assert not is_changing_over(links, [pod(), replace(old, terminating=True)])
    assert not is_changing_over(Workload(), [])


# ---- who is blamed ----------------------------------------------------------------------------

FALLEN = pod("pod-x", ready=False, running=False, waiting="CrashLoopBackOff: back-off")
ONCE = pod("pod-x", ready=False, running=False, exit_code=1)


def loading(*names: str) -> str:
    return "".join(f'I1121 12:10:31.15 1 model_lifecycle.cc:472] "loading: {n}:1"\n' for n in names)


def loaded(*names: str) -> str:
    return "".join(
        f"I1121 12:10:33.71 1 model_lifecycle.cc:839] \"successfully loaded '{n}'\"\n"
        for n in names
    )


def failed(name: str, reason: str = "Internal: boom") -> str:
    return (
        f"E1121 12:10:33.67 1 model_lifecycle.cc:642] \"failed to load '{name}' version 1:"
        f' {reason}\\n\\nAt:\\n  model.py(3)\\n"\n'
        f"I1121 12:10:33.67 1 model_lifecycle.cc:777] \"failed to load '{name}'\"\n"
    )


def plans(*changed: str, unchanged: tuple[str, ...] = ()) -> tuple[ModelPlan, ...]:
    def serving(record: ModelRecord, hash_: str) -> ModelRecord:
        name = record.meta.name
        return replace(
            record,
            status=TritonModelStatus(server="vision", model_name=name, config_hash=hash_),
        )

    records = [serving(model(name), "older") for name in changed]
    records += [serving(model(name), hash_of(model(name))) for name in unchanged]
    return plan_models(judge_models(server(), records), "vision", immutable=True)


def test_the_model_that_the_log_names_is_blamed_at_once() -> None:
    log = loading("a", "b") + failed("a") + loaded("b")
    found = blame(plans("a", "b"), {}, ONCE, log)

    assert list(found) == ["a"]
    assert found["a"].reason == "LoadFailed"
    assert found["a"].message.startswith("pod pod-x: Internal: boom")


def test_a_model_that_did_not_change_is_not_blamed_for_its_member() -> None:
    log = (
        loading("a")
        + failed("a")
        + (
            "E1121 12:10:33.71 1 model_repository_manager.cc:703] \"Invalid argument: ensemble 'e'"
            " depends on 'a' which has no loaded version.\"\n"
        )
    )
    assert list(blame(plans("a", unchanged=("e",)), {}, ONCE, log)) == ["a"]


def test_all_that_changed_answer_for_one_that_did_not() -> None:
    log = loading("a", "b", "c") + loaded("a", "b") + failed("c", "out of memory")
    found = blame(plans("a", "b", unchanged=("c",)), {}, ONCE, log)

    assert set(found) == {"a", "b"}
    assert "with one of a, b new, c does not load: out of memory" in found["a"].message


def test_where_nothing_changed_the_log_still_tells() -> None:
    log = loading("c") + failed("c")
    assert list(blame(plans(unchanged=("c",)), {}, ONCE, log)) == ["c"]


def test_a_server_that_dies_once_says_nothing_about_its_models() -> None:
    assert blame(plans("a"), {}, ONCE, loading("a")) == {}
    assert list(blame(plans("a"), {}, replace(ONCE, restarts=2), loading("a"))) == ["a"]


def test_what_was_loading_when_the_server_died_is_blamed() -> None:
    log = loading("a", "b", "c") + loaded("b")
    found = blame(plans("a", "b", unchanged=("c",)), {}, FALLEN, log)

    assert list(found) == ["a"]
    assert found["a"].reason == "ServerDied"
    assert found["a"].message == "pod pod-x: the server died while it loaded a"


def test_all_that_changed_are_blamed_when_the_log_points_at_none_of_them() -> None:
    log = loading("a", "b", "c") + loaded("a", "b")
    found = blame(plans("a", "b", unchanged=("c",)), {}, FALLEN, log)

    assert set(found) == {"a", "b"}
    assert found["b"].message == "pod pod-x: the server died while it loaded one of a, b"


def test_a_server_that_never_began_to_load_is_not_its_models_fault() -> None:
    assert blame(plans("a"), {}, FALLEN, "tritonserver: unrecognized option '--x'\n") == {}


def test_a_model_whose_files_could_not_be_had_is_not_in_the_revision() -> None:
    log = loading("a") + failed("a")
    assert blame(plans("a", "b"), {"b": object()}, ONCE, log).keys() == {"a"}
    assert blame(plans("a"), {"a": object()}, ONCE, log) == {}
    assert blame(plans("a"), {"a": object()}, FALLEN, loading("a")) == {}


def test_only_pods_of_the_revision_in_question_have_fallen() -> None:
    pods = [
        replace(FALLEN, name="crashing", repository="b"),
        replace(ONCE, name="ended", repository="b"),
        replace(FALLEN, name="older", repository="a"),
        replace(FALLEN, name="leaving", repository="b", terminating=True),
        pod("fine", repository="b"),
        pod("pulling", repository="b", running=False, waiting="ImagePullBackOff: no"),
    ]
    assert [each.name for each in find_fallen(pods, "b")] == ["crashing", "ended"]


# ---- what is linked ---------------------------------------------------------------------------


def test_a_refused_newcomer_is_left_out_unless_it_is_alone() -> None:
    for names, linked in ((["a"], True), (["a", "b"], False)):
        found = plan_models(
            judge_models(server(), [model(n) for n in names]), "vision", immutable=True
        )
        assert (found[0].link_if_refused("LoadFailed") is not None) is linked
        assert (found[0].link_if_refused("ServerDied") is not None) is linked


def test_while_pods_change_over_what_is_good_stays_linked() -> None:
    (found,) = plans("a")
    assert found.link == found.wanted
    assert replace(found, changing_over=True).link == "older"
    assert build_manifest("vision", [found], immutable=True).keep == (("a", "older"),)
