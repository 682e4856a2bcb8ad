"""What was seen of a server in one pass, for its models to be told of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from triton_operator.errors import InvalidSpecError
from triton_operator.observed import Pod, Served
from triton_operator.plan.sync import SyncPlan

SILENT_SECONDS = 10.0
"""How long a ready pod may leave the operator without an answer before that is told."""

_LONG_SECONDS = 30.0
"""How long a load may go on before that is told."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pod that would not serve a generation."""

    reason: str
    message: str
    """Triton's own error, where it said one."""


@dataclass(frozen=True, slots=True)
class Ongoing:
    """A load that goes on."""

    pod: str
    hash: str
    since: datetime
    timeout_seconds: int
    """After how long it is given up."""

    def untold_seconds(self, now: datetime) -> float:
        """Return how long it goes on untold from now; 0 or less once it is to be told."""
        return _LONG_SECONDS - (now - self.since).total_seconds()

    @property
    def told(self) -> str:
        """The same for people, and in the same words for as long as it lasts."""
        return (
            f"pod {self.pod} has been loading generation {self.hash} since"
            f" {self.since:%H:%M:%S} UTC; a load is given up after {self.timeout_seconds} s"
            " (spec.startupTimeoutSeconds of the server)"
        )


@dataclass(frozen=True, slots=True)
class Assessment:
    """What was seen of a server in one pass, as far as its models are concerned."""

    server: str
    namespace: str
    revision: str
    """The revision of up-to-date pods."""
    pods: Mapping[Pod, Served | None]
    """All pods of the server; None for one that did not answer."""
    sync: SyncPlan
    refusals: Mapping[str, Refusal]
    """By object, for the generation that is wanted."""
    long_loads: Mapping[str, Ongoing] = field(default_factory=dict)
    """Loads that have gone on for so long that it is told, by the name of the model."""
    blocked: str = ""
    """Why no pod is ready, in the words of the scheduler or the kubelet."""
    given_up: bool = False
    """Whether Kubernetes waits no more for pods of the server to become ready."""
    unreachable: InvalidSpecError | None = None
    """Why clients cannot reach the pods: the server has no Service; None if it has one."""

    @property
    def older(self) -> int:
        """The number of ready pods that are to be replaced."""
        return len(self.answering()) - len(self.current())

    def silent(self, now: datetime) -> int:
        """Return how many up-to-date pods have been ready for a while and do not answer."""
        return sum(
            served is None
            and pod.ready_since is not None
            and (now - pod.ready_since).total_seconds() >= SILENT_SECONDS
            for pod, served in self.current().items()
        )

    def answering(self) -> dict[Pod, Served | None]:
        """Return the ready pods, also those that are to be replaced."""
        return {pod: served for pod, served in self.pods.items() if pod.takes_requests}

    def current(self) -> dict[Pod, Served | None]:
        """Return the ready pods of the current revision."""
        return {p: served for p, served in self.answering().items() if p.revision == self.revision}
