"""What was seen of a server in one pass, for its models to be told of."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from triton_operator.errors import InvalidSpecError
from triton_operator.observed import Pod, Served
from triton_operator.plan.sync import SyncPlan

SILENT_SECONDS = 10.0
"""How long a ready pod may leave the operator without an answer before that is told."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pod that would not serve a generation."""

    reason: str
    message: str
    """Triton's own error, where it said one."""


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
