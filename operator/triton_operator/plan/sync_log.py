"""What the log of a sync Job tells while it runs, and what does not fit into its outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from triton_operator.repository.artifacts import Artifact
from triton_operator.repository.outcome import Failure, read_events


@dataclass(frozen=True, slots=True)
class Copied:
    """How far the files of one model are."""

    bytes: int
    total: int | None
    """None while the sources have not said it."""


@dataclass(frozen=True, slots=True)
class SyncLog:
    """What a piece of a log tells of each model, by the name of its ``TritonModel``."""

    copied: Mapping[str, Copied] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)
    artifacts: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)

    def followed_by(self, later: "SyncLog") -> "SyncLog":
        """Return what this and a later, perhaps overlapping piece tell together."""
        return SyncLog(
            copied={**self.copied, **later.copied},
            failures={**self.failures, **later.failures},
            artifacts={**self.artifacts, **later.artifacts},
        )


def read_sync_log(text: str) -> SyncLog:
    """Read a piece of a Job's log."""
    copied: dict[str, Copied] = {}
    failures: dict[str, Failure] = {}
    artifacts: dict[str, tuple[Artifact, ...]] = {}
    for event in read_events(text):
        if event.object is None:
            continue
        match event.event:
            case "copied":
                copied[event.object] = Copied(event.bytes or 0, event.total)
            case "failed":
                failures[event.object] = Failure(event.reason or "", event.message or "")
            case "artifact":
                found = Artifact(
                    event.version or 0, event.uri or "", event.sha256 or "", event.bytes or 0
                )
                artifacts[event.object] = (*artifacts.get(event.object, ()), found)
    return SyncLog(copied, failures, artifacts)
