"""What a sync Job tells: events while it works, and an outcome at the end.

The outcome travels through the container's termination message, which Kubernetes cuts at 4096
bytes: it is made to fit here, because half a JSON text would tell nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from triton_operator.errors import OperatorError
from triton_operator.repository.sources import TRANSIENT_REASONS

TERMINATION_MESSAGE_BYTES = 4096
_MESSAGE_LENGTHS = (1024, 512, 256, 128, 64, 32)

EventName = Literal[
    "fetching",
    "progress",
    "fetched",
    "reused",
    "built",
    "linked",
    "unlinked",
    "pruned",
    "failed",
    "done",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, one line of the Job's log."""

    event: EventName
    object: str | None = None
    """The ``TritonModel`` that it happened to."""
    uri: str | None = None
    bytes: int | None = None
    total: int | None = None
    """Bytes that there will be, where the source says so."""
    seconds: float | None = None
    path: str | None = None
    """Relative to the claim's root."""
    reason: str | None = None
    message: str | None = None

    def to_json(self) -> str:
        """Return one line of JSON without the fields that say nothing."""
        return json.dumps({key: value for key, value in asdict(self).items() if value is not None})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a model is not as the manifest wants it."""

    reason: str
    message: str

    @classmethod
    def of(cls, error: OperatorError) -> "Failure":
        """Return an expected error as a value."""
        return cls(error.reason, str(error))

    @property
    def transient(self) -> bool:
        """Whether the same Job may succeed later."""
        return self.reason in TRANSIENT_REASONS


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one run."""

    failed: Mapping[str, Failure] = field(default_factory=dict)
    """By model object."""
    bytes_copied: int = 0
    problem: str = ""
    """Why the run could not go on to its end, if the claim itself failed."""

    @property
    def complete(self) -> bool:
        """Whether the run came to its end; what it could not reach it says nothing about."""
        return not self.problem

    @property
    def transient(self) -> bool:
        """Whether running again may mend a failure."""
        return not self.complete or any(failure.transient for failure in self.failed.values())


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """What the operator learns from a finished Job."""

    manifest: str
    """Digest of the manifest that the Job worked on."""
    failed: Mapping[str, Failure] = field(default_factory=dict)
    truncated: int = 0
    """Failed objects that did not fit."""


def encode_outcome(
    manifest: str, failed: Mapping[str, Failure], limit: int = TERMINATION_MESSAGE_BYTES
) -> str:
    """Return the outcome as compact JSON of at most ``limit`` bytes.

    Messages are shortened first, all alike; then objects are left out and counted.
    """
    names = sorted(failed)
    for length in _MESSAGE_LENGTHS:
        text = _encode(manifest, failed, names, length)
        if len(text.encode()) <= limit:
            return text
    while names and len(text.encode()) > limit:
        names.pop()
        text = _encode(manifest, failed, names, _MESSAGE_LENGTHS[-1])
    return text


def decode_outcome(text: str) -> SyncOutcome | None:
    """Read what :func:`encode_outcome` wrote; None if it is anything else."""
    try:
        data = json.loads(text)
        manifest, failed = data["manifest"], data["failed"]
        failures = {name: Failure(each["reason"], each["message"]) for name, each in failed.items()}
        truncated = data.get("truncated", 0)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    texts = [
        manifest,
        *(text for each in failures.values() for text in (each.reason, each.message)),
    ]
    if not all(isinstance(each, str) for each in texts) or not isinstance(truncated, int):
        return None
    return SyncOutcome(manifest, failures, truncated)


def _encode(manifest: str, failed: Mapping[str, Failure], names: list[str], length: int) -> str:
    data: dict[str, Any] = {
        "manifest": manifest,
        "failed": {
            name: {"reason": failed[name].reason, "message": _shorten(failed[name].message, length)}
            for name in names
        },
    }
    if left_out := len(failed) - len(names):
        data["truncated"] = left_out
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()  # file names may hold what UTF-8 cannot


def _shorten(message: str, length: int) -> str:
    return message if len(message) <= length else f"{message[: length - 1]}…"
