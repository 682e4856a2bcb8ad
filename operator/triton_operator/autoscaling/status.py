"""What a decision looks like in ``status.autoscaling``."""

from datetime import datetime

from triton_operator.api.autoscaling import AutoscalingStatus, ModelLoad, ScalingDecision
from triton_operator.autoscaling.decision import Decision
from triton_operator.autoscaling.model_need import ModelNeed

KEPT_DECISIONS = 5
SHOWN_MODELS = 20


def build_status(
    decision: Decision, previous: AutoscalingStatus | None, startup: float | None, time: datetime
) -> AutoscalingStatus:
    """Return the status after a decision; ``previous`` holds those before it.

    ``startup`` is the measured start-up time of pods, in seconds; None before it was measured.
    Numbers are rounded to what a person reads, so that a steady load leaves the status as it is.
    """
    decisions = previous.decisions if previous is not None else ()
    if decision.desired != decision.previous:
        made = ScalingDecision(
            time=time,
            previous=decision.previous,
            desired=decision.desired,
            reason=decision.reason,
        )
        decisions = (made, *decisions)[:KEPT_DECISIONS]
    needs = [each for each in decision.needs if not each.unseen]
    finished = sum(each.signals.finished for each in needs)
    waited = sum(each.signals.waited for each in needs)
    return AutoscalingStatus(
        desired=decision.desired,
        queue_time_milliseconds=_milliseconds(waited / finished) if finished > 0 else None,
        # Where nothing was measured, 0 would be the number of an idle server.
        expected_queue_time_milliseconds=(
            _milliseconds(max(each.signals.fullest * (each.service or 0.0) for each in needs))
            if needs
            else None
        ),
        utilization=(round(max(each.signals.utilization for each in needs), 2) if needs else None),
        pending=sum(each.signals.pending for each in needs) if needs else None,
        startup_seconds=None if startup is None else round(startup),
        window_seconds=_window(needs),
        pods_answering=f"{decision.answering}/{decision.ready}",
        hold=decision.hold,
        models=tuple(_model(each) for each in decision.needs[:SHOWN_MODELS]),
        decisions=decisions,
    )


def _window(needs: list[ModelNeed]) -> int | None:
    return max((round(each.rule.window) for each in needs if each.rule is not None), default=None)


def _model(need: ModelNeed) -> ModelLoad:
    signals = need.signals
    if need.unseen:
        arrivals = _significant(need.arrivals)
        return ModelLoad(name=need.model, arrivals_per_second=arrivals, pending=signals.pending)
    wait = signals.mean_wait
    return ModelLoad(
        name=need.model,
        arrivals_per_second=_significant(need.arrivals),
        pending=signals.pending,
        queue_time_milliseconds=_milliseconds(wait) if wait is not None else None,
        service_time_milliseconds=(
            _milliseconds(need.service) if need.service is not None else None
        ),
        offered_load=_significant(need.load) if need.load is not None else None,
        target_utilization=round(need.rule.level, 2) if need.rule is not None else None,
        desired=need.pods,
    )


def _milliseconds(seconds: float) -> float:
    return _significant(seconds * 1000)


def _significant(value: float) -> float:
    """Round to two significant digits."""
    return float(f"{value:.2g}")
