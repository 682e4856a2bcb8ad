"""What the sync Job needs of the world outside the claim: artifacts, by uri.

* SyncError                    one model failed, the others go on
  - SourceNotFoundError        nothing at that uri
  - SourceRefusedError         credentials missing or not sufficient
  - InvalidSourceError         the uri or what it names cannot be served as written
  - ChecksumMismatchError      the content is not what was asked for
  - GenerationMissingError     a link asks for what is neither on the claim nor in the manifest
  - SourceUnreachableError     ┐
  - InsufficientSpaceError     ├ transient: the operator soon tries again
  - WriteFailedError           ┘
"""

import errno
from dataclasses import dataclass
from typing import ClassVar, Protocol
from urllib.parse import urlsplit, urlunsplit

from triton_operator.errors import OperatorError, TransientError
from triton_operator.repository.permission import explain_refusal


class SyncError(OperatorError):
    """One model cannot be written; told to its user through the outcome of the Job."""

    reason: ClassVar[str] = "SyncFailed"


class SourceNotFoundError(SyncError):
    """The source does not exist."""

    reason = "SourceNotFound"


class SourceRefusedError(SyncError):
    """The source wants other credentials."""

    reason = "SourceRefused"


class InvalidSourceError(SyncError):
    """The content cannot be served as written."""

    reason = "InvalidSource"


class ChecksumMismatchError(SyncError):
    """The content is not what was asked for."""

    reason = "ChecksumMismatch"


class GenerationMissingError(SyncError):
    """A link's generation is not on the claim, and the manifest does not say what is in it."""

    reason = "GenerationMissing"


class SourceUnreachableError(SyncError, TransientError):
    """The source did not answer, or not to the end."""

    reason = "SourceUnreachable"


class InsufficientSpaceError(SyncError, TransientError):
    """The claim is full."""

    reason = "InsufficientSpace"


class WriteFailedError(SyncError, TransientError):
    """The claim cannot be written."""

    reason = "WriteFailed"


TRANSIENT_REASONS = frozenset(
    kind.reason for kind in (SourceUnreachableError, InsufficientSpaceError, WriteFailedError)
)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source."""

    uri: str
    path: str
    """Relative to the version folder."""
    size: int | None = None
    """Bytes, where the source says so before it is read."""


class Sink(Protocol):
    """Where a source writes one file's content; its errors are not the source's to handle."""

    @property
    def position(self) -> int:
        """Bytes written so far; a source that can resume goes on from here."""

    def expect(self, size: int) -> None:
        """Say how long the whole file will be, once that is known."""

    def write(self, chunk: bytes) -> None:
        """Append."""

    def restart(self) -> None:
        """Forget everything written; the source begins anew."""


class Sources(Protocol):
    """Reads artifacts. Both methods raise :class:`SyncError`, naming the uri and the mend."""

    def list_files(self, uri: str) -> tuple[SourceFile, ...]:
        """Return the one file that a uri names, or all files of the folder."""

    def fetch(self, file: SourceFile, sink: Sink) -> None:
        """Write a file's whole content into the sink."""


def public_uri(uri: str) -> str:
    """Return a uri that can be shown: without the credentials of signed and personal ones."""
    if not uri.startswith(("http://", "https://")):
        return uri
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri.partition("?")[0]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def write_error(error: OSError, what: str, *, needed: int | None, free: int | None) -> SyncError:
    """Return the error to report when the claim refused a write.

    Args:
        error: What the operating system said.
        what: What was being written.
        needed: Bytes that this file takes, None if unknown.
        free: Bytes that are free on the claim, None if unknown.

    """
    match error.errno:
        case errno.ENOSPC:
            sizes = [f"{needed} bytes are needed"] if needed is not None else []
            sizes += [f"{free} are free"] if free is not None else []
            detail = f" ({', '.join(sizes)})" if sizes else ""
            return InsufficientSpaceError(f"no space for {what}{detail}: enlarge the claim")
        case errno.EDQUOT:
            detail = f" ({needed} bytes are needed)" if needed is not None else ""
            return InsufficientSpaceError(
                f"the volume's quota leaves no space for {what}{detail}: raise it"
            )
    return WriteFailedError(f"{what} cannot be written: {error}; {explain_refusal(error)}")
