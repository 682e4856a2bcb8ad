"""What a sync Job tells: events while it works, and an outcome at the end.

The outcome travels through the container's termination message, which Kubernetes cuts at 4096
bytes: it is made to fit here, because half a JSON text would tell nothing.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from triton_operator.errors import OperatorError
from triton_operator.repository.artifacts import Artifact
from triton_operator.repository.sources import TRANSIENT_REASONS

TERMINATION_MESSAGE_BYTES = 4096
EVERYTHING = "*"
"""Stands for all objects where naming the mended ones would take too much room."""
_MESSAGE_LENGTHS = (1024, 512, 256, 128, 64, 32)

EventName = Literal[
    "fetching",
    "progress",
    "fetched",
    "reused",
    "copied",
    "built",
    "artifact",
    "linked",
    "mended",
    "unlinked",
    "waiting",
    "settled",
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
    sha256: str | None = None
    version: int | None = None
    path: str | None = None
    """Relative to the claim's root."""
    reason: str | None = None
    message: str | None = None
    models: tuple[str, ...] | None = None
    """Names in the server's folder: those that are ``waiting`` to be as the manifest wants them
    while the others are so already, and those of them that have ``settled`` since."""

    def to_json(self) -> str:
        """Return one line of JSON without the fields that say nothing."""
        return json.dumps({key: value for key, value in asdict(self).items() if value is not None})


def read_events(log: str) -> Iterator[Event]:
    """Yield the events in a piece of a Job's log, without what is cut off or not ours."""
    for line in log.splitlines():
        try:
            data = json.loads(line)
            known = {name: data[name] for name in _FIELDS if name in data}
            if isinstance(models := known.get("models"), list):
                known["models"] = tuple(map(_string, models))
        except (ValueError, TypeError):
            continue
        if known.get("event") in get_args(EventName) and all(
            isinstance(value, _FIELDS[name]) for name, value in known.items()
        ):
            yield Event(**known)


_FIELDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("event", "object", "uri", "sha256", "path", "reason", "message"), (str,)),
    **dict.fromkeys(("bytes", "total", "version"), (int,)),
    "seconds": (int, float),
    "models": (tuple,),
}


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
    artifacts: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)
    """What is linked now was made of, by model object; those without sources are left out."""
    bytes_copied: int = 0
    problem: Failure | None = None
    """Why the run could not go on to its end, if the claim itself failed."""
    mended: frozenset[str] = frozenset()
    """Objects whose files were not as they should have been."""
    revision: str = ""
    """The revision that was published, if one was asked for."""

    @property
    def complete(self) -> bool:
        """Whether the run came to its end; what it could not reach it says nothing about."""
        return self.problem is None

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
    artifacts: Mapping[str, tuple[Artifact, ...]] | None = field(default_factory=dict)
    """As in :class:`Outcome`; None if they did not fit, and are in the log instead."""
    problem: Failure | None = None
    mended: tuple[str, ...] = ()
    """Objects whose files had to be mended, or ``EVERYTHING``."""
    revision: str = ""
    """The revision that the Job published, if it was asked for one."""
    bytes_copied: int = 0


def encode_outcome(manifest: str, outcome: Outcome, limit: int = TERMINATION_MESSAGE_BYTES) -> str:
    """Return the outcome as compact JSON of at most ``limit`` bytes.

    Mended objects are no longer named where that takes much room. Then artifacts are left out;
    then messages are shortened, all alike; then failed objects are left out and counted.
    """
    failed = outcome.failed
    names = sorted(failed)
    rest: dict[str, Any] = {"revision": outcome.revision} if outcome.revision else {}
    if outcome.bytes_copied:
        rest["bytes"] = outcome.bytes_copied
    if outcome.mended:
        mended = sorted(outcome.mended)
        rest["mended"] = mended if len(json.dumps(mended)) <= limit // 4 else [EVERYTHING]
    if outcome.problem is not None:
        message = _shorten(outcome.problem.message, _MESSAGE_LENGTHS[0])
        rest["problem"] = {"reason": outcome.problem.reason, "message": message}
    if outcome.artifacts:
        told = {
            name: [[each.version, each.uri, each.sha256, each.bytes] for each in artifacts]
            for name, artifacts in outcome.artifacts.items()
        }
        text = _encode(manifest, failed, names, _MESSAGE_LENGTHS[0], {**rest, "artifacts": told})
        if len(text.encode()) <= limit:
            return text
        rest["artifacts"] = None
    for length in _MESSAGE_LENGTHS:
        text = _encode(manifest, failed, names, length, rest)
        if len(text.encode()) <= limit:
            return text

    def tell(count: int) -> str:
        return _encode(manifest, failed, names[:count], _MESSAGE_LENGTHS[-1], rest)

    # Each name makes the text longer.
    too_many = bisect_right(range(len(names)), limit, key=lambda count: len(tell(count).encode()))
    return tell(max(0, too_many - 1))


def decode_outcome(text: str) -> SyncOutcome | None:
    """Read what :func:`encode_outcome` wrote; None if it is anything else."""
    try:
        data = json.loads(text)
        return SyncOutcome(
            manifest=_string(data["manifest"]),
            failed={name: _read_failure(each) for name, each in data["failed"].items()},
            truncated=int(data.get("truncated", 0)),
            artifacts=_read_artifacts(data.get("artifacts", {})),
            revision=_string(data.get("revision", "")),
            bytes_copied=int(data.get("bytes", 0)),
            problem=_read_failure(data["problem"]) if "problem" in data else None,
            mended=tuple(_string(each) for each in data.get("mended", ())),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _encode(
    manifest: str,
    failed: Mapping[str, Failure],
    names: list[str],
    length: int,
    rest: Mapping[str, Any],
) -> str:
    data: dict[str, Any] = {
        "manifest": manifest,
        "failed": {
            name: {"reason": failed[name].reason, "message": _shorten(failed[name].message, length)}
            for name in names
        },
        **rest,
    }
    if left_out := len(failed) - len(names):
        data["truncated"] = left_out
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()  # file names may hold what UTF-8 cannot


def _read_failure(data: Mapping[str, Any]) -> Failure:
    return Failure(_string(data["reason"]), _string(data["message"]))


def _read_artifacts(data: Mapping[str, Any] | None) -> dict[str, tuple[Artifact, ...]] | None:
    if data is None:
        return None
    return {
        name: tuple(
            Artifact(int(number), _string(uri), _string(digest), int(size))
            for number, uri, digest, size in found
        )
        for name, found in data.items()
    }


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r}")
    return value


def _shorten(message: str, length: int) -> str:
    return message if len(message) <= length else f"{message[: length - 1]}…"
