"""Outcomes over seeds as a table and a plot."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from tests.bench_autoscaling.frontier import (
    Outcomes,
    find_defeats,
    find_frontier,
    half_interval,
)
from tests.bench_autoscaling.policies import OURS, UNREAL
from tests.bench_autoscaling.trial import Outcome

mpl.use("Agg")
import matplotlib.pyplot as plt


def build_table(name: str, outcomes: Outcomes) -> str:
    """Return a Markdown table, the mean over seeds with the 95 % confidence interval."""
    rows = [
        f"### {name}",
        "",
        "| policy | over target, % | pod-hours | turns | reaction, s | dominated by |",
        "|---|---|---|---|---|---|",
    ]
    for policy, each in outcomes.items():
        rows.append(
            f"| {policy} | {_interval([100 * o.late for o in each], 3)}"
            f" | {_interval([o.pod_hours for o in each], 1)}"
            f" | {np.mean([o.turns for o in each]):.0f} | {_reaction(each)}"
            f" | {_dominating(policy, outcomes)} |"
        )
    return "\n".join([*rows, ""])


def _dominating(policy: str, outcomes: Outcomes) -> str:
    if not policy.startswith(OURS):
        return ""
    return ", ".join(each.by for each in find_defeats(policy, outcomes))


def _means(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    return (
        float(np.mean([each.late for each in outcomes])),
        float(np.mean([each.pod_hours for each in outcomes])),
    )


def _interval(values: Sequence[float], digits: int) -> str:
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {half_interval(values):.{digits}f}"


def _reaction(outcomes: Sequence[Outcome]) -> str:
    times = [each.reaction for each in outcomes if not np.isnan(each.reaction)]
    return f"{np.median(times):.0f}" if times else "-"


def write_outcomes(path: Path, all_outcomes: Mapping[str, Outcomes]) -> None:
    """Write every single outcome, to calculate with."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("scenario", "policy", "late", "pod_hours", "turns", "reaction_seconds"))
        for scenario, outcomes in all_outcomes.items():
            for policy, each in outcomes.items():
                for o in each:
                    table.writerow((scenario, policy, o.late, o.pod_hours, o.turns, o.reaction))


def plot_frontiers(path: Path, all_outcomes: Mapping[str, Outcomes]) -> None:
    """Draw requests over target against pod-hours, one panel for each scenario."""
    columns = min(4, len(all_outcomes))
    lines = -(-len(all_outcomes) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(5 * columns, 4 * lines), squeeze=False)
    for panel, (name, outcomes) in zip(axes.flat, all_outcomes.items(), strict=False):
        for policy, each in outcomes.items():
            late, hours = _means(each)
            panel.scatter(hours, max(100 * late, 1e-3), **_style(policy))
        frontier = [(hours, max(100 * late, 1e-3)) for hours, late in find_frontier(outcomes)]
        if frontier:  # no baseline was run
            panel.step(*zip(*frontier, strict=True), where="post", color="tab:blue", linewidth=0.8)
        panel.set(title=name, yscale="log", xlabel="pod-hours", ylabel="over target, %")
    for panel in axes.flat[len(all_outcomes) :]:
        panel.axis("off")
    axes.flat[0].legend(
        handles=[
            plt.Line2D([], [], linestyle="", label=label, **_marker(label))
            for label in (OURS, "HPA", "Knative", "KEDA", *UNREAL)
        ],
        fontsize=7,
    )
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def plot_day(path: Path, counts: np.ndarray, capacity: float, outcomes: Outcomes) -> None:
    """Draw the load in pods, and the pods that each policy asked for."""
    figure, panel = plt.subplots(figsize=(12, 4))
    hours = np.arange(len(counts)) / 3600
    smooth = np.convolve(counts, np.ones(15) / 15, "same") / capacity
    panel.fill_between(hours, smooth, color="0.85", label="load, busy pods")
    for policy, each in outcomes.items():
        panel.plot(hours, each[0].pods, label=policy, linewidth=1)
    panel.set(xlabel="hours", ylabel="pods")
    panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


_MARKERS = {
    OURS: ("*", "tab:red"),
    "HPA": ("o", "tab:blue"),
    "Knative": ("s", "tab:green"),
    "KEDA": ("^", "tab:purple"),
    "static": ("x", "0.5"),
    "clairvoyant": ("d", "black"),
}


def _marker(family: str) -> dict[str, str]:
    marker, color = _MARKERS[family]
    return {"marker": marker, "color": color}


def _style(policy: str) -> dict[str, object]:
    family = policy.split(",", maxsplit=1)[0]
    return {**_marker(family), "s": 90 if family == OURS else 25}
