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
    waited: frozenset[str] | None = None
    """Models that were to wait for sources, by the names they are served under, once that was
    known; all else was as the manifest wants it."""
    settled: frozenset[str] = frozenset()
    """Those that have followed."""

    @property
    def waiting(self) -> frozenset[str] | None:
        """Models whose links are not as the manifest wants them; None if that is not known."""
        return None if self.waited is None else self.waited - self.settled

    def followed_by(self, later: "SyncLog") -> "SyncLog":
        """Return what this and a later, perhaps overlapping piece tell together."""
        return SyncLog(
            copied={**self.copied, **later.copied},
            failures={**self.failures, **later.failures},
            artifacts={**self.artifacts, **later.artifacts},
            waited=self.waited if later.waited is None else later.waited,
            settled=self.settled | later.settled,
        )


def read_sync_log(text: str) -> SyncLog:
    """Read a piece of a Job's log."""
    copied: dict[str, Copied] = {}
    failures: dict[str, Failure] = {}
    artifacts: dict[str, tuple[Artifact, ...]] = {}
    waited: frozenset[str] | None = None
    settled: frozenset[str] = frozenset()
    for event in read_events(text):
        match event.event:
            case "waiting":
                waited = frozenset(event.models or ())
            case "settled":
                settled |= frozenset(event.models or ())
            case "copied" if event.object is not None:
                copied[event.object] = Copied(event.bytes or 0, event.total)
            case "failed" if event.object is not None:
                failures[event.object] = Failure(event.reason or "", event.message or "")
            case "artifact" if event.object is not None:
                found = Artifact(
                    event.version or 0, event.uri or "", event.sha256 or "", event.bytes or 0
                )
                artifacts[event.object] = (*artifacts.get(event.object, ()), found)
    return SyncLog(copied, failures, artifacts, waited, settled)
