"""Our own objects, as stored."""

from dataclasses import dataclass
from typing import Self, TypeVar

from pydantic import ValidationError

from triton_operator import names
from triton_operator.api.meta import ObjectMeta
from triton_operator.api.model import TritonModel, TritonModelStatus
from triton_operator.api.server import TritonServer, TritonServerStatus
from triton_operator.errors import InvalidSpecError
from triton_operator.observed.body import Body

_Status = TypeVar("_Status", TritonModelStatus, TritonServerStatus)


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A ``TritonModel`` as stored; its spec may be one that the operator cannot read."""

    meta: ObjectMeta
    status: TritonModelStatus
    spec: TritonModel | None = None
    error: InvalidSpecError | None = None
    server_name: str = ""
    owns_server: bool = True

    @classmethod
    def parse(cls, body: Body) -> Self:
        """Read a model; what cannot be read becomes ``error``."""
        meta = ObjectMeta.model_validate(body["metadata"])
        status = _status(TritonModelStatus, body)
        reference: str | None = None
        match body:
            case {"spec": {"serverRef": {"name": str(name)}}}:
                reference = name
        try:
            model, error = TritonModel.parse(body), None
        except InvalidSpecError as refused:
            model, error = None, refused
        return cls(
            meta=meta,
            status=status,
            spec=model,
            error=error,
            server_name=reference or meta.name,
            owns_server=reference is None,
        )

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return (self.meta.namespace, self.meta.name)

    def leaves(self, server: str) -> bool:
        """Return whether a server that this model does not name any more serves it still.

        The next server puts its own name into the status once it has taken the model.
        """
        return self.server_name != server and self.status.server == server

    def good_on(self, server: str) -> str:
        """Return the hash that was last seen served everywhere on a server under its name."""
        status = self.status
        here = status.server == server and (
            self.spec is None or status.model_name == self.spec.model_name
        )
        return status.config_hash if here else ""

    @property
    def retry(self) -> str:
        """The user's last request to try what was refused; one that is taken back asks nothing."""
        return self.meta.request(names.ANNOTATION_RETRY) or self.status.retry

    @property
    def is_asked_again(self) -> bool:
        """Whether the status does not tell yet what came of that request."""
        return self.retry != self.status.retry

    @property
    def folder(self) -> str:
        """The name that clients use, which is the folder's name in the repository."""
        if self.spec is not None:
            return self.spec.model_name
        return self.status.model_name or self.meta.name


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """A ``TritonServer`` as stored; its spec may be one that the operator cannot read."""

    meta: ObjectMeta
    status: TritonServerStatus
    spec: TritonServer | None = None
    error: InvalidSpecError | None = None

    @classmethod
    def parse(cls, body: Body) -> Self:
        """Read a server; what cannot be read becomes ``error``."""
        try:
            server, error = TritonServer.parse(body), None
        except InvalidSpecError as refused:
            server, error = None, refused
        return cls(
            meta=ObjectMeta.model_validate(body["metadata"]),
            status=_status(TritonServerStatus, body),
            spec=server,
            error=error,
        )

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return (self.meta.namespace, self.meta.name)

    def owner(self) -> tuple[str, str] | None:
        """Return uid and name of the ``TritonModel`` that this server belongs to, if any."""
        for reference in self.meta.owner_references:
            if reference.kind == names.KIND_MODEL and reference.controller:
                return (reference.uid, reference.name)
        return None

    def takes(self, model: ModelRecord) -> bool:
        """Return whether a model of its namespace that names this server may be served by it.

        One without a ``serverRef`` names the server that is called like it, which may be
        somebody else's.
        """
        owner = self.owner()
        return not model.owns_server or (owner is not None and owner[0] == model.meta.uid)


def _status(kind: type[_Status], body: Body) -> _Status:
    try:
        return kind.model_validate(body.get("status") or {})
    except ValidationError:
        # Written by another release or by hand: the next status we write replaces it.
        return kind()
