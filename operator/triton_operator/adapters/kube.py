"""`triton_operator.ports.Cluster` over a real API server."""

import asyncio
import json
import logging
import os
from contextlib import nullcontext
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from triton_operator import names
from triton_operator.adapters.api_client import APPLY, JSON_PATCH, KINDS, MERGE_PATCH, KubeApi
from triton_operator.adapters.diff import covers, digest, owner_uid
from triton_operator.adapters.key_secrets import KeySecrets
from triton_operator.adapters.mirror import Mirror, Ref, ref_of
from triton_operator.adapters.objects import Objects, raise_refusal, taken
from triton_operator.adapters.telemetry import PrometheusTelemetry
from triton_operator.api.meta import ObjectMeta
from triton_operator.api.model import TritonModelStatus
from triton_operator.api.server import TritonServerStatus
from triton_operator.desired.metadata import Manifest
from triton_operator.errors import ClusterError, NamespaceTerminatingError
from triton_operator.observed import (
    AUTOSCALER,
    COMPONENT_SYNC,
    Autoscaler,
    Body,
    Claim,
    ModelRecord,
    Pod,
    ServerRecord,
    ServerWorld,
    SyncJob,
)
from triton_operator.plan.events import Event
from triton_operator.ports import Key

_CHILDREN = frozenset(
    {"Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget", "PersistentVolumeClaim"}
)
_NOTE_BYTES = 1024
_LOG_BYTES = 2_000_000
_SERVICES_AT_ONCE = 8
"""An API server finds addresses for one Service at a time: with hundreds to make, more than a few
would wait there for seconds, on the connections that everything else needs."""
_logger = logging.getLogger(__name__)


class KubeCluster:
    """The cluster as a pass sees it: reads from the mirror, writes to the API server."""

    def __init__(self, api: KubeApi, mirror: Mirror, telemetry: PrometheusTelemetry) -> None:
        self._api = api
        self._mirror = mirror
        self._telemetry = telemetry
        self._objects = Objects(api, mirror)
        self._keys = KeySecrets(self._objects)
        self._settled: dict[Ref, tuple[str, str]] = {}
        self._services = asyncio.Semaphore(_SERVICES_AT_ONCE)

    # ---- reads ----------------------------------------------------------------------------

    def observe(self, server: Key) -> ServerWorld:
        """Return what is known of a server, its models, children, pods and who else scales it."""
        parsed = self._mirror.parsed
        found: dict[str, list[Body]] = {}
        for body in self._mirror.of_server(*server):
            found.setdefault(body["kind"], []).append(body)
        return ServerWorld(
            server=self.server(server),
            models=tuple(
                parsed(body, ModelRecord.parse) for body in found.get(names.KIND_MODEL, ())
            ),
            pods=tuple(parsed(body, Pod.parse) for body in found.get("Pod", ())),
            jobs=tuple(parsed(body, SyncJob.parse) for body in found.get("Job", ())),
            autoscalers=tuple(parsed(body, Autoscaler.parse) for body in found.get(AUTOSCALER, ())),
            children={
                (kind, body["metadata"]["name"]): body
                for kind in _CHILDREN
                for body in found.get(kind, ())
            },
        )

    def model(self, key: Key) -> ModelRecord | None:
        """Return a model."""
        body = self._mirror.get(names.KIND_MODEL, *key)
        return self._mirror.parsed(body, ModelRecord.parse) if body is not None else None

    def server(self, key: Key) -> ServerRecord | None:
        """Return a server."""
        body = self._mirror.get(names.KIND_SERVER, *key)
        return self._mirror.parsed(body, ServerRecord.parse) if body is not None else None

    async def claim(self, namespace: str, name: str) -> Claim | None:
        """Return a claim, also one that is not the operator's; costs a request."""
        body = await self._objects.find("PersistentVolumeClaim", namespace, name)
        return Claim.parse(body) if body is not None else None

    # ---- writes ---------------------------------------------------------------------------

    async def apply(self, manifest: Manifest) -> bool:
        """Make an object hold a manifest's fields; return False if it did already."""
        meta = manifest["metadata"]
        content = digest(manifest)
        annotations = {**meta.get("annotations", {}), names.ANNOTATION_APPLIED: content}
        wanted = {**manifest, "metadata": {**meta, "annotations": annotations}}
        ref = ref_of(manifest)
        live = self._mirror.get(*ref)
        if live is not None:
            if owner_uid(live) != owner_uid(manifest):
                raise taken(manifest, live)
            version = live["metadata"].get("resourceVersion", "")
            if covers(live, wanted) or self._settled.get(ref) == (version, content):
                return False
        try:
            async with self._services if ref[0] == "Service" else nullcontext():
                answer = await self._api.request(
                    "PATCH",
                    KINDS[ref[0]].path(ref[1], ref[2]),
                    body=wanted,
                    content_type=APPLY,
                    fieldManager=names.FIELD_MANAGER,
                    # What is not in the mirror must not exist: never take over somebody's object.
                    force="true" if live is not None else "false",
                )
        except ClusterError as error:
            if live is None and error.status == HTTPStatus.CONFLICT:
                raise taken(manifest, None) from error
            raise_refusal(ref, error)
            raise
        # The API server writes some values in its own way; what it made of this manifest is right.
        self._settled[ref] = (answer["metadata"]["resourceVersion"], content)
        self._mirror.put(answer)
        return True

    async def create(self, manifest: Manifest) -> None:
        """Create an object that never changes; one that exists and is ours is fine."""
        await self._objects.create(manifest)

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object and what it owns; one that is gone is fine."""
        await self._objects.delete(kind, namespace, name)

    async def control_key(self, server: ObjectMeta, secret: str, *, new: bool) -> str:
        """Return the key of a server's model-control API that a Secret holds; made if it is not."""
        return await self._keys.provide(server, secret, new=new)

    async def find_control_key(self, server: ObjectMeta, secret: str) -> str | None:
        """Return the key that a Secret of a server holds, or None."""
        return await self._keys.find(server, secret)

    async def drop_control_key(self, server: ObjectMeta, secret: str) -> None:
        """Delete a Secret with a key of a server; one that is gone, or not its own, is fine."""
        await self._keys.drop(server, secret)

    async def write_status(
        self, kind: str, meta: ObjectMeta, status: TritonModelStatus | TritonServerStatus
    ) -> None:
        """Replace the status of a model or server; one that is gone is fine."""
        value = json.loads(status.model_dump_json(by_alias=True, exclude_none=True))
        patch = [
            # An object of the same name that was made since is another one.
            {"op": "test", "path": "/metadata/uid", "value": meta.uid},
            {"op": "add", "path": "/status", "value": value},
        ]
        await self._objects.patch(kind, meta, patch, JSON_PATCH, subresource="status")

    async def set_deletion_cost(self, namespace: str, pod: Pod, cost: str) -> None:
        """Say how soon a pod is to go when there are to be fewer; one that is gone is fine."""
        annotations = {names.ANNOTATION_DELETION_COST: cost}
        meta = ObjectMeta(name=pod.name, namespace=namespace)
        await self._objects.patch(
            "Pod", meta, {"metadata": {"annotations": annotations}}, MERGE_PATCH
        )

    async def set_finalizers(
        self, kind: str, meta: ObjectMeta, finalizers: tuple[str, ...]
    ) -> None:
        """Replace the finalizers of an object."""
        wanted = {"finalizers": list(finalizers), "resourceVersion": meta.resource_version}
        await self._objects.patch(kind, meta, {"metadata": wanted}, MERGE_PATCH)

    async def record_event(self, kind: str, meta: ObjectMeta, event: Event) -> None:
        """Attach an Event to an object, and write a line of the log.

        Neither in a namespace that goes away.
        """
        name = f"{meta.name}.{uuid4().hex[:16]}"
        body = {
            "apiVersion": KINDS["Event"].api,
            "kind": "Event",
            "metadata": {"name": name, "namespace": meta.namespace},
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": event.type,
            "reason": event.reason,
            "action": "Reconcile",
            "note": event.message.encode()[:_NOTE_BYTES].decode(errors="ignore"),
            "reportingController": names.GROUP,
            "reportingInstance": os.environ.get("HOSTNAME", names.FIELD_MANAGER),
            "regarding": {
                "apiVersion": names.API_VERSION,
                "kind": kind,
                "name": meta.name,
                "namespace": meta.namespace,
                "uid": meta.uid,
            },
        }
        try:
            await self._api.request("POST", KINDS["Event"].path(meta.namespace), body=body)
        except NamespaceTerminatingError as error:
            # What vanishes there in an order of its own is news to nobody.
            _logger.debug("Event %s for %s: %s", event.reason, meta.name, error)
            return
        except ClusterError as error:
            # The status says the same: no pass may fail for want of an Event.
            _logger.warning("Event %s for %s: %s", event.reason, meta.name, error)
        self._telemetry.told(kind, event)
        _logger.log(
            logging.WARNING if event.type == "Warning" else logging.INFO,
            "%s %s/%s: %s: %s",
            *(kind, meta.namespace, meta.name, event.reason, event.message),
            extra={
                "object": {"kind": kind, "namespace": meta.namespace, "name": meta.name},
                "reason": event.reason,
            },
        )

    async def read_log(
        self,
        namespace: str,
        pod: Pod,
        *,
        lines: int = 5_000,
        seconds: int | None = None,
        previous: bool = False,
    ) -> str:
        """Return the last lines that a pod's container of ours logged, none older than that."""
        of_job = pod.component == COMPONENT_SYNC
        narrowed: dict[str, Any] = {}
        if seconds is not None:
            narrowed["sinceSeconds"] = str(max(1, seconds))
        if previous:
            narrowed["previous"] = "true"
        return await self._api.read(
            "GET",
            KINDS["Pod"].path(namespace, pod.name, subresource="log"),
            container=names.CONTAINER_SYNC if of_job else names.CONTAINER_TRITON,
            tailLines=str(lines),
            limitBytes=str(_LOG_BYTES),
            **narrowed,
        )
