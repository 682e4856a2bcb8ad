"""Which Secrets with keys a server is to have, from what there is."""

from dataclasses import replace

import pytest

from tests.unit.desired.servers import meta
from triton_operator import names
from triton_operator.api.meta import ObjectMeta
from triton_operator.desired.control_key import KeyPlan, plan_control_keys
from triton_operator.desired.metadata import ChildNames
from triton_operator.observed import Pod, Workload

FIRST = "vision-control-key"
MONDAY, TUESDAY = (ChildNames("vision").control_key(day) for day in ("monday", "tuesday"))
SERVED = Workload(
    exists=True, observed=True, desired=2, replicas=2, updated=2, ready=2, control_key=FIRST
)
ROLLING = replace(SERVED, updated=1, ready=2, control_key=MONDAY, other_keys=frozenset({FIRST}))
ROLLED = replace(ROLLING, updated=2)


def asked(request: str = "") -> ObjectMeta:
    annotations = {names.ANNOTATION_ROTATE_CONTROL_KEY: request} if request else {}
    return meta("vision").model_copy(update={"annotations": annotations})


def pods(*secrets: str) -> list[Pod]:
    return [Pod(f"pod-{n}", control_key=secret) for n, secret in enumerate(secrets)]


def test_a_new_server_has_one_key() -> None:
    assert plan_control_keys(asked(), Workload(), ()) == KeyPlan(FIRST)
    assert plan_control_keys(asked("monday"), Workload(), ()) == KeyPlan(MONDAY)


def test_without_a_request_the_key_stays() -> None:
    assert plan_control_keys(asked(), SERVED, pods(FIRST, FIRST)) == KeyPlan(FIRST)


def test_a_request_makes_a_key_and_keeps_the_one_of_the_pods() -> None:
    announced = plan_control_keys(asked("monday"), SERVED, pods(FIRST, FIRST))
    assert announced == KeyPlan(FIRST, others=frozenset({MONDAY}), announced=True)

    written = replace(SERVED, other_keys=frozenset({MONDAY}))
    plan = plan_control_keys(asked("monday"), written, pods(FIRST, FIRST))
    assert plan == KeyPlan(MONDAY, others=frozenset({FIRST}))
    assert len({FIRST, MONDAY, TUESDAY}) == 3


@pytest.mark.parametrize("left", [(), (FIRST,)])
def test_an_old_key_is_kept_while_pods_may_be_made_with_it(left: tuple[str, ...]) -> None:
    plan = plan_control_keys(asked("monday"), ROLLING, pods(*left, MONDAY))

    assert plan == KeyPlan(MONDAY, others=frozenset({FIRST}))


def test_an_old_key_is_kept_while_a_pod_that_leaves_has_it() -> None:
    plan = plan_control_keys(asked("monday"), ROLLED, pods(FIRST, MONDAY, MONDAY))

    assert plan == KeyPlan(MONDAY, others=frozenset({FIRST}))


def test_an_old_key_is_deleted_when_no_pod_has_it_and_then_the_request_is_carried_out() -> None:
    rolled = plan_control_keys(asked("monday"), ROLLED, pods(MONDAY, MONDAY))
    assert rolled == KeyPlan(MONDAY, retired=frozenset({FIRST}), rotated="monday")

    after = replace(ROLLED, other_keys=frozenset())
    again = plan_control_keys(asked("monday"), after, pods(MONDAY, MONDAY))
    assert again == KeyPlan(MONDAY, rotated="monday")


def test_a_request_that_comes_during_another_ones_rollout_keeps_all_keys() -> None:
    announced = plan_control_keys(asked("tuesday"), ROLLING, pods(FIRST, MONDAY))
    assert announced == KeyPlan(MONDAY, others=frozenset({FIRST, TUESDAY}), announced=True)

    written = replace(ROLLING, other_keys=announced.others)
    plan = plan_control_keys(asked("tuesday"), written, pods(FIRST, MONDAY))
    assert plan == KeyPlan(TUESDAY, others=frozenset({FIRST, MONDAY}))


def test_a_request_that_is_replaced_before_it_has_begun_leaves_nothing() -> None:
    written = replace(SERVED, other_keys=frozenset({MONDAY}))

    taken_back = plan_control_keys(asked(), written, pods(FIRST, FIRST))

    assert taken_back == KeyPlan(FIRST, retired=frozenset({MONDAY}))


def test_a_request_that_is_taken_back_changes_nothing() -> None:
    assert plan_control_keys(asked(), ROLLING, pods(FIRST, MONDAY)) == KeyPlan(
        MONDAY, others=frozenset({FIRST})
    )


def test_the_secrets_of_others_are_neither_read_nor_deleted() -> None:
    """Who may write pods or the Deployment has no right to delete Secrets."""
    others = ("database", "vision-control-key-backup", "pool-control-key", f"{FIRST}\n")
    written = replace(ROLLED, other_keys=frozenset(others))

    plan = plan_control_keys(asked("monday"), written, pods(MONDAY, *others))

    assert plan == KeyPlan(MONDAY, rotated="monday")
    template = replace(SERVED, control_key="database")
    assert plan_control_keys(asked(), template, pods("database")) == KeyPlan(FIRST)
