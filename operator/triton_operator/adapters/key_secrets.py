"""The Secrets of control keys: made, found and deleted; what they hold is known for a while."""

import time

from triton_operator.adapters.diff import owner_uid
from triton_operator.adapters.objects import Objects
from triton_operator.api.meta import ObjectMeta
from triton_operator.desired.control_key import build_control_key, read_control_key
from triton_operator.observed import Body

_KEY_SECONDS = 300.0
"""How long a control key is taken for known; then its Secret is looked at again."""


class KeySecrets:
    """The Secrets of control keys, by server and name."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._keys: dict[tuple[str, str], tuple[str, float]] = {}

    async def provide(self, server: ObjectMeta, secret: str, *, new: bool) -> str:
        """Return the key of a server's model-control API that a Secret holds; made if it is not."""
        known = None if new else await self.find(server, secret)
        if known is not None:
            return known
        made = await self._objects.create(build_control_key(server, secret))
        return self._remember(server, secret, made)

    async def find(self, server: ObjectMeta, secret: str) -> str | None:
        """Return the key that a Secret of a server holds, or None."""
        now = time.monotonic()
        self._keys = {
            at: known for at, known in self._keys.items() if now - known[1] < _KEY_SECONDS
        }
        if (server.uid, secret) in self._keys:
            return self._keys[(server.uid, secret)][0]
        found = await self._objects.find("Secret", server.namespace, secret)
        if found is None or owner_uid(found) != server.uid:
            return None
        return self._remember(server, secret, found)

    async def drop(self, server: ObjectMeta, secret: str) -> None:
        """Delete a Secret with a key of a server; one that is gone, or not its own, is fine."""
        found = await self._objects.find("Secret", server.namespace, secret)
        if found is not None and owner_uid(found) == server.uid:
            await self._objects.delete("Secret", server.namespace, secret)
        self._keys.pop((server.uid, secret), None)

    def _remember(self, server: ObjectMeta, secret: str, found: Body) -> str:
        key = read_control_key(found)
        self._keys[(server.uid, secret)] = (key, time.monotonic())
        return key
