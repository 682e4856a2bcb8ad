"""What the API server's audit log, which only the local cluster has, says of the operator."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import settings

OPERATOR = "system:serviceaccount:triton-system:triton-operator"
_POD = "authentication.kubernetes.io/pod-name"
_READS = {"get", "list", "watch"}


@dataclass(frozen=True)
class Entry:
    """One request that the API server has answered."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    status: int
    forbidden: bool
    """No role allows it; admission may refuse what is allowed, with the same status."""
    received: str
    """When, by the API server's clock: RFC 3339 in UTC, so that texts compare as times do."""
    pod: str
    """Whose token it was."""

    @property
    def writes(self) -> bool:
        return self.verb not in _READS

    def __str__(self) -> str:
        return f"{self.verb} {self.resource} {self.name} ({self.status})"


class AuditLog:
    """The requests of one user from the moment of its making on."""

    def __init__(self, user: str = OPERATOR, path: Path | None = None) -> None:
        self._user = user
        self._path = path or settings.folders().audit_log
        self._start = self._path.stat().st_size

    @staticmethod
    def exists() -> bool:
        return settings.folders().audit_log.is_file()

    def entries(self, namespace: str | None = None) -> list[Entry]:
        """Return what has been logged so far, of one namespace or of all."""
        return [e for e in self._read() if namespace is None or e.namespace == namespace]

    def writes(self, namespace: str | None = None) -> list[Entry]:
        """Return what was written; the operator's Lease, renewed all the time, aside."""
        found = self.entries(namespace)
        return [entry for entry in found if entry.writes and entry.resource != "leases"]

    def _read(self) -> Iterator[Entry]:
        with self._path.open() as log:
            log.seek(self._start)
            for line in log:
                if self._user not in line or not line.endswith("\n"):
                    continue
                entry = json.loads(line)
                if entry["user"]["username"] != self._user or entry["stage"] == "Panic":
                    continue
                of, annotations = entry.get("objectRef", {}), entry.get("annotations", {})
                resource = "/".join(filter(None, (of.get("resource"), of.get("subresource"))))
                yield Entry(
                    verb=entry["verb"],
                    group=of.get("apiGroup", ""),
                    resource=resource,
                    namespace=of.get("namespace", ""),
                    name=of.get("name", ""),
                    status=entry.get("responseStatus", {}).get("code", 0),
                    forbidden=annotations.get("authorization.k8s.io/decision") == "forbid",
                    received=entry["requestReceivedTimestamp"],
                    pod=entry["user"].get("extra", {}).get(_POD, [""])[0],
                )
