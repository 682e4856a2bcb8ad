"""All that one pass over one server decides on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from triton_operator.observed.body import Body
from triton_operator.observed.jobs import SyncJob
from triton_operator.observed.pods import COMPONENT_SERVER, Pod
from triton_operator.observed.records import ModelRecord, ServerRecord
from triton_operator.observed.workloads import Autoscaler


@dataclass(frozen=True, slots=True)
class ServerWorld:
    """All that one pass over one server decides on."""

    server: ServerRecord | None
    models: tuple[ModelRecord, ...] = ()
    """The models that this server is to serve."""
    leaving: tuple[ModelRecord, ...] = ()
    """Models that name another server by now, which has not taken them yet."""
    pods: tuple[Pod, ...] = ()
    jobs: tuple[SyncJob, ...] = ()
    autoscalers: tuple[Autoscaler, ...] = ()
    """Those of others that are pointed at this server or its Deployment."""
    children: Mapping[tuple[str, str], Body] = field(default_factory=dict)
    """Live children by kind and name."""

    def child(self, kind: str, name: str) -> Body | None:
        """Return a live child, or None."""
        return self.children.get((kind, name))

    def server_pods(self) -> Iterator[Pod]:
        """Yield the pods that run Triton, or are to."""
        return (pod for pod in self._pods_of_server() if not pod.finished)

    def ended_pods(self) -> Iterator[Pod]:
        """Yield the pods of which nothing runs any more: evicted, rejected, their node shut down.

        Kubernetes makes others in their place, and keeps these for a long time.
        """
        return (pod for pod in self._pods_of_server() if pod.finished)

    def _pods_of_server(self) -> Iterator[Pod]:
        return (pod for pod in self.pods if pod.component == COMPONENT_SERVER)
