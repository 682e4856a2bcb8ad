"""One pass over one model: see to it that it has a server, and say so when it has none.

From the moment a server has taken a model, only the server's pass writes the model's status.
"""

from triton_operator import names
from triton_operator.api.model import TritonModel
from triton_operator.desired.owned_server import build_owned_server
from triton_operator.errors import OperatorError
from triton_operator.observed import ModelRecord, ServerRecord
from triton_operator.plan.acceptance import explain_server_taken
from triton_operator.plan.model_status import report_unserved
from triton_operator.ports import Clock, Cluster, Key
from triton_operator.reconcile.reporter import Reporter


class ModelAssigner:
    """Takes models to their servers."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._now = clock
        self._reporter = Reporter(cluster, clock)

    async def assign(self, key: Key) -> Key | None:
        """Make one pass; return the model's own server if it was made or changed.

        Raises
        ------
        OperatorError
            After it was written to the status; the caller decides when to retry.

        """
        record = self._cluster.model(key)
        if record is None or record.meta.deletion_timestamp is not None:
            return None
        server = self._cluster.server((record.meta.namespace, record.server_name))
        try:
            if record.spec is not None and record.owns_server:
                return key if await self._own(record, record.spec, server) else None
            elif server is None:
                await self._report(record, *_explain_missing(record))
            else:
                await self._leave_own_server(record)
        except OperatorError as error:
            await self._report(record, error.reason, str(error))
            raise
        return None

    async def _own(
        self, record: ModelRecord, model: TritonModel, server: ServerRecord | None
    ) -> bool:
        """Apply the model's own server; return whether that changed it."""
        if server is not None and not server.takes(record):
            message = explain_server_taken(server.meta.name)
            await self._report(record, "ServerNameTaken", message)
            return False
        return await self._cluster.apply(build_owned_server(model))

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

    async def _report(self, record: ModelRecord, reason: str, message: str) -> None:
        status = report_unserved(record, reason, message, now=self._now())
        await self._reporter.write_model(record, status)


def _belongs(server: ServerRecord, record: ModelRecord) -> bool:
    owner = server.owner()
    return owner is not None and owner[0] == record.meta.uid


def _explain_missing(record: ModelRecord) -> tuple[str, str]:
    if record.error is not None:
        return record.error.reason, str(record.error)
    return (
        "ServerNotFound",
        f"spec.serverRef.name: there is no TritonServer {record.server_name!r} in namespace"
        f" {record.meta.namespace!r}; create it, correct the name, or leave serverRef out to get"
        " a server of its own",
    )
