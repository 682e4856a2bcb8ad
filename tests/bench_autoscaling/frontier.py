"""Who is beaten: by fewer requests over target and fewer pod-hours at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tests.bench_autoscaling.policies import OURS, UNREAL
from tests.bench_autoscaling.trial import Outcome

Outcomes = Mapping[str, Sequence[Outcome]]
"""By policy, one for each seed."""
# 97.5 % quantiles of Student's t by degrees of freedom, for the few seeds of a run.
_STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)


@dataclass(frozen=True)
class Defeat:
    """A baseline with fewer requests over target and fewer pod-hours than a setting of ours."""

    by: str
    late: float
    """Share of requests over target that it has less, mean over seeds."""
    hours: float
    """Pod-hours that it has less."""
    significant: bool
    """Whether the 95 % intervals of both differences, paired by seed, are above 0."""

    @property
    def real(self) -> bool:
        """Whether the baseline knows no more than we do; fixed sizes were chosen in hindsight."""
        return not self.by.startswith(UNREAL)

    def __str__(self) -> str:
        sure = "" if self.significant else ", not significant"
        return f"{self.by} (by {100 * self.late:.2f} % and {self.hours:.1f} pod-hours{sure})"


def find_defeats(policy: str, outcomes: Outcomes) -> list[Defeat]:
    """Return who dominates a policy in the mean over seeds; the clairvoyant does not count."""
    ours = outcomes[policy]
    found = []
    for other, theirs in outcomes.items():
        if other.startswith((OURS, "clairvoyant")):
            continue
        late = np.array([a.late - b.late for a, b in zip(ours, theirs, strict=True)])
        hours = np.array([a.pod_hours - b.pod_hours for a, b in zip(ours, theirs, strict=True)])
        if late.mean() > 0 and hours.mean() > 0:
            sure = len(ours) > 1 and all(
                each.mean() > half_interval(each) for each in (late, hours)
            )
            found.append(Defeat(other, float(late.mean()), float(hours.mean()), sure))
    return found


def half_interval(values: Sequence[float] | np.ndarray) -> float:
    """Return half of the 95 % confidence interval of the mean (Student's t)."""
    quantile = _STUDENT[min(len(values) - 2, len(_STUDENT) - 1)]
    return float(quantile * np.std(values, ddof=1) / np.sqrt(len(values)))


def find_frontier(outcomes: Outcomes) -> list[tuple[float, float]]:
    """Return pod-hours and late shares of those online baselines that none of them dominates."""
    points = sorted(
        (float(np.mean([o.pod_hours for o in each])), float(np.mean([o.late for o in each])))
        for policy, each in outcomes.items()
        if not policy.startswith((OURS, *UNREAL))
    )
    frontier: list[tuple[float, float]] = []
    for hours, late in points:
        if not frontier or late < frontier[-1][1]:
            frontier.append((hours, late))
    return frontier


def describe_defeats(everything: Mapping[str, Outcomes]) -> str:
    """Return a Markdown section: where a baseline dominates one of our settings."""
    lines = ["### Frontier: baselines with fewer requests over target and fewer pod-hours", ""]
    beaten = tried = 0
    for scenario, outcomes in everything.items():
        for policy in (each for each in outcomes if each.startswith(OURS)):
            defeats = find_defeats(policy, outcomes)
            online = [str(each) for each in defeats if each.real]
            fixed = [str(each) for each in defeats if not each.real]
            tried += 1
            beaten += bool(online)
            if online:
                lines.append(f"- **{scenario}: {policy}** by {'; '.join(online)}")
            if fixed:
                lines.append(f"- {scenario}: {policy}, in hindsight by {'; '.join(fixed)}")
    lines.append(f"- An online baseline dominates {beaten} of {tried} settings of ours.")
    return "\n".join([*lines, ""])
