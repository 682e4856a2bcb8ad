"""The objects and ``config.pbtxt`` files that the operator makes for servers and their models.

They come from the operator's own builders, as in the first pass over a new server. What only a
cluster can give is a placeholder: uids, and the key of the model-control API.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from triton_operator.api.server import TritonServer
from triton_operator.desired import build_children
from triton_operator.desired.claim import build_claim
from triton_operator.desired.control_key import (
    ENTRY,
    ControlKey,
    build_control_key,
    plan_control_keys,
)
from triton_operator.desired.metadata import Manifest
from triton_operator.desired.owned_server import build_owned_server
from triton_operator.desired.placement import with_pull_secrets
from triton_operator.desired.sync_job import build_manifest_map, build_sync_job
from triton_operator.observed import ServerRecord, ServerWorld, Workload
from triton_operator.offline.dump import dump
from triton_operator.offline.scope import Group, Scope
from triton_operator.plan.acceptance import Accepted
from triton_operator.plan.claim import access_modes, needs_one_node
from triton_operator.plan.content import Content, plan_content
from triton_operator.plan.models import find_probe_model
from triton_operator.plan.replicas import plan_replicas
from triton_operator.settings import Settings

PLACEHOLDER_KEY: Final = "placeholder"
"""Stands for the random key that the operator makes once for each server."""

_NO_TIME: Final = datetime.min.replace(tzinfo=UTC)
"""A server for which no Job has run yet waits for nothing, so the time makes no difference."""


@dataclass(frozen=True, slots=True)
class RenderedModel:
    """What a model's folder in the repository begins with."""

    name: str
    """Name that clients use."""
    object: str
    """Name of the ``TritonModel``."""
    hash: str
    config: str
    """Text of ``config.pbtxt``."""


@dataclass(frozen=True, slots=True)
class RenderedServer:
    """All that is made for one server."""

    namespace: str
    name: str
    objects: tuple[tuple[str, Manifest], ...]
    """In the order of need, each with a name for a file."""
    models: tuple[RenderedModel, ...]

    def to_yaml(self) -> str:
        """Return the objects, with each ``config.pbtxt`` as a comment above them."""
        comments = [f"TritonServer {self.namespace}/{self.name}"]
        for model in self.models:
            comments += ["", f"{model.name}/config.pbtxt, of TritonModel {model.object}:"]
            comments += [f"  {line}" for line in model.config.splitlines()]
        first, *rest = (manifest for _, manifest in self.objects)
        return dump(first, comments=comments) + "".join(dump(each) for each in rest)

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield the path and the text of every file that a folder of this server holds."""
        folder = f"{self.namespace}/{self.name}"
        for name, manifest in self.objects:
            yield f"{folder}/{name}.yaml", dump(manifest)
        for model in self.models:
            yield f"{folder}/models/{model.name}/config.pbtxt", model.config


def render_scope(scope: Scope, settings: Settings) -> tuple[RenderedServer, ...]:
    """Return what is made for every server of a scope in which nothing was found to be wrong."""
    return tuple(
        _render(
            group,
            group.server.record,
            with_pull_secrets(group.server.record.spec, settings.image_pull_secrets),
            settings,
        )
        for group in scope.groups()
        if group.server is not None and group.server.record.spec is not None
    )


def _render(
    group: Group, record: ServerRecord, server: TritonServer, settings: Settings
) -> RenderedServer:
    content = plan_content(
        ServerWorld(record, models=tuple(model.record for model in group.models)),
        record,
        server,
        Workload(),
        {},
        claim=None,
        backends=settings.allowed_backends,
        loading={},
        now=_NO_TIME,
    )
    objects: dict[str, Manifest | None] = {"tritonserver": _owned_server(group, record)}
    objects |= _build_objects(record, server, content, settings)
    return RenderedServer(
        namespace=record.meta.namespace,
        name=record.meta.name,
        objects=tuple((file, each) for file, each in objects.items() if each is not None),
        models=tuple(
            RenderedModel(
                name=plan.folder,
                object=plan.object,
                hash=plan.verdict.generation.hash,
                config=plan.verdict.generation.config,
            )
            for plan in sorted(content.plans, key=lambda each: each.folder)
            if isinstance(plan.verdict, Accepted)
        ),
    )


def _build_objects(
    record: ServerRecord, server: TritonServer, content: Content, settings: Settings
) -> dict[str, Manifest | None]:
    # What a claim of the user's allows, only the cluster knows.
    one_node = needs_one_node(access_modes(server, None))
    secret = plan_control_keys(record.meta, Workload(), ()).secret
    children = build_children(
        server,
        default_image=settings.server_image,
        replicas=plan_replicas(server, Workload()),
        control_key=ControlKey(secret, PLACEHOLDER_KEY),
        probe_model=find_probe_model(record, content.plans),
        one_node=one_node,
        repository=content.repository,
        startable=content.startable,
        access=settings.server_access,
    )
    job = build_sync_job(
        server,
        content.manifest,
        sequence=1,
        attempt=0,
        image=settings.sync_image,
        image_pull_policy=settings.sync_image_pull_policy,
        memory_limit=settings.sync_memory_limit,
        one_node=one_node,
    )
    return {
        "secret-control-key": _control_key(record, secret),
        "persistentvolumeclaim": build_claim(server),
        "service": children.service,
        "service-headless": children.headless_service,
        "networkpolicy": children.network_policy,
        "poddisruptionbudget": children.disruption_budget,
        "deployment": children.deployment,
        "configmap-manifest": build_manifest_map(server, content.manifest),
        "job-sync": job,
    }


def _control_key(record: ServerRecord, name: str) -> dict[str, Any]:
    secret = build_control_key(record.meta, name)
    return {**secret, "data": {ENTRY: base64.b64encode(PLACEHOLDER_KEY.encode()).decode()}}


def _owned_server(group: Group, record: ServerRecord) -> Manifest | None:
    if record.owner() is None:
        return None
    (owner,) = (model.record.spec for model in group.models if model.record.owns_server)
    return build_owned_server(owner) if owner is not None else None
