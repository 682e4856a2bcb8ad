"""What the sync Job needs of the world outside the claim: artifacts, by uri.

* SyncError                    one model failed, the others go on
  - SourceNotFoundError        nothing at that uri
  - SourceRefusedError         credentials missing or not sufficient
  - InvalidSourceError         the uri or what it names cannot be served as written
  - ChecksumMismatchError      the content is not what was asked for
  - GenerationMissingError     a link asks for what is neither on the claim nor in the manifest
  - SourceUnreachableError     ┐
    + SourceChangedError       │ what was fetched so far is worth nothing
  - InsufficientSpaceError     ├ transient: the operator soon tries again
  - WriteFailedError           ┘
"""

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from triton_operator.errors import InvalidSpecError, OperatorError, TransientError
from triton_operator.repository.layout import check_name
from triton_operator.repository.manifest import SourceRef, canonical_json
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


class MemberMissingError(SyncError):
    """An ensemble and what it calls change in one go, and one of them cannot be had."""

    reason = "WaitingForMember"


class SourceUnreachableError(SyncError, TransientError):
    """The source did not answer, or not to the end."""

    reason = "SourceUnreachable"


class SourceChangedError(SourceUnreachableError):
    """The file is not the one that was listed, so its parts do not belong together."""


class InsufficientSpaceError(SyncError, TransientError):
    """The claim is full."""

    reason = "InsufficientSpace"


class WriteFailedError(SyncError, TransientError):
    """The claim cannot be written."""

    reason = "WriteFailed"


TRANSIENT_REASONS = frozenset(
    kind.reason for kind in (SourceUnreachableError, InsufficientSpaceError, WriteFailedError)
)
LASTING_REASONS = frozenset(
    kind.reason
    for kind in (
        SourceNotFoundError,
        SourceRefusedError,
        InvalidSourceError,
        ChecksumMismatchError,
        GenerationMissingError,
    )
)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source, as it was when it was listed."""

    uri: str
    path: str
    """Relative to the version folder."""
    size: int | None = None
    """Bytes, where the source says so before it is read."""
    validator: str = ""
    """Another one whenever the content is: an entity tag, a date. Empty: the source has none."""
    sha256: str | None = None
    """Digest of the content, where the source knows it."""
    ranges: bool = False
    """Whether any part can be asked for."""
    store: str = ""
    """Which of several stores with the same uris it is in."""
    secret: str | None = None
    """Name of the Secret with the credentials."""

    @property
    def identity(self) -> str | None:
        """Hash of what stands for this very content; None if nothing does."""
        if not self.validator:
            return None
        known = [self.uri, self.store, self.validator, self.size]
        return sha256(canonical_json(known).encode()).hexdigest()


class Sources(Protocol):
    """Reads artifacts. All methods raise :class:`SyncError`, naming the uri and the mend.

    Called from several threads.
    """

    def list_files(self, source: SourceRef) -> tuple[SourceFile, ...]:
        """Return the one file that a uri names, or all files of the folder."""

    def read(
        self, file: SourceFile, start: int, stop: int | None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Open a file from ``start`` up to ``stop`` (None: its end), in pieces of any size.

        Parts are asked for only where ``file.ranges`` allows it.

        Raises:
            SourceChangedError: it is not the file that was listed any more.

        """


def file_name(uri: str) -> str:
    """Return the name that the file of a uri gets.

    Raises:
        InvalidSourceError: it has none, or none that may become a path.

    """
    try:
        path = urlsplit(uri).path if is_web(uri) else uri
        name = path.rpartition("/")[2]
        return check_name(unquote(name) if is_web(uri) else name)
    except (ValueError, InvalidSpecError) as error:
        raise InvalidSourceError(f"{public_uri(uri)} names no file: {error}") from error


def is_web(uri: str) -> bool:
    """Tell whether a uri is an address on the web, which may hold credentials."""
    return uri.startswith(("http://", "https://"))


def public_uri(uri: str) -> str:
    """Return a uri that can be shown: without the credentials of signed and personal ones."""
    if not is_web(uri):
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
