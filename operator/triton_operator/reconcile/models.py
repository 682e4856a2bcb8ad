"""One pass over one model: see to it that it has a server, and say so when it has none.

From the moment a server has taken a model, only the server's pass writes the model's status.
"""

from collections.abc import Callable
from datetime import datetime

from triton_operator import names
from triton_operator.api.model import TritonModel
from triton_operator.desired.owned_server import build_owned_server
from triton_operator.errors import NamespaceTerminatingError, OperatorError
from triton_operator.observed import ModelRecord, ServerRecord
from triton_operator.plan.acceptance import explain_server_taken
from triton_operator.plan.events import SERVER_NOT_FOUND, Event
from triton_operator.plan.model_status import report_unserved
from triton_operator.ports import Clock, Cluster, Key
from triton_operator.reconcile.reporter import Reporter

_PATIENCE_SECONDS = 5.0
"""How long a server may be missing before that is worth a warning: who applies a folder sends a
model some moments before its server."""


class ModelAssigner:
    """Takes models to their servers; ``wake`` is called for one that was made or changed."""

    def __init__(self, cluster: Cluster, clock: Clock, wake: Callable[[Key], None]) -> None:
        self._cluster = cluster
        self._now = clock
        self._reporter = Reporter(cluster, clock)
        self._wake = wake
        self._missing: dict[Key, datetime] = {}
        """Since when the server of a model is missing that no Event has told of yet."""

    async def assign(self, key: Key) -> float | None:
        """Make one pass; return the seconds after which the next is due, if one is.

        Raises
        ------
        OperatorError
            After it was written to the status, unless the namespace goes away; the caller decides
            when to retry.

        """
        since = self._missing.pop(key, None)
        record = self._cluster.model(key)
        if record is None or record.meta.deletion_timestamp is not None:
            return None
        server = self._cluster.server((record.meta.namespace, record.server_name))
        try:
            if record.spec is not None and record.owns_server:
                await self._own(record, record.spec, server)
            elif server is not None:
                await self._leave_own_server(record)
            elif record.error is not None:
                await self._report(record, record.error.reason, str(record.error))
            else:
                return await self._report_missing(record, since)
        except NamespaceTerminatingError:
            raise  # it will soon be gone itself
        except OperatorError as error:
            await self._report(record, error.reason, str(error))
            raise
        return None

    async def _own(
        self, record: ModelRecord, model: TritonModel, server: ServerRecord | None
    ) -> None:
        """Apply the model's own server."""
        if server is not None and not server.takes(record):
            message = explain_server_taken(server.meta.name)
            await self._report(record, "ServerNameTaken", message)
        elif await self._cluster.apply(build_owned_server(model)):
            # What we wrote ourselves is in the mirror already, so its event will be no news.
            self._wake(record.key)

    async def _leave_own_server(self, record: ModelRecord) -> None:
        """Delete the server that was the model's own, once another one serves the model.

        One that other models name by now stays until they have left it, too.
        """
        namespace, name = record.key
        own = self._cluster.server(record.key)
        moved = record.status.server == record.server_name != name
        if own is None or not moved or not _belongs(own, record):
            return
        if record.status.transition == "UpToDate" and not self._cluster.observe(record.key).models:
            await self._cluster.delete(names.KIND_SERVER, namespace, name)

    async def _report_missing(self, record: ModelRecord, since: datetime | None) -> float | None:
        """Write that a model's server is missing at once, and one Event if it still is later.

        Return the seconds until that is due. A process that ends in between leaves the Event out.
        """
        message = _explain_missing(record)
        if self._is_kept(record) and record.status.versions:
            message += "; what was served before keeps serving"
        if await self._report(record, SERVER_NOT_FOUND, message):
            since = self._now()
        if since is None:
            return None
        left = _PATIENCE_SECONDS - (self._now() - since).total_seconds()
        if left > 0:
            self._missing[record.key] = since
            return left
        event = Event("Warning", SERVER_NOT_FOUND, message)
        await self._cluster.record_event(names.KIND_MODEL, record.meta, event)
        return None

    async def _report(self, record: ModelRecord, reason: str, message: str) -> bool:
        """Write why no server has the model; return whether that is news."""
        served = self._is_kept(record)
        status = report_unserved(record, reason, message, served=served, now=self._now())
        await self._reporter.write_model(record, status)
        return status != record.status

    def _is_kept(self, record: ModelRecord) -> bool:
        """Return whether the server is there that served a model last, which goes on with it."""
        last = record.status.server
        return bool(last) and self._cluster.server((record.meta.namespace, last)) is not None


def _belongs(server: ServerRecord, record: ModelRecord) -> bool:
    owner = server.owner()
    return owner is not None and owner[0] == record.meta.uid


def _explain_missing(record: ModelRecord) -> str:
    return (
        f"spec.serverRef.name: there is no TritonServer {record.server_name!r} in namespace"
        f" {record.meta.namespace!r}; create it, correct the name, or leave serverRef out to get"
        " a server of its own"
    )
