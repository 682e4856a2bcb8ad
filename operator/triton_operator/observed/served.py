"""What a pod says that it serves."""

from collections.abc import Mapping
from dataclasses import dataclass

READY = "READY"
"""Triton's word for a version that answers requests."""


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """One version of one model as a pod's repository index lists it."""

    version: str
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What one pod says about one model."""

    versions: tuple[ServedVersion, ...] = ()
    config_hash: str | None = None
    """The hash in the config that the pod serves now; None when it serves none of ours."""
    tensors: str | None = None
    """What it takes and gives, as ``tensors_of`` writes it; None when it is not known."""
    steps: frozenset[tuple[str, int]] = frozenset()
    """Models that it calls, by the config that the pod serves now, each with the version that it
    asks for, -1 for the latest; none but of an ensemble."""

    @property
    def calls(self) -> frozenset[str]:
        """The models that it calls."""
        return frozenset(model for model, _ in self.steps)

    @property
    def ready_versions(self) -> tuple[int, ...]:
        """The versions that answer requests, ascending."""
        return tuple(
            sorted(int(v.version) for v in self.versions if v.state == READY and v.version)
        )

    @property
    def reason(self) -> str:
        """Triton's own words on why a version is not served, joined; empty when there are none."""
        return "; ".join(v.reason for v in self.versions if v.reason and v.reason != "unloaded")


Served = Mapping[str, ServedModel]
"""What one pod serves, by model name."""
