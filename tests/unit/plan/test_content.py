"""What a server is to serve, from all its models and what there is already."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.plan.values import NOW, hash_of, model, pod, server
from triton_operator import names
from triton_operator.api.model import TritonModelStatus
from triton_operator.observed import (
    Pod,
    ServedModel,
    ServerRecord,
    ServerWorld,
    SyncJob,
    Workload,
)
from triton_operator.plan.content import Content, plan_content
from triton_operator.plan.sync import SyncState
from triton_operator.repository.manifest import LINKS, Link, revision_digest
from triton_operator.repository.outcome import Outcome, encode_outcome

ROLLOUT = {"modelUpdates": "Rollout"}
LIVE_LINKS = Workload(exists=True)
LIVE = Workload(exists=True, repository="live", repositories=frozenset({"live"}))


def plan(
    world: ServerWorld,
    workload: Workload | None = None,
    pods: tuple[Pod, ...] = (),
    owner: str | None = None,
    **spec: Any,
) -> Content:
    metadata: dict[str, Any] = {"name": "vision", "namespace": "team"}
    if owner is not None:
        reference = {"kind": names.KIND_MODEL, "name": owner, "uid": owner, "controller": True}
        metadata["ownerReferences"] = [{"apiVersion": names.API_VERSION, **reference}]
    record = ServerRecord.parse({"metadata": metadata, "spec": spec})
    served: dict[Pod, dict[str, ServedModel] | None] = dict.fromkeys(pods)
    return plan_content(
        world,
        record,
        server(**spec),
        workload or Workload(),
        served,
        claim=None,
        backends=(),
        loading={},
        now=NOW,
    )


def world(**fields: Any) -> ServerWorld:
    return ServerWorld(None, **({"models": (model("resnet"),)} | fields))


def synced(content: Content) -> ServerWorld:
    """The same models, and a Job that has made what was planned."""
    digest = content.manifest.digest()
    job = SyncJob("sync-1", 1, digest, complete=True, finished_at=NOW)
    outcome = Outcome({}, revision=revision_digest(content.manifest.links))
    said = encode_outcome(digest, outcome)
    told = Pod("sync", component="sync", job="sync-1", finished=True, termination_message=said)
    return world(jobs=(job,), pods=(told,))


def test_a_server_of_its_own_starts_its_first_job_at_once_and_a_shared_one_gathers() -> None:
    own, shared = plan(world(), owner="resnet"), plan(world())

    assert own.sync.start is not None
    assert own.sync.start.manifest == own.manifest.digest()
    assert (shared.sync.state, shared.sync.start) == (SyncState.WAITING, None)
    assert plan(world(), Workload(exists=True)).sync.start is not None


def test_a_model_that_leaves_keeps_its_link_and_nothing_new_of_it_is_built() -> None:
    status = TritonModelStatus(server="vision", model_name="resnet", config_hash="good")
    leaving = model("resnet", status=status, serverRef={"name": "elsewhere"})

    content = plan(world(models=(model("bert"),), leaving=(leaving,)))

    linked = {link.model: link.hash for link in content.manifest.links}
    assert linked == {"resnet": "good", "bert": hash_of(model("bert"))}
    assert [each.object for each in content.manifest.generations] == ["bert"]


def test_pods_of_links_ask_for_no_revision() -> None:
    content = plan(world(), Workload(exists=True), (pod(),))
    assert (content.repository, content.startable) == (LINKS, {LINKS})
    assert not content.manifest.immutable


def test_a_revision_that_is_on_the_claim_replaces_the_old_one_which_stays_for_its_pods() -> None:
    old = (pod(repository="live"),)
    before = plan(world(), LIVE, old, **ROLLOUT)
    assert (before.repository, before.startable) == ("live", {"live"})

    after = plan(synced(before), LIVE, old, **ROLLOUT)

    assert after.sync.state is SyncState.DONE
    revision = revision_digest((Link("resnet", "resnet", hash_of(model("resnet"))),))
    assert after.repository == revision
    assert after.startable == {"live", revision}
    assert set(after.manifest.keep_revisions) == {"live", revision}
    # To keep something is no reason for another Job.
    assert after.manifest.digest() == before.manifest.digest()


@pytest.mark.parametrize(("spec", "kept"), [({}, True), (ROLLOUT, False)])
def test_pods_that_serve_otherwise_keep_what_is_good_while_the_server_changes_over(
    spec: dict[str, Any], kept: bool
) -> None:
    status = TritonModelStatus(server="vision", model_name="resnet", config_hash="good")
    known = replace(model("resnet"), status=status)
    content = plan(world(models=(known,)), LIVE, (pod(repository="live"),), **spec)

    (link,) = content.manifest.links
    assert link.hash == ("good" if kept else hash_of(known))


@pytest.mark.parametrize(
    ("why", "held"),
    [({}, True), ({"refuses_arguments": True}, False), ({"never_ran": True}, False)],
)
def test_a_change_is_kept_from_pods_that_crash_unless_no_model_can_be_the_reason(
    why: dict[str, bool], held: bool
) -> None:
    status = TritonModelStatus(server="vision", model_name="resnet", config_hash="good")
    known = replace(model("resnet"), status=status)
    serving = pod("serving")
    crashing = pod("crashing", ready=False, running=False, crash="exit code 1", restarts=3)
    crashing = replace(crashing, **why)

    content = plan(world(models=(known,)), LIVE_LINKS, (serving, crashing))

    (each,) = content.plans
    (link,) = content.manifest.links
    if held:
        assert each.hold is not None
        assert each.hold.reason == "ServerCrashing"
        assert each.hold.message.endswith("Generation good keeps serving")
        assert link.hash == "good"
    else:
        assert (each.hold, link.hash) == (None, hash_of(known))
