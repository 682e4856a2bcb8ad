"""The objects that would be in a cluster together, with their models gathered by server."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from triton_operator import names
from triton_operator.api.server import ResponseCache, TritonServer, TritonServerSpec
from triton_operator.desired.owned_server import build_owned_server
from triton_operator.observed import ModelRecord, ServerRecord
from triton_operator.offline.documents import Document

PLACEHOLDER_UID: Final = "00000000-0000-0000-0000-000000000000"
"""Stands for every uid: only the API server can give real ones."""

Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True)
class Model:
    """A ``TritonModel`` of the files."""

    document: Document
    record: ModelRecord

    @property
    def folder(self) -> str:
        """The name that clients use, as far as it can be read."""
        spec = self.document.body.get("spec")
        given = spec.get("modelName") if isinstance(spec, dict) else None
        return given if isinstance(given, str) and given else self.record.meta.name


@dataclass(frozen=True)
class Server:
    """A ``TritonServer`` of the files, or one that its model brings."""

    record: ServerRecord
    document: Document | None = None
    """None for a server that belongs to a model."""

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.record.meta.namespace, self.record.meta.name


@dataclass(frozen=True)
class Group:
    """A server and the models that it is asked to serve."""

    key: Key
    server: Server | None
    """None where a model names a server that is not among the files."""
    models: tuple[Model, ...]

    def judge(self) -> TritonServer:
        """Return the server that judges the models; one that has everything if it is not known."""
        if self.server is not None and self.server.record.spec is not None:
            return self.server.record.spec
        everything = TritonServerSpec(gpus=16, response_cache=ResponseCache(size="1Gi"))
        meta = {"namespace": self.key[0], "name": self.key[1]}
        server = TritonServer.model_validate({"metadata": meta})
        return server.model_copy(update={"spec": everything})


@dataclass(frozen=True)
class Scope:
    """All objects of the operator's kinds that would be in a cluster together."""

    models: tuple[Model, ...]
    servers: tuple[Server, ...]
    """Those of the files, and then those that belong to a model."""
    repeated: tuple[tuple[Document, Document], ...]
    """Objects that a later one of the same kind and name would replace: the first, the later."""

    def groups(self) -> tuple[Group, ...]:
        """Return servers with their models, by namespace and name."""
        servers = {server.key: server for server in reversed(self.servers)}
        models: dict[Key, list[Model]] = {key: [] for key in servers}
        for model in self.models:
            record = model.record
            key = (record.meta.namespace, record.server_name)
            server = servers.get(key)
            if server is None or server.record.takes(record):
                models.setdefault(key, []).append(model)
        return tuple(
            Group(key, servers.get(key), tuple(members)) for key, members in sorted(models.items())
        )


def build_scope(documents: Iterable[Document], namespace: str) -> Scope:
    """Return the scope of some objects; those that name no namespace are in ``namespace``."""
    models: list[Model] = []
    servers: list[Server] = []
    first: dict[tuple[str, Key], Document] = {}
    repeated = []
    for document in documents:
        body = _settled(document, namespace)
        if body is None:
            continue
        key = (body["metadata"]["namespace"], body["metadata"]["name"])
        known = first.setdefault((document.kind, key), document)
        if known is not document:
            repeated.append((known, document))
        elif document.kind == names.KIND_MODEL:
            models.append(Model(document, ModelRecord.parse(body)))
        else:
            servers.append(Server(ServerRecord.parse(body), document))
    owned = (_own_server(model) for model in models)
    return Scope(tuple(models), (*servers, *filter(None, owned)), tuple(repeated))


def _settled(document: Document, namespace: str) -> dict[str, Any] | None:
    """Return an object as the API server would store it; None if it cannot even be named."""
    name = document.metadata.get("name")
    spec = document.body.get("spec", {})
    if not (isinstance(name, str) and name and isinstance(spec, Mapping)):
        return None
    reference = spec.get("serverRef", {})
    if not (isinstance(reference, Mapping) and isinstance(reference.get("name", ""), str)):
        return None
    place = document.metadata.get("namespace") or namespace
    # Labels and annotations play no part here; a mistake in them is told on its own.
    meta = {"name": name, "namespace": str(place), "uid": PLACEHOLDER_UID}
    return {"apiVersion": names.API_VERSION, "kind": document.kind, "metadata": meta, "spec": spec}


def _own_server(model: Model) -> Server | None:
    record = model.record
    if record.spec is None or not record.owns_server:
        return None
    body: dict[str, Any] = dict(build_owned_server(record.spec))
    body["metadata"] = {**body["metadata"], "uid": PLACEHOLDER_UID}
    return Server(ServerRecord.parse(body))
