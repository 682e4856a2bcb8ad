"""What the API server knows of models, their servers and pods, read in three requests."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property

from triton_operator import names
from triton_operator.kubectl.connection import Connection
from triton_operator.kubectl.errors import UnusableError
from triton_operator.observed import COMPONENT_SERVER, ModelRecord, Pod, ServerRecord
from triton_operator.ports import Key

_LISTED = 10


@dataclass(frozen=True)
class Fleet:
    """The models of one or of all namespaces, with their servers and pods."""

    servers: Mapping[Key, ServerRecord] = field(default_factory=dict)
    models: Mapping[Key, ModelRecord] = field(default_factory=dict)
    pods: Mapping[Key, tuple[Pod, ...]] = field(default_factory=dict)
    """By server, sorted by name; those that run Triton, or are to."""

    def models_of(self, server: Key) -> tuple[ModelRecord, ...]:
        """Return the models that name a server, by name."""
        return tuple(self._by_server.get(server, ()))

    def server_keys(self) -> tuple[Key, ...]:
        """Return all servers, also those that are only named by a model."""
        return tuple(sorted({*self.servers, *self._by_server}))

    @cached_property
    def _by_server(self) -> Mapping[Key, list[ModelRecord]]:
        found: dict[Key, list[ModelRecord]] = {}
        for (namespace, _), model in sorted(self.models.items()):
            found.setdefault((namespace, model.server_name), []).append(model)
        return found

    def find_model(self, key: Key) -> ModelRecord:
        """Return a model.

        Raises
        ------
        UnusableError
            There is none of this name.

        """
        if key in self.models:
            return self.models[key]
        raise _missing(key, names.KIND_MODEL, self.models)

    def find_server(self, key: Key) -> Key:
        """Return the server of this name, or else the one that serves the model of this name.

        Raises
        ------
        UnusableError
            There is neither.

        """
        if key in self.servers:
            return key
        if key in self.models:
            return (key[0], serving(self.models[key]))
        known = {*self.models, *self.servers}
        raise _missing(key, f"{names.KIND_MODEL} or {names.KIND_SERVER}", known)


def serving(model: ModelRecord) -> str:
    """Return the server that answers for a model; the old one while the model moves."""
    return model.status.server or model.server_name


async def read_fleet(connection: Connection, namespace: str) -> Fleet:
    """Return what there is in a namespace; in all of them for an empty one.

    Raises
    ------
    ClusterError
        The API server refused or did not answer.

    """
    selector = f"{names.LABEL_SERVER},{names.LABEL_COMPONENT}={COMPONENT_SERVER}"
    servers, models, pods = await asyncio.gather(
        connection.list_objects(names.KIND_SERVER, namespace),
        connection.list_objects(names.KIND_MODEL, namespace),
        connection.list_objects("Pod", namespace, selector),
    )
    by_server: dict[Key, list[Pod]] = {}
    for body in pods:
        meta = body["metadata"]
        key = (meta["namespace"], meta["labels"][names.LABEL_SERVER])
        by_server.setdefault(key, []).append(Pod.parse(body))
    records = [ServerRecord.parse(body) for body in servers]
    return Fleet(
        servers={each.key: each for each in records},
        models={each.key: each for each in map(ModelRecord.parse, models)},
        pods={
            key: tuple(sorted(found, key=lambda pod: pod.name)) for key, found in by_server.items()
        },
    )


def _missing(key: Key, kind: str, known: Iterable[Key]) -> UnusableError:
    namespace, name = key
    here = sorted({other for where, other in known if where == namespace})
    if not here:
        return UnusableError(
            f"there is no {kind} in the namespace {namespace}: choose another one with -n"
        )
    close = get_close_matches(name, here, n=1)
    listed = ", ".join(here[:_LISTED]) + (", …" if len(here) > _LISTED else "")
    mend = f"did you mean {close[0]}?" if close else f"there are {listed}"
    return UnusableError(f"there is no {kind} {name} in the namespace {namespace}: {mend}")
