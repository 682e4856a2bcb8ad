"""Claims: what they were asked for, and whether they have a volume."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from triton_operator.observed.body import Body, parse_time


@dataclass(frozen=True, slots=True)
class Claim:
    """A PersistentVolumeClaim."""

    name: str
    access_modes: frozenset[str] = frozenset()
    requested: str = "0"
    """Quantity of storage."""
    made_at: datetime | None = None
    storage_class: str = ""
    pending: bool = False
    """It has no volume (yet)."""

    @classmethod
    def parse(cls, body: Body) -> Self:
        """Read a claim."""
        spec = body.get("spec") or {}
        requests = (spec.get("resources") or {}).get("requests") or {}
        return cls(
            name=body["metadata"]["name"],
            access_modes=frozenset(spec.get("accessModes") or ()),
            requested=str(requests.get("storage", "0")),
            made_at=parse_time(body["metadata"].get("creationTimestamp")),
            storage_class=spec.get("storageClassName") or "",
            pending=(body.get("status") or {}).get("phase") == "Pending",
        )
