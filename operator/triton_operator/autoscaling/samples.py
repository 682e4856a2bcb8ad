"""What one scrape of one pod says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from typing import NamedTuple


class Series(NamedTuple):
    """The labels of a counter. Triton on GPUs exports most families with and without the GPU.

    Both are parts of one sum: requests are counted on the GPU that ran them, rejections on none.
    """

    model: str
    version: str = "1"
    gpu_uuid: str = ""


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters of one series since the pod started; NaN where the page lacks the family."""

    success: float = nan
    """``nv_inference_request_success``."""
    failures: Mapping[str, float] = field(default_factory=dict)
    """``nv_inference_request_failure`` by reason (REJECTED, CANCELED, BACKEND, OTHER)."""
    inferences: float = nan
    """``nv_inference_count``: requests times their batch dimension, without cache hits."""
    executions: float = nan
    """``nv_inference_exec_count``."""
    compute_us: float = nan
    """Sum of ``nv_inference_compute_{input,infer,output}_duration_us``; a batch counts once for
    every request in it."""
    queue_us: float = nan
    """``nv_inference_queue_duration_us``, of successful requests."""
    pending: float = nan
    """``nv_inference_pending_request_count``: a gauge, the only one here."""


@dataclass(frozen=True, slots=True)
class Batches:
    """One entry of ``batch_stats`` in ``GET /v2/models/stats``, since the pod started."""

    size: int
    executions: float
    busy_ns: float
    """Sum of ``compute_{input,infer,output}.ns``, once for each execution."""


@dataclass(frozen=True, slots=True)
class PodSample:
    """One pod, as scraped once."""

    uid: str
    started: float
    """When the container started, in seconds of any clock: another value means new counters."""
    at: float
    """When it was scraped, in seconds of a monotonic clock."""
    series: Mapping[Series, Counters]
    batches: Mapping[str, tuple[Batches, ...]] = field(default_factory=dict)
    """By model, of all versions; empty where the statistics were not read."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the effective config of a model says about its capacity on one pod."""

    instances: int = 1
    """0 of an ensemble, which runs nothing itself."""
    max_batch: int = 1
    """Largest batch that Triton forms by itself; 1 without dynamic batching."""
    decoupled: bool = False
    """Whether answers may come, in any number, after Triton has counted the request as done."""
