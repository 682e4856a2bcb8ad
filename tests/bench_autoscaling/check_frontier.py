"""What the report calls beaten."""

import numpy as np

from tests.bench_autoscaling.frontier import describe_defeats, find_defeats, find_frontier
from tests.bench_autoscaling.trial import Outcome


def outcomes(late: list[float], hours: list[float]) -> list[Outcome]:
    return [
        Outcome(share, pods, turns=0, reaction=0.0, pods=np.zeros(1))
        for share, pods in zip(late, hours, strict=True)
    ]


OURS = outcomes([0.05, 0.06, 0.05], [20, 22, 21])
BETTER = outcomes([0.04, 0.05, 0.04], [19, 21, 20])
CHEAPER = outcomes([0.06, 0.07, 0.06], [10, 10, 10])
ODD = outcomes([0.01, 0.07, 0.05], [12, 22, 20])


def test_who_needs_less_of_both_dominates_and_who_needs_less_of_one_does_not() -> None:
    found = find_defeats("ours", {"ours": OURS, "HPA": BETTER, "KEDA": CHEAPER})

    assert [(each.by, each.significant, each.real) for each in found] == [("HPA", True, True)]


def test_a_mean_that_the_seeds_do_not_agree_on_is_not_significant() -> None:
    assert [each.significant for each in find_defeats("ours", {"ours": OURS, "HPA": ODD})] == [
        False
    ]


def test_fixed_sizes_are_told_apart_and_the_clairvoyant_is_left_out() -> None:
    everything = {"ours": OURS, "static, 4 pods": BETTER, "clairvoyant, 70 %": BETTER}

    report = describe_defeats({"steps": everything})

    assert "in hindsight by static, 4 pods" in report
    assert "clairvoyant" not in report
    assert "dominates 0 of 1" in report


def test_the_frontier_is_of_the_online_baselines_that_none_dominates() -> None:
    everything = {"ours": OURS, "HPA": BETTER, "KEDA": CHEAPER, "Knative": outcomes([0.5], [50])}

    assert find_frontier({**everything, "static, 4 pods": outcomes([0.0], [1])}) == [
        (10.0, np.mean([0.06, 0.07, 0.06])),
        (20.0, np.mean([0.04, 0.05, 0.04])),
    ]
