"""A copy of the objects that the operator reads, so that reading costs no request.

Watches feed it, our own writes feed it with the API server's answers (so a pass sees what the pass
before it wrote), and a full list now and then takes out what a broken watch has missed.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from triton_operator import names
from triton_operator.observed import AUTOSCALER, Autoscaler, Body

T = TypeVar("T")

Ref = tuple[str, str, str]
"""Kind, namespace and name."""

_REMEMBERED = 1000
"""How many deleted objects are remembered; the answers that they outrun are seconds late."""

_VOLATILE = ("managedFields", "resourceVersion")
_TOLD_OF_AUTOSCALERS = ("name", "namespace", "uid", "resourceVersion", "ownerReferences")


class Mirror:
    """Objects by kind, namespace and name, and by the server that they belong to."""

    def __init__(self) -> None:
        self._objects: dict[Ref, Body] = {}
        self._by_server: dict[tuple[str, str], set[Ref]] = defaultdict(set)
        self._gone: dict[str, int] = {}
        """The version, by uid, at which what was deleted, or lost our label, was gone."""
        self._parsed: dict[Ref, Any] = {}

    def get(self, kind: str, namespace: str, name: str) -> Body | None:
        """Return an object, or None."""
        return self._objects.get((kind, namespace, name))

    def parsed(self, body: Body, parse: Callable[[Body], T]) -> T:
        """Return what ``parse`` makes of an object in the mirror; done once for each change of it.

        All callers must parse a kind the same way.
        """
        ref = ref_of(body)
        if ref not in self._parsed:
            self._parsed[ref] = parse(body)
        known: T = self._parsed[ref]
        return known

    def of_server(self, namespace: str, server: str) -> Iterator[Body]:
        """Yield the models, children and pods of a server, and who else scales it."""
        for ref in sorted(self._by_server.get((namespace, server), ())):
            yield self._objects[ref]

    def __iter__(self) -> Iterator[Body]:
        """Yield all objects, as they are now."""
        return iter(tuple(self._objects.values()))

    def of_kind(self, kind: str) -> Iterator[Body]:
        """Yield all objects of a kind."""
        return (body for ref, body in self._objects.items() if ref[0] == kind)

    def put(self, body: Body) -> bool:
        """Store an object; return whether anything changed that a pass may decide on.

        What is older than the stored one is ignored, as is our own status on our own kinds.
        """
        ref = ref_of(body)
        if _version(body) <= self._gone.get(_uid(body), -1):
            # The answer to a write of ours, overtaken by the news of the deletion.
            return False
        before = self._objects.get(ref)
        if before is not None and _version(before) > _version(body):
            return False
        self._forget(ref)
        servers = servers_of(body)
        if ref[0] == AUTOSCALER and not servers:
            # All of the cluster's are watched; most are of no concern, and need no memory.
            return before is not None
        self._objects[ref] = _slim(body)
        for server in servers:
            self._by_server[(ref[1], server)].add(ref)
        return before is None or _significant(before) != _significant(self._objects[ref])

    def drop(self, body: Body) -> bool:
        """Forget an object that was deleted; return whether it was known."""
        ref = ref_of(body)
        known = self._objects.get(ref)
        if known is None or _uid(known) != _uid(body):
            if _uid(body) in self._gone:
                self._remember(body)
            return False
        self._forget(ref)
        self._remember(body)
        return True

    def missing(
        self, kind: str, namespace: str, listed: Iterable[Body], version: int
    ) -> list[Body]:
        """Return what a list of this version should have had, but has not; "" is all namespaces.

        It has the version of the list: by then it was gone.
        """
        there = {(ref_of(body), _uid(body)) for body in listed}
        return [
            {**body, "metadata": {**body["metadata"], "resourceVersion": str(version)}}
            for ref, body in self._objects.items()
            if ref[0] == kind
            and namespace in ("", ref[1])
            and _version(body) <= version
            and (ref, _uid(body)) not in there
        ]

    def _remember(self, gone: Body) -> None:
        self._gone[_uid(gone)] = max(_version(gone), self._gone.pop(_uid(gone), 0))
        if len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]

    def _forget(self, ref: Ref) -> None:
        body = self._objects.pop(ref, None)
        self._parsed.pop(ref, None)
        for server in servers_of(body) if body is not None else ():
            key = (ref[1], server)
            self._by_server[key].discard(ref)
            if not self._by_server[key]:
                del self._by_server[key]


def ref_of(body: Body) -> Ref:
    """Return kind, namespace and name of an object."""
    return (body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"])


def servers_of(body: Body) -> tuple[str, ...]:
    """Return the servers that an object matters to, by its kind, labels or spec."""
    meta = body["metadata"]
    if body["kind"] == names.KIND_MODEL:
        reference = ((body.get("spec") or {}).get("serverRef") or {}).get("name") or meta["name"]
        # The one that served it last goes on with it until the next one has taken it.
        last = (body.get("status") or {}).get("server")
        return (reference, last) if last and last != reference else (reference,)
    if body["kind"] == names.KIND_SERVER:
        return (meta["name"],)
    if body["kind"] == AUTOSCALER:
        return tuple(filter(None, (Autoscaler.parse(body).server,)))
    server = (meta.get("labels") or {}).get(names.LABEL_SERVER)
    return (server,) if server else ()


def _slim(body: Body) -> Body:
    meta = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    if body["kind"] == AUTOSCALER:
        # The rest changes every few seconds, and nothing is decided on it.
        told = {key: meta[key] for key in _TOLD_OF_AUTOSCALERS if key in meta}
        target = (body.get("spec") or {}).get("scaleTargetRef")
        return {"kind": AUTOSCALER, "metadata": told, "spec": {"scaleTargetRef": target}}
    return {**body, "metadata": meta}


def _significant(body: Body) -> dict[str, Any]:
    ours = body["kind"] in (names.KIND_MODEL, names.KIND_SERVER)
    meta = {key: value for key, value in body["metadata"].items() if key not in _VOLATILE}
    rest = {key: value for key, value in body.items() if not (ours and key == "status")}
    return {**rest, "metadata": meta}


def _version(body: Body) -> int:
    # Compared as numbers, which the API server guarantees since 1.35 and etcd always did.
    version = body["metadata"].get("resourceVersion", "0")
    return int(version) if version.isdigit() else 0


def _uid(body: Body) -> str:
    return str(body["metadata"].get("uid", ""))
