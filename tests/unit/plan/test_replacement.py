"""When `rollout: Auto` ends an old pod to make room for a new one."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.plan.values import NOW, later, pod, server
from triton_operator.observed import Pod, Workload
from triton_operator.plan.replacement import await_room, must_replace_in_place

GPU = "nvidia.com/gpu"
NO_GPU = f"0/2 nodes are available: 2 Insufficient {GPU}. preemption: 0/2 nodes are available."
SURGING = Workload(
    exists=True, observed=True, desired=2, replicas=3, updated=1, ready=2, revision="new"
)
IN_PLACE = replace(SURGING, in_place=True)


def old(name: str = "a", *, gpus: str = "1", **fields: object) -> Pod:
    return pod(name, revision="old", requests=((GPU, gpus), ("memory", "2Gi")), **fields)


def new(said: str = NO_GPU, *, gpus: str = "1", **fields: object) -> Pod:
    given = {"unschedulable": said, "unschedulable_since": NOW, "ready": False, "running": False}
    requests = ((GPU, gpus), ("memory", "2048Mi"))
    return pod("new", revision="new", requests=requests, **(given | fields))


def decide(*pods: Pod, workload: Workload = SURGING, rollout: str = "Auto", at: float = 10) -> bool:
    return must_replace_in_place(server(rollout=rollout), workload, pods, now=later(at))


def test_a_spare_pod_that_finds_no_room_has_an_old_one_make_it() -> None:
    assert decide(old("a"), old("b"), new())


@pytest.mark.parametrize("rollout", ["ResourceAware", "Availability"])
def test_only_auto_decides(rollout: str) -> None:
    assert not decide(old(), new(), rollout=rollout)
    assert not decide(old(), new(), rollout=rollout, workload=IN_PLACE)


def test_a_spare_pod_is_given_a_moment() -> None:
    assert not decide(old(), new(), at=4)


def test_a_pod_that_leaves_makes_room_already() -> None:
    assert not decide(old("a", terminating=True), old("b"), new())
    assert decide(old("a", finished=True), old("b"), new())


def test_a_pod_that_leaves_for_ever_makes_no_room() -> None:
    leaving = old("a", terminating=True, ends_at=later(30))

    assert not decide(leaving, old("b"), new(), at=89)
    assert decide(leaving, old("b"), new(), at=90)


def over_quota(requested: str, used: str, limited: str, **fields: Any) -> Workload:
    said = f"exceeded quota: team-a, requested: {requested}, used: {used}, limited: {limited}"
    refused = f'FailedCreate: pods "vision-x" is forbidden: {said}'
    return replace(SURGING, refused=refused, updated=0, **fields)


NO_QUOTA = over_quota(f"requests.{GPU}=1", f"requests.{GPU}=2", f"requests.{GPU}=2")


def test_a_quota_that_refuses_the_spare_pod_is_no_room_either() -> None:
    assert decide(old("a"), old("b"), workload=NO_QUOTA)
    assert not decide(old("a"), old("b"), workload=NO_QUOTA, rollout="Availability")
    assert not decide(old("a", terminating=True), old("b"), workload=NO_QUOTA)
    assert not decide(replace(old(), revision="new"), workload=NO_QUOTA), "no rollout"
    assert not decide(old("a"), old("b"), workload=replace(NO_QUOTA, refused="no: policy"))


def test_a_quota_that_refuses_another_pod_than_the_spare_one_is_no_reason() -> None:
    starting = pod("new", revision="new", ready=False)
    assert not decide(old("a"), starting, workload=NO_QUOTA)
    assert decide(old("a"), replace(starting, ready=True), workload=NO_QUOTA)


@pytest.mark.parametrize(
    ("requested", "used", "limited", "wanted"),
    [
        ("pods=1", "pods=2", "pods=2", True),
        ("pods=1", "pods=3", "pods=2", False),
        ("requests.memory=3Gi", "requests.memory=4Gi", "requests.memory=5Gi", True),
        ("requests.memory=4Gi", "requests.memory=4Gi", "requests.memory=5Gi", False),
        ("memory=2Gi,pods=1", "memory=4Gi,pods=2", "memory=4Gi,pods=2", True),
        ("limits.memory=2Gi", "limits.memory=4Gi", "limits.memory=4Gi", True),
        ("limits.memory=2Gi,limits.cpu=1", "limits.memory=4Gi", "limits.memory=4Gi", False),
        ("limits.cpu=1", "limits.cpu=2", "limits.cpu=2", False),
        ("memory=many", "memory=4Gi", "memory=4Gi", False),
        ("memory=1Gi", "memory=4Gi", "memory=?", False),
        ("nothing", "at", "all", False),
    ],
)
def test_nothing_is_given_up_where_a_quota_would_not_allow_a_new_pod_then_either(
    requested: str, used: str, limited: str, wanted: bool
) -> None:
    pods = [old(name, memory_limit="2Gi") for name in "ab"]
    assert decide(*pods, workload=over_quota(requested, used, limited)) is wanted


def test_a_pod_that_leaves_makes_no_room_of_a_kind_that_it_has_not() -> None:
    none, some = old("a", gpus="0", terminating=True), old("a", gpus="0.5", terminating=True)

    assert decide(none, old("b"), new())
    assert not decide(none, old("b"), new(f"2 Insufficient memory, 2 Insufficient {GPU}."))
    assert not decide(some, old("b"), new()), "others may leave with the rest"
    assert not decide(none, new()), "it has gone already"


def test_more_pods_are_no_rollout() -> None:
    assert not decide(replace(old(), revision="new"), new())
    assert not decide(old("a"), replace(new(), revision="old"))


@pytest.mark.parametrize(
    ("said", "gpus", "wanted"),
    [
        (f"0/1 nodes are available: 1 Insufficient {GPU}, 1 Insufficient memory.", "1", True),
        (f"0/1 nodes are available: 1 Insufficient {GPU}", "0.5", True),
        (f"0/1 nodes are available: 1 Insufficient {GPU}", "2", False),
        ("0/1 nodes are available: 1 Insufficient cpu", "1", True),
        ("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity", "1", False),
        ("0/1 nodes are available: 1 node(s) had untolerated taint {a: b}", "1", False),
        ("unschedulable", "1", False),
    ],
)
def test_nothing_is_given_up_for_a_pod_that_would_not_fit_then_either(
    said: str, gpus: str, wanted: bool
) -> None:
    assert decide(old(), new(said, gpus=gpus)) is wanted


@pytest.mark.parametrize(
    ("changed", "stays"),
    [
        ({}, True),
        ({"observed": False}, True),
        # The last old pod has gone, the last new one is starting.
        ({"replicas": 2, "updated": 2, "ready": 1}, True),
        ({"replicas": 2, "updated": 2, "ready": 2}, False),
    ],
)
def test_it_is_decided_once_for_a_rollout(changed: dict[str, int], stays: bool) -> None:
    assert decide(old(), new(unschedulable=""), workload=replace(IN_PLACE, **changed)) is stays


def test_while_room_is_made_a_pod_that_waits_for_it_is_no_news_but_not_for_ever() -> None:
    vision = server(drainSeconds=10)

    def told(at: float) -> list[str]:
        pods, workload = await_room([old(), new()], refused, vision, now=later(at))
        return [*(each.unschedulable for each in pods), workload.refused]

    refused = replace(NO_QUOTA, refused_since=NOW)
    assert told(69) == ["", "", ""]
    assert told(70) == ["", NO_GPU, refused.refused]
    refused = replace(refused, refused="denied by a policy")
    assert told(69) == ["", "", refused.refused]
