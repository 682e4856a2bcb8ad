"""What can go wrong in a reconciliation, and what to do about it.

* OperatorError
  - InvalidSpecError      the user must change the object; wait for a new generation
    + NameTakenError      somebody else has the name that a child needs; try again every few seconds
  - TransientError        the world may heal; try again, soon and then less soon
    + ClusterError        the API server refused or did not answer
      - NamespaceTerminatingError  nothing can be made any more where all goes away
    + NameNotFreeYetError  an object that Kubernetes is about to delete has it
    + ServerUnreachableError  a Triton pod did not answer
    + NotLeadingError     another operator may be acting
  - LeaseLostError        this process must end

The class decides the retry; no handler reads an HTTP status code.
"""

from http import HTTPStatus
from typing import ClassVar


class OperatorError(Exception):
    """An expected failure, told to the user through a status condition."""

    reason: ClassVar[str] = "Error"
    """CamelCase reason of the condition that this failure sets."""

    is_expected: bool = False
    """Whether it belongs to the course of things, so that no log needs a line of it."""

    patience_seconds: ClassVar[float] = 0.0
    """How long it may come again and again before its user is told."""


class InvalidSpecError(OperatorError):
    """The spec cannot be served as written, however often it is tried."""

    reason = "InvalidSpec"
    retry_seconds: ClassVar[float] = 300.0
    """After this it is tried again all the same, unless the object changes before."""


class NameTakenError(InvalidSpecError):
    """A child needs the name of an object that is not ours; we never take one over."""

    reason = "NameTaken"
    retry_seconds = 10.0
    """Nobody tells us that the name is free again: we watch only what is ours."""


class TransientError(OperatorError):
    """The same attempt may succeed later."""

    reason = "Retrying"


class ClusterError(TransientError):
    """The API server refused a request or did not answer it."""

    reason = "ClusterError"

    def __init__(self, action: str, what: str, *, status: int | None, message: str = "") -> None:
        answer = f"HTTP {status}" if status else "no answer"
        super().__init__(f"{action} {what} failed: {answer}{': ' if message else ''}{message}")
        self.status = status
        self.message = message

    @property
    def is_refusal(self) -> bool:
        """Whether the API server has decided against the request, rather than failed to answer."""
        too_many = HTTPStatus.TOO_MANY_REQUESTS
        return (
            self.status is not None
            and self.status < HTTPStatus.INTERNAL_SERVER_ERROR
            and (self.status != too_many)
        )


class NamespaceTerminatingError(ClusterError):
    """Nothing can be made any more: the namespace goes away, and takes all in it along."""

    is_expected = True


class NameNotFreeYetError(TransientError):
    """A child needs the name of an object whose owner, of our owner's name, is gone.

    Kubernetes is about to delete it.
    """

    reason = NameTakenError.reason
    patience_seconds = 15.0
    is_expected = True


class ServerUnreachableError(TransientError):
    """A Triton pod did not answer."""

    reason = "ServerUnreachable"


class NotLeadingError(TransientError):
    """A change was not made, because this process does not hold the Lease."""

    is_expected = True


class LeaseLostError(OperatorError):
    """The Lease was ours and is no more, so that another operator may be acting."""
