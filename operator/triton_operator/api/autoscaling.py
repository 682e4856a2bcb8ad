"""The ``autoscaling`` of a ``TritonServer``: what is asked for, and what is decided."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from triton_operator.api.meta import Observed, Resource
from triton_operator.api.rules import Rule


class ScaleUp(Resource):
    """How quickly pods are added."""

    stabilization_window_seconds: Annotated[int, Field(ge=0, le=3600)] = 0
    """How long more pods must have been needed before they are asked for, in seconds."""
    max_pods: Annotated[int, Field(ge=1, le=1000)] = 1000
    """Most pods to add in one periodSeconds."""
    period_seconds: Annotated[int, Field(ge=1, le=1800)] = 15
    """Time that maxPods is counted over, in seconds."""


class ScaleDown(Resource):
    """How slowly pods are taken away."""

    rules = (
        Rule(
            # The API server holds the rule against the default, {}, without the defaults inside.
            cel="!has(self.stabilizationWindowSeconds) || !has(self.longestWindowSeconds)"
            " || self.stabilizationWindowSeconds <= self.longestWindowSeconds",
            message="scaleDown.stabilizationWindowSeconds must not be above longestWindowSeconds:"
            " lower it or raise longestWindowSeconds",
            holds=lambda self: self.stabilization_window_seconds <= self.longest_window_seconds,
        ),
    )

    stabilization_window_seconds: Annotated[int, Field(ge=0, le=3600)] = 300
    """How long fewer pods must have sufficed before pods are taken away, in seconds."""
    longest_window_seconds: Annotated[int, Field(ge=0, le=14400)] = 3600
    """How far that window may grow, in seconds, while the load returns more often than that;
    set it to stabilizationWindowSeconds to have a fixed window."""
    max_percent: Annotated[int, Field(ge=1, le=100)] = 25
    """Largest part of the pods, in percent, to take away in one periodSeconds; always at least
    one pod."""
    period_seconds: Annotated[int, Field(ge=1, le=1800)] = 15
    """Time that maxPercent is counted over, in seconds."""


class Autoscaling(Resource):
    """How many pods there are, decided by the requests that arrive and wait."""

    rules = (
        Rule(
            cel="self.minReplicas <= self.maxReplicas",
            message="minReplicas must not be above maxReplicas: lower one or raise the other",
            holds=lambda self: self.min_replicas <= self.max_replicas,
        ),
    )

    min_replicas: Annotated[
        int,
        Field(le=1000),
        Rule(
            cel="self >= 1",
            message="minReplicas must be 1 or more: with no pod left there is nothing that sees"
            " a request arrive, so nothing would start the server again",
            holds=lambda replicas: replicas >= 1,
        ),
    ] = 1
    """Fewest pods to keep; 0 is refused, as nothing could wake the server again."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)]
    """Most pods to run."""
    target_queue_time_milliseconds: Annotated[int, Field(ge=1, le=600_000)] = 100
    """How long a request may wait in a queue, in milliseconds; below about five service times it
    cannot be kept at any sensible cost, and five service times are taken."""
    tail: Annotated[float, Field(ge=0.0001, le=0.5)] = 0.05
    """Share of the requests that may wait longer than targetQueueTimeMilliseconds; 0.05 is 5 %."""
    scale_up: ScaleUp = ScaleUp()
    """How quickly pods are added."""
    scale_down: ScaleDown = ScaleDown()
    """How slowly pods are taken away."""
    mode: Literal["Active", "Observe"] = "Active"
    """Whether decisions are carried out (Active) or only reported in the status (Observe)."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Who comes first when servers share a limit of GPUs: a higher number is served before a
    lower one; equal ones share by what they need."""


class ScalingDecision(Observed):
    """One change of the number of pods, and why."""

    time: datetime
    """When it was decided."""
    previous: int
    """Number of pods before."""
    desired: int
    """Number of pods decided on."""
    reason: str = ""
    """Why, with the numbers that it was decided on."""


class ModelLoad(Observed):
    """What one model is asked for, and what that takes."""

    name: str
    """Name of the model."""
    arrivals_per_second: float = 0
    """Requests that arrive, over all pods."""
    pending: float = 0
    """Requests that wait now, over all pods."""
    queue_time_milliseconds: float | None = None
    """Mean time that the requests finished last have waited."""
    service_time_milliseconds: float | None = None
    """Time of a model's instance that one request takes; with batching its part of the batch."""
    offered_load: float | None = None
    """Pods that the arrivals keep busy, each with all its instances of the model."""
    target_utilization: float | None = None
    """Busy share of an instance, 0 to 1, at which the target of the queue time is kept."""
    desired: int | None = None
    """Number of pods that this model needs."""


class AutoscalingStatus(Observed):
    """What the autoscaler sees and wants."""

    desired: int | None = None
    """Number of pods that it wants."""
    queue_time_milliseconds: float | None = None
    """Mean time that the requests finished last have waited, of all models."""
    expected_queue_time_milliseconds: float | None = None
    """How long the next request will wait on the fullest pod."""
    utilization: float | None = None
    """Busy share of the instances of the busiest model, 0 to 1."""
    pending: float | None = None
    """Requests that wait now, over all pods."""
    startup_seconds: float | None = None
    """How long new pods take to become ready, as measured."""
    window_seconds: int | None = None
    """How long fewer pods must have sufficed before pods are taken away."""
    pods_answering: str = ""
    """Pods whose metrics were read, of all ready ones, as "3/4"."""
    hold: str = ""
    """Why pods are not taken away now; empty when nothing keeps the number up."""
    models: Annotated[tuple[ModelLoad, ...], Field(max_length=20)] = ()
    """Load of each model, the one that needs most pods first."""
    decisions: Annotated[tuple[ScalingDecision, ...], Field(max_length=5)] = ()
    """The last decisions, newest first."""
