"""What access modes allow: which claims are refused, and which keep all pods on one node."""

from typing import Any

import pytest

from tests.unit.plan.values import NOW, later, pod
from triton_operator.api.server import TritonServer
from triton_operator.observed import Claim
from triton_operator.plan.claim import (
    ClaimNotUsableError,
    access_modes,
    check_claim,
    explain_one_node,
    explain_unbound,
    name_claim,
    needs_one_node,
)


def server(**spec: Any) -> TritonServer:
    return TritonServer.parse({"metadata": {"name": "vision"}, "spec": spec})


ON_OURS = server(repository={"claimName": "models"})


def claim(*modes: str) -> Claim:
    return Claim.parse({"metadata": {"name": "models"}, "spec": {"accessModes": list(modes)}})


@pytest.mark.parametrize(
    ("modes", "one_node"),
    [
        (["ReadWriteMany"], False),
        (["ReadWriteOnce", "ReadWriteMany"], False),
        (["ReadWriteOnce"], True),
        (["ReadOnlyMany", "ReadWriteOnce"], True),
    ],
)
def test_a_claim_that_can_be_written_is_used(modes: list[str], one_node: bool) -> None:
    found = access_modes(ON_OURS, claim(*modes))

    check_claim(ON_OURS, found)
    assert needs_one_node(found) is one_node


@pytest.mark.parametrize(
    ("mode", "words"),
    [("ReadOnlyMany", "can only be read"), ("ReadWriteOncePod", "one pod at a time")],
)
def test_a_claim_that_sync_jobs_and_pods_cannot_share_is_refused(mode: str, words: str) -> None:
    with pytest.raises(ClaimNotUsableError) as refusal:
        check_claim(ON_OURS, access_modes(ON_OURS, claim(mode)))

    assert words in str(refusal.value)
    assert "spec.repository.claimName: claim 'models'" in str(refusal.value)


def test_nothing_is_held_against_a_claim_that_is_not_there_yet() -> None:
    found = access_modes(ON_OURS, None)

    check_claim(ON_OURS, found)
    assert not needs_one_node(found)


def unbound(words: str, *, phase: str = "Pending", at: float = 60, name: str = "slow") -> str:
    """Return what is told of a claim while a pod waits with these words."""
    body = {
        "metadata": {"name": "vision-repository"},
        "spec": {"storageClassName": name} if name else {},
        "status": {"phase": phase},
    }
    waiting = pod("a", unschedulable=words, unschedulable_since=NOW)
    return explain_unbound(Claim.parse(body), [pod("b"), waiting], now=later(at))


IMMEDIATE = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"


@pytest.mark.parametrize(
    "words",
    [
        IMMEDIATE,
        "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.",
        'running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded',
    ],
)
def test_a_claim_that_gets_no_volume_is_named_where_a_pod_waits_for_it(words: str) -> None:
    told = unbound(words)

    assert "claim 'vision-repository' (StorageClass 'slow') is not bound" in told
    assert "kubectl describe pvc vision-repository" in told
    assert "no StorageClass" in unbound(words, name="")
    named = name_claim([pod("a", unschedulable=words), pod("b", unschedulable="no GPU")], told)
    assert [each.unschedulable for each in named] == [f"{words}: {told}", "no GPU"]
    assert name_claim(named, "") == named


def test_a_claim_without_a_volume_is_no_fault_while_pods_wait_for_something_else() -> None:
    """That of a class which waits for its first pod is Pending until the pod has a node."""
    assert unbound("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.") == ""
    assert unbound("") == ""
    assert unbound(IMMEDIATE, phase="Bound") == ""
    assert unbound(IMMEDIATE, at=1) == ""
    assert explain_unbound(None, [pod("a", unschedulable=IMMEDIATE)], now=NOW) == ""


def test_a_claim_that_is_made_is_judged_by_the_spec() -> None:
    assert needs_one_node(access_modes(server(repository={"accessModes": ["ReadWriteOnce"]}), None))
    assert not needs_one_node(access_modes(server(), None))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"replicas": 3}, "spec.replicas"),
        ({"autoscaling": {"maxReplicas": 3}}, "spec.autoscaling.maxReplicas"),
    ],
)
def test_several_pods_on_a_claim_for_one_node_are_warned_of(
    spec: dict[str, Any], field: str
) -> None:
    once = frozenset({"ReadWriteOnce"})

    message = explain_one_node(server(**spec), once)

    assert "3 pods" in message
    assert field in message
    assert "ReadWriteMany" in message
    assert explain_one_node(server(**spec), frozenset({"ReadWriteMany"})) == ""
    assert explain_one_node(server(replicas=1), once) == ""
    assert explain_one_node(server(), once) == ""
