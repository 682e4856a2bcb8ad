"""How many pods of a server may be evicted at once."""

import pytest

from tests.unit.desired.servers import KEY, server
from triton_operator.desired import build_children
from triton_operator.desired.disruption_budget import build_disruption_budget
from triton_operator.desired.metadata import build_selector


@pytest.mark.parametrize("replicas", [0, 1])
def test_a_single_pod_does_not_hold_up_the_drain_of_its_node(replicas: int) -> None:
    assert build_disruption_budget(server("vision"), replicas) is None


@pytest.mark.parametrize("replicas", [2, 3, 50])
def test_several_pods_go_one_at_a_time_and_broken_ones_whenever(replicas: int) -> None:
    built = build_disruption_budget(server("vision"), replicas)

    assert built is not None
    assert built["metadata"]["name"] == "vision"
    assert built["spec"] == {
        "maxUnavailable": 1,
        "selector": {"matchLabels": build_selector("vision")},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }


def test_a_budget_that_is_not_wanted_any_more_is_known_by_name() -> None:
    def unwanted(replicas: int) -> bool:
        children = build_children(
            server("vision"),
            default_image="triton",
            replicas=replicas,
            control_key=KEY,
            probe_model=None,
        )
        return ("PodDisruptionBudget", "vision") in children.unwanted()

    assert (unwanted(1), unwanted(2)) == (True, False)
