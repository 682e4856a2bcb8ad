"""What a sync Job that is over has taken."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from triton_operator.observed import SyncJob
from triton_operator.repository.outcome import SyncOutcome


@dataclass(frozen=True, slots=True)
class Ended:
    """Time and bytes of one Job."""

    seconds: float
    """From the Job to its end."""
    copied: int
    """Bytes that it fetched; 0 where its report is gone."""
    at: datetime

    @classmethod
    def of(cls, job: SyncJob, outcome: SyncOutcome | None, ended: datetime) -> Self:
        """Measure a Job that ended then."""
        seconds = (ended - (job.created_at or ended)).total_seconds()
        return cls(seconds, outcome.bytes_copied if outcome is not None else 0, ended)
