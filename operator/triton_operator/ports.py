"""What a pass needs from the outside world."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

from triton_operator.api.meta import ObjectMeta
from triton_operator.api.model import TritonModelStatus
from triton_operator.api.server import TritonServerStatus
from triton_operator.autoscaling.samples import PodSample
from triton_operator.autoscaling.shapes import Shapes
from triton_operator.desired.metadata import Manifest
from triton_operator.observed import Claim, ModelRecord, Pod, Served, ServerRecord, ServerWorld
from triton_operator.plan.events import Event

Key = tuple[str, str]
"""Namespace and name."""


class Cluster(Protocol):
    """The Kubernetes API, as this operator uses it.

    Every method may raise ``ClusterError``. Reads come from a mirror that watches keep fresh; a
    write is in the mirror when its method returns.
    """

    def observe(self, server: Key) -> ServerWorld:
        """Return what is known of a server, its models, children, pods and who else scales it."""

    def model(self, key: Key) -> ModelRecord | None:
        """Return a model."""

    def server(self, key: Key) -> ServerRecord | None:
        """Return a server."""

    async def claim(self, namespace: str, name: str) -> Claim | None:
        """Return a claim, also one that is not the operator's; costs a request."""

    async def apply(self, manifest: Manifest) -> bool:
        """Make an object hold a manifest's fields; return False if it did already.

        Raises ``NameTakenError`` when an object of that name is not this owner's.
        """

    async def create(self, manifest: Manifest) -> None:
        """Create an object that never changes; one that exists and is ours is fine."""

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object and what it owns; one that is gone is fine."""

    async def control_key(self, server: ObjectMeta, secret: str, *, new: bool) -> str:
        """Return the key of a server's model-control API that a Secret holds; made if it is not.

        ``new`` says that no pod has had it yet, so that looking for it is not worth it.
        """

    async def find_control_key(self, server: ObjectMeta, secret: str) -> str | None:
        """Return the key that a Secret of a server holds, or None."""

    async def drop_control_key(self, server: ObjectMeta, secret: str) -> None:
        """Delete a Secret with a key of a server; one that is gone, or not its own, is fine."""

    async def write_status(
        self, kind: str, meta: ObjectMeta, status: TritonModelStatus | TritonServerStatus
    ) -> None:
        """Replace the status of a model or server; one that is gone is fine."""

    async def set_deletion_cost(self, namespace: str, pod: Pod, cost: str) -> None:
        """Say how soon a pod is to go when there are to be fewer; one that is gone is fine."""

    async def set_finalizers(
        self, kind: str, meta: ObjectMeta, finalizers: tuple[str, ...]
    ) -> None:
        """Replace the finalizers of an object."""

    async def record_event(self, kind: str, meta: ObjectMeta, event: Event) -> None:
        """Attach an Event to an object; one that cannot be written is only logged."""

    async def read_log(
        self,
        namespace: str,
        pod: Pod,
        *,
        lines: int = 5_000,
        seconds: int | None = None,
        previous: bool = False,
    ) -> str:
        """Return the last lines that a pod's container of ours logged, none older than that.

        ``previous`` asks for the container that ran before it in the same pod.
        """


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may act, and for how long after each renewal; empty if there is none."""

    version: str = ""
    """By which a later write tells that nobody has written since."""
    holder: str = ""
    duration_seconds: int = 0
    transitions: int = 0
    """How often it went from one holder to another."""
    acquired: datetime | None = None
    renewed: datetime | None = None
    """By the holder's clock: good for seeing that it renewed, never for how long ago."""

    @property
    def term(self) -> tuple[str, datetime | None]:
        """What every renewal changes, and nothing else that somebody may do to it."""
        return (self.holder, self.renewed)


class Leases(Protocol):
    """The one Lease that the operators of a release share.

    Every method may raise ``ClusterError``, and has answered or raised within its timeout.
    """

    async def read(self, *, timeout_seconds: float) -> Lease:
        """Return the Lease as it is; an empty one if there is none."""

    async def write(self, lease: Lease, *, timeout_seconds: float) -> Lease | None:
        """Store a Lease, or return None if it is not there any more in that version."""


class ModelServers(Protocol):
    """Triton's HTTP API on single pods.

    Every method may raise ``ServerUnreachableError``.
    """

    async def observe(self, pod: Pod, key: str) -> Served:
        """Return what a pod serves, by its own word."""

    async def load(self, pod: Pod, key: str, model: str, *, timeout_seconds: float) -> str | None:
        """Make a pod load a model; return Triton's refusal, or None if it claims success."""

    async def unload(self, pod: Pod, key: str, model: str) -> str | None:
        """Make a pod unload a model; return Triton's refusal, or None if it claims success."""


class FailureReason(StrEnum):
    """Why a pod could not be scraped."""

    TIMEOUT = "Timeout"
    UNREACHABLE = "Unreachable"
    STATUS = "Status"
    """Another HTTP status than 200."""
    TOO_LARGE = "TooLarge"
    MALFORMED = "Malformed"


@dataclass(frozen=True, slots=True)
class ScrapeFailure:
    """A pod that gave no usable answer."""

    reason: FailureReason
    message: str


class PodScraper(Protocol):
    """Triton's own measurements on single pods. No method fails; pods do, one by one."""

    async def scrape(self, pods: Iterable[Pod]) -> Mapping[Pod, PodSample | ScrapeFailure]:
        """Ask all pods at once for their counters and statistics; each has a deadline.

        Whom to ask is the caller's choice: pods that are ready and do not terminate.
        """

    async def shapes(self, pods: Mapping[Pod, Served], known: Shapes) -> Shapes:
        """Return the shapes of all ready models of one server's pods.

        Asks only for what is not in ``known``, the result of the last call. A shape that cannot
        be read now is left out and asked for in the next call.
        """


Direction = Literal["up", "down"]

UNEXPECTED = "Unexpected"
"""The reason of a pass that failed by a bug."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Keys with news that no pass has taken in yet."""

    length: int
    oldest_seconds: float
    """For how long the first of them has waited."""


class Telemetry(Protocol):
    """What is counted as it happens. Times are in seconds; no method fails.

    What can be read off at any moment is not told here.
    """

    def waited(self, loop: str, seconds: float) -> None:
        """Count the time from news to the pass that takes them in."""

    def passed(self, loop: str, seconds: float, error: str = "") -> None:
        """Count a pass, and the reason for which it failed."""

    def scrape_failed(self, server: Key, reason: FailureReason) -> None:
        """Count a pod of a server that did not tell its load."""

    def decided(self, server: Key, direction: Direction) -> None:
        """Count a decision for more or fewer pods."""

    def synced(self, result: str, seconds: float, copied: int) -> None:
        """Count a sync Job that ended, and the bytes that it fetched."""

    def loaded(self, result: str, seconds: float) -> None:
        """Count a load of one model on one pod."""


class Clock(Protocol):
    """The time, so that tests can set it."""

    def __call__(self) -> datetime:
        """Return the time now, in UTC."""
