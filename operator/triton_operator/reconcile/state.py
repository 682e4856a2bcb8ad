"""What one pass over one server has found and decided so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from triton_operator.api.server import TritonServer
from triton_operator.desired import Children
from triton_operator.desired.control_key import KeyPlan
from triton_operator.errors import InvalidSpecError
from triton_operator.observed import Pod, Served, ServerRecord, ServerWorld
from triton_operator.plan.assessment import Ongoing, Refusal
from triton_operator.plan.claim import ClaimReport
from triton_operator.plan.models import ModelPlan
from triton_operator.plan.replicas import Scaling
from triton_operator.plan.sync import SyncPlan


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass over a server has found and decided so far."""

    world: ServerWorld
    record: ServerRecord
    server: TritonServer
    plans: tuple[ModelPlan, ...]
    children: Children
    problem: InvalidSpecError | None
    """Why a child cannot be as the spec wants it; what was there before stays."""
    scaling: Scaling
    claim: ClaimReport
    sync: SyncPlan
    repository: str
    """What up-to-date pods serve: a revision of the repository, or LINKS."""
    in_place: bool
    """Whether ``rollout: Auto`` has found no room for a spare pod."""
    loss: str
    """Why the rollout is paused: what new pods serve less than older ones; empty if it is not."""
    keys: Mapping[str, str]
    """Control keys by Secret, as pods name them."""
    key_plan: KeyPlan
    served: Mapping[Pod, Served | None]
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    loads: Mapping[str, Ongoing] = field(default_factory=dict)
    """What goes on, by the name of the model."""

    @property
    def must_go_back(self) -> bool:
        """Return whether a refusal was found that changes what the repository links to."""
        new = (
            plan
            for plan in self.plans
            if plan.object in self.refusals and plan.refusal is None and plan.link == plan.wanted
        )
        return any(
            plan.link_if_refused(self.refusals[plan.object].reason) != plan.link for plan in new
        )
