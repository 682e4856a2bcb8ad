"""Control keys: made, looked up for the pods that have older ones, deleted when none has."""

from collections.abc import Mapping

from triton_operator.api.meta import ObjectMeta
from triton_operator.desired.control_key import ControlKey, KeyPlan
from triton_operator.ports import Cluster


class ControlKeys:
    """The keys of servers, as their Secrets hold them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def provide(self, server: ObjectMeta, plan: KeyPlan, *, new: bool) -> ControlKey:
        """Return the key of new pods, and delete the Secrets that nothing needs any more.

        ``new`` says that its Secret is not likely to be there.
        """
        key = await self._cluster.control_key(server, plan.secret, new=new)
        for secret in sorted(plan.retired):
            await self._cluster.drop_control_key(server, secret)
        return ControlKey(plan.secret, key, plan.others)

    async def collect(self, server: ObjectMeta, current: ControlKey) -> Mapping[str, str]:
        """Return all keys that pods may answer to, by Secret; without those that are not there."""
        found = {
            secret: await self._cluster.find_control_key(server, secret)
            for secret in sorted(current.others)
        }
        others = {secret: key for secret, key in found.items() if key is not None}
        return {current.secret: current.key, **others}
