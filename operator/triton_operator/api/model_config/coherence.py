"""Rules that compare fields of a whole config with each other, as Triton does."""

from collections.abc import Iterable
from typing import Any, Final

from triton_operator.api.rules import Rule

_IS_A_BATCH: Final = "size, has(self.maxBatchSize) && size <= self.maxBatchSize"
_NOT_OF_AN_ENSEMBLE: Final = ("backend", "instanceGroup", "modelWarmup")


def _can_batch(config: Any, sizes: Iterable[int]) -> bool:
    return all(size <= config.max_batch_size for size in sizes)


def _caches_streams(config: Any) -> bool:
    cache, policy = config.response_cache, config.model_transaction_policy
    return cache is not None and cache.enable and policy is not None and policy.decoupled


def _runs_something(config: Any) -> bool:
    given = config.backend, config.instance_group, config.model_warmup
    return any(given) or config.optimization is not None


COHERENCE: Final = (
    Rule(
        cel="!has(self.dynamicBatching) || !has(self.dynamicBatching.preferredBatchSize)"
        f" || self.dynamicBatching.preferredBatchSize.all({_IS_A_BATCH})",
        message="dynamicBatching.preferredBatchSize has a size above maxBatchSize (0 if left"
        " out): lower it, or raise maxBatchSize",
        holds=lambda self: (
            self.dynamic_batching is None
            or _can_batch(self, self.dynamic_batching.preferred_batch_size)
        ),
    ),
    Rule(
        cel="!has(self.sequenceBatching) || !has(self.sequenceBatching.oldest)"
        " || !has(self.sequenceBatching.oldest.preferredBatchSize)"
        f" || self.sequenceBatching.oldest.preferredBatchSize.all({_IS_A_BATCH})",
        message="sequenceBatching.oldest.preferredBatchSize has a size above maxBatchSize (0 if"
        " left out): lower it, or raise maxBatchSize",
        holds=lambda self: (
            self.sequence_batching is None
            or self.sequence_batching.oldest is None
            or _can_batch(self, self.sequence_batching.oldest.preferred_batch_size)
        ),
    ),
    Rule(
        cel="!(has(self.responseCache) && has(self.responseCache.enable)"
        " && self.responseCache.enable && has(self.modelTransactionPolicy)"
        " && has(self.modelTransactionPolicy.decoupled)"
        " && self.modelTransactionPolicy.decoupled)",
        message="responseCache cannot be enabled for a model whose modelTransactionPolicy is"
        " decoupled: remove responseCache",
        holds=lambda self: not _caches_streams(self),
    ),
    Rule(
        cel="has(self.ensembleScheduling) == (has(self.platform) && self.platform == 'ensemble')",
        message="ensembleScheduling and platform: ensemble belong together: set both or neither",
        holds=lambda self: (self.ensemble_scheduling is not None) == (self.platform == "ensemble"),
    ),
    Rule(
        cel="!has(self.ensembleScheduling) || (!has(self.optimization) && "
        + " && ".join(
            f"(!has(self.{field}) || size(self.{field}) == 0)" for field in _NOT_OF_AN_ENSEMBLE
        )
        + ")",
        message="ensembleScheduling: an ensemble runs nothing itself: remove backend,"
        " instanceGroup, modelWarmup and optimization",
        holds=lambda self: self.ensemble_scheduling is None or not _runs_something(self),
    ),
)
"""Of a ``ModelConfig``."""
