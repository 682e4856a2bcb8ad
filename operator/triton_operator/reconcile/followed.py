"""A server with ``autoscaling``: what is known of it from tick to tick, and what one tick sees."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from triton_operator.api.autoscaling import Autoscaling, AutoscalingStatus
from triton_operator.api.server import TritonServer
from triton_operator.autoscaling.decision import Memory, Pool
from triton_operator.autoscaling.shapes import Shapes
from triton_operator.autoscaling.sharing import Claim
from triton_operator.observed import Pod, Served
from triton_operator.plan.replicas import Scaling
from triton_operator.ports import Key


@dataclass(slots=True)
class Followed:
    """What is known of one server, in this process only."""

    uid: str
    served: Mapping[Pod, Served] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    shapes: Shapes = field(default_factory=dict)
    startups: Mapping[str, float] = field(default_factory=dict)
    need: int | None = None
    """Pods that the last decision wanted, before all limits."""
    wanted: int | None = None
    """The last decision, also one of an earlier process."""
    claim: Claim | None = None
    """What it asked of the limits of GPUs when it was last looked at; None if it does not scale."""
    status: AutoscalingStatus | None = None
    """As of the last tick."""
    scaling: Scaling = field(default_factory=Scaling)
    """What the next pass is to do and to tell."""
    told_at: float | None = None

    def hear(self, served: Mapping[Pod, Served | None]) -> None:
        """Take in what pods serve; of one that does not answer, what it said last."""
        said = {(pod.uid, pod.started_at): each for pod, each in self.served.items()}
        latest = {
            pod: said.get((pod.uid, pod.started_at)) if each is None else each
            for pod, each in served.items()
        }
        self.served = {pod: each for pod, each in latest.items() if each is not None}

    def hold(self, claim: Claim) -> Claim:
        """Return what it asks while nobody decides on it: what it has, for its pods run on."""
        pods = claim.need if self.scaling.desired is None else self.scaling.desired
        return replace(claim, least=pods, need=pods, now=pods)


@dataclass(frozen=True, slots=True)
class Seen:
    """One server, as a tick sees it."""

    key: Key
    followed: Followed
    server: TritonServer
    spec: Autoscaling
    acting: bool
    """Whether what is decided reaches the Deployment."""
    told: AutoscalingStatus | None
    pods: tuple[Pod, ...]
    """Those that are ready and stay."""
    pool: Pool
    replicas: int
    """Pods that the Deployment asks for, or is to ask for if those are more."""
    extra: int
    """Pods that there are beyond those."""

    @property
    def name(self) -> str:
        """Return what it is called where limits of GPUs are shared out."""
        return "/".join(self.key)

    def claim(self) -> Claim:
        """Return what it asks of the limits of GPUs; one that is only advised has what it has."""
        spec, now = self.spec, self.pool.desired
        need = now if self.followed.need is None else self.followed.need
        bounded = max(spec.min_replicas, min(spec.max_replicas, need))
        return Claim(
            server=self.name,
            gpus=self.server.spec.gpus,
            least=spec.min_replicas if self.acting else now,
            need=bounded if self.acting else now,
            priority=spec.priority,
            namespace=self.key[0],
            now=self.replicas,
            extra=self.extra,
        )
