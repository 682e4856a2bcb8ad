"""Control keys: made, looked up for the pods that have older ones, deleted when none has."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from triton_operator.api.meta import ObjectMeta
from triton_operator.desired.control_key import ControlKey, KeyPlan, plan_control_keys
from triton_operator.observed import Pod, Workload
from triton_operator.ports import Cluster


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of one server."""

    plan: KeyPlan
    current: ControlKey
    """The key of new pods."""
    keys: Mapping[str, str] = field(repr=False)
    """All keys that pods may answer to, by Secret; without those that are not there."""


class ControlKeys:
    """The keys of servers, as their Secrets hold them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def provide(self, server: ObjectMeta, workload: Workload, pods: Iterable[Pod]) -> KeyRing:
        """Return the keys of a server; make what is missing, delete what nothing needs any more."""
        plan = plan_control_keys(server, workload, pods)
        # One that the Deployment does not name yet is not likely to be there.
        new = plan.secret != workload.control_key
        key = await self._cluster.control_key(server, plan.secret, new=new)
        for secret in sorted(plan.retired):
            await self._cluster.drop_control_key(server, secret)
        found = {
            secret: await self._cluster.find_control_key(server, secret)
            for secret in sorted(plan.others)
        }
        others = {secret: key for secret, key in found.items() if key is not None}
        current = ControlKey(plan.secret, key, plan.others)
        return KeyRing(plan, current, {plan.secret: key, **others})
