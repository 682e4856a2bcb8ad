"""The cluster as it was seen: objects of others, parsed at the border into small values.

Nothing behind this module reads a raw Kubernetes object. Each value has a ``parse`` that takes the
object as the API server sent it, tolerates what is missing, and never fails.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from triton_operator import names
from triton_operator.api.meta import ObjectMeta
from triton_operator.api.model import TritonModel, TritonModelStatus
from triton_operator.api.server import TritonServer, TritonServerStatus
from triton_operator.errors import InvalidSpecError
from triton_operator.repository.manifest import LINKS

Body = Mapping[str, Any]
"""A Kubernetes object as plain JSON."""

_Status = TypeVar("_Status", TritonModelStatus, TritonServerStatus)

AUTOSCALER = "HorizontalPodAutoscaler"
"""The kind of Kubernetes' own autoscalers, which KEDA makes, too."""

COMPONENT_SERVER = "server"
COMPONENT_SYNC = "sync"

_SAID_LENGTH = 600

READY = "READY"
"""Triton's word for a version that answers requests."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of a server or of one of its sync Jobs."""

    name: str
    uid: str = ""
    ip: str = ""
    node: str = ""
    component: str = COMPONENT_SERVER
    job: str = ""
    revision: str = ""
    """The revision of the pod template that it was made from."""
    repository: str = LINKS
    """The revision of the repository that it serves; LINKS for whatever is loaded into it."""
    ready: bool = False
    running: bool = False
    terminating: bool = False
    restarts: int = 0
    started_at: str = ""
    """When the current container started, as the kubelet wrote it."""
    created_at: datetime | None = None
    ready_since: datetime | None = None
    """When it became ready; None while it is not."""
    unschedulable: str = ""
    """The scheduler's message while it finds no node."""
    unschedulable_since: datetime | None = None
    waiting: str = ""
    """``Reason: message`` of a container that cannot start."""
    crash: str = ""
    """How the container ended before it was started again; empty if it never failed."""
    crashed_at: datetime | None = None
    finished: bool = False
    exit_code: int | None = None
    exit_reason: str = ""
    """Why its container, or the whole pod, ended: ``OOMKilled``, ``Evicted: …``."""
    termination_message: str = ""
    memory_limit: str = ""
    """Of our container, as a Kubernetes quantity."""
    deletion_cost: str = "0"
    """Pods with the lowest number go first when there are to be fewer."""

    @classmethod
    def parse(cls, body: Body) -> Self:
        """Read a pod."""
        meta, status = body["metadata"], body.get("status") or {}
        labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
        conditions = {c["type"]: c for c in status.get("conditions") or ()}
        component = labels.get(names.LABEL_COMPONENT, "")
        readiness = conditions.get("Ready", {})
        ready = readiness.get("status") == "True"
        # Others may have put containers of theirs beside ours.
        container: Mapping[str, Any] = next(
            (
                found
                for found in status.get("containerStatuses") or ()
                if found.get("name") in (names.CONTAINER_TRITON, names.CONTAINER_SYNC)
            ),
            {},
        )
        state = container.get("state") or {}
        waiting = state.get("waiting") or {}
        ended = state.get("terminated") or {}
        spec = (body.get("spec") or {}).get("containers") or ()
        limits: Mapping[str, Any] = next(
            (
                (each.get("resources") or {}).get("limits") or {}
                for each in spec
                if each.get("name") == container.get("name")
            ),
            {},
        )
        last = ended or (container.get("lastState") or {}).get("terminated") or {}
        crashed = component == COMPONENT_SERVER and last.get("exitCode", 0) != 0
        scheduled = conditions.get("PodScheduled", {})
        refused = scheduled.get("status") == "False"
        return cls(
            name=meta["name"],
            uid=meta.get("uid", ""),
            ip=status.get("podIP", ""),
            node=(body.get("spec") or {}).get("nodeName", ""),
            component=component,
            job=labels.get("batch.kubernetes.io/job-name", ""),
            revision=annotations.get(names.ANNOTATION_REVISION, ""),
            repository=annotations.get(names.ANNOTATION_REPOSITORY, LINKS),
            ready=ready,
            running="running" in state,
            terminating="deletionTimestamp" in meta,
            restarts=container.get("restartCount", 0),
            started_at=(state.get("running") or {}).get("startedAt", ""),
            created_at=parse_time(meta.get("creationTimestamp")),
            ready_since=parse_time(readiness.get("lastTransitionTime")) if ready else None,
            unschedulable=scheduled.get("message", "unschedulable") if refused else "",
            unschedulable_since=parse_time(scheduled.get("lastTransitionTime"))
            if refused
            else None,
            waiting=_reason_and_message(waiting) if waiting else "",
            crash=_crash(last) if crashed else "",
            crashed_at=parse_time(last.get("finishedAt")) if crashed else None,
            finished=status.get("phase") in ("Succeeded", "Failed"),
            exit_code=ended.get("exitCode"),
            exit_reason=_reason_and_message(status) or ended.get("reason", ""),
            termination_message=ended.get("message", ""),
            memory_limit=str(limits.get("memory", "")),
            deletion_cost=annotations.get(names.ANNOTATION_DELETION_COST, "0"),
        )

    @property
    def is_crashing(self) -> bool:
        """Whether the server failed and has not come up since."""
        return bool(self.crash) and not self.ready and not self.terminating and not self.finished

    @property
    def is_crash_looping(self) -> bool:
        """Whether the server failed more than once, and has not come up since.

        The kubelet restarts it at once after the first failure, and waits after the next ones.
        """
        waits = self.waiting.startswith("CrashLoopBackOff")
        return self.is_crashing and self.restarts + waits > 1


@dataclass(frozen=True, slots=True)
class SyncJob:
    """One Job that was asked to make a manifest true on the claim."""

    name: str
    sequence: int
    manifest: str
    config_map: str = ""
    """The ConfigMap that holds the whole manifest."""
    attempt: int = 0
    complete: bool = False
    failed: bool = False
    terminating: bool = False
    created_at: datetime | None = None
    finished_at: datetime | None = None
    message: str = ""
    repair: str = ""
    """The request to check the claim that it answers."""

    @classmethod
    def parse(cls, body: Body) -> Self:
        """Read a Job."""
        meta, status = body["metadata"], body.get("status") or {}
        annotations = meta.get("annotations") or {}
        ended = {c["type"]: c for c in status.get("conditions") or () if c.get("status") == "True"}
        final = ended.get("Complete") or ended.get("Failed") or {}
        return cls(
            name=meta["name"],
            sequence=_number(annotations.get(names.ANNOTATION_SEQUENCE)),
            manifest=annotations.get(names.ANNOTATION_MANIFEST, ""),
            config_map=annotations.get(names.ANNOTATION_CONFIG_MAP, ""),
            attempt=_number(annotations.get(names.ANNOTATION_ATTEMPT)),
            complete="Complete" in ended,
            failed="Failed" in ended,
            terminating="deletionTimestamp" in meta,
            created_at=parse_time(meta.get("creationTimestamp")),
            finished_at=parse_time(final.get("lastTransitionTime")),
            message=_reason_and_message(final) if final else "",
            repair=annotations.get(names.ANNOTATION_REPAIR, ""),
        )


@dataclass(frozen=True, slots=True)
class Workload:
    """The Deployment of a server, as its controller reports it."""

    exists: bool = False
    observed: bool = False
    """The controller has seen the latest spec."""
    desired: int = 0
    replicas: int = 0
    updated: int = 0
    ready: int = 0
    stalled: str = ""
    """The controller's message once the progress deadline is over."""
    refused: str = ""
    """Why the controller could not make pods (quota, admission)."""
    repository: str = LINKS
    """What new pods serve: a revision of the repository, or LINKS."""
    repositories: frozenset[str] = frozenset({LINKS})
    """What pods of this or of older templates may start from, as the operator wrote it."""

    @classmethod
    def parse(cls, body: Body | None) -> Self:
        """Read a Deployment; ``None`` is one that does not exist."""
        if body is None:
            return cls()
        spec, status = body.get("spec") or {}, body.get("status") or {}
        conditions = {c["type"]: c for c in status.get("conditions") or ()}
        progressing, failure = conditions.get("Progressing", {}), conditions.get("ReplicaFailure")
        generation = body["metadata"].get("generation", 0)
        template = (spec.get("template") or {}).get("metadata") or {}
        repository = (template.get("annotations") or {}).get(names.ANNOTATION_REPOSITORY, LINKS)
        listed = (body["metadata"].get("annotations") or {}).get(names.ANNOTATION_REPOSITORIES, "")
        return cls(
            exists=True,
            observed=status.get("observedGeneration", 0) >= generation,
            desired=spec.get("replicas", 1),
            replicas=status.get("replicas", 0),
            updated=status.get("updatedReplicas", 0),
            ready=status.get("readyReplicas", 0),
            repository=repository,
            repositories=frozenset({repository, *filter(None, listed.split(","))}),
            stalled=progressing.get("message", "") if progressing.get("status") == "False" else "",
            refused=_reason_and_message(failure) if failure else "",
        )

    @property
    def rolling_out(self) -> bool:
        """Whether there are pods of an older template."""
        return self.updated < self.replicas

    @property
    def complete(self) -> bool:
        """Whether all pods are of the latest template, and ready."""
        return self.observed and self.updated == self.replicas == self.ready == self.desired


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """Somebody's HorizontalPodAutoscaler."""

    name: str
    server: str = ""
    """The server that it is pointed at, directly or by its Deployment; empty for anything else."""
    on_deployment: bool = False
    maker: str = ""
    """Kind and name of what made it, as KEDA's ``ScaledObject vision``."""

    @classmethod
    def parse(cls, body: Body) -> Self:
        """Read an autoscaler."""
        target = (body.get("spec") or {}).get("scaleTargetRef") or {}
        group, kind = str(target.get("apiVersion", "")).partition("/")[0], target.get("kind")
        deployment = (group, kind) == ("apps", "Deployment")
        ours = deployment or (group, kind) == (names.GROUP, names.KIND_SERVER)
        owners = body["metadata"].get("ownerReferences") or ()
        return cls(
            name=body["metadata"]["name"],
            # A server's Deployment has its name.
            server=target.get("name", "") if ours else "",
            on_deployment=deployment,
            maker=next((f"{o['kind']} {o['name']}" for o in owners if o.get("controller")), ""),
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """A PersistentVolumeClaim, as it was asked for."""

    name: str
    access_modes: frozenset[str] = frozenset()
    requested: str = "0"
    """Quantity of storage."""

    @classmethod
    def parse(cls, body: Body) -> Self:
        """Read a claim."""
        spec = body.get("spec") or {}
        requests = (spec.get("resources") or {}).get("requests") or {}
        return cls(
            name=body["metadata"]["name"],
            access_modes=frozenset(spec.get("accessModes") or ()),
            requested=str(requests.get("storage", "0")),
        )


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
        reference = ((body.get("spec") or {}).get("serverRef") or {}).get("name")
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


@dataclass(frozen=True, slots=True)
class ServerWorld:
    """All that one pass over one server decides on."""

    server: ServerRecord | None
    models: tuple[ModelRecord, ...] = ()
    """The models that this server is to serve."""
    leaving: tuple[ModelRecord, ...] = ()
    """Models that name another server by now, which has not taken them yet."""
    pods: tuple[Pod, ...] = ()
    jobs: tuple[SyncJob, ...] = ()
    autoscalers: tuple[Autoscaler, ...] = ()
    """Those of others that are pointed at this server or its Deployment."""
    children: Mapping[tuple[str, str], Body] = field(default_factory=dict)
    """Live children by kind and name."""

    def child(self, kind: str, name: str) -> Body | None:
        """Return a live child, or None."""
        return self.children.get((kind, name))

    def server_pods(self) -> Iterator[Pod]:
        """Yield the pods that run Triton."""
        return (pod for pod in self.pods if pod.component == COMPONENT_SERVER)


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """One version of one model as a pod's repository index lists it."""

    version: str
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What one pod says about one model."""

    versions: tuple[ServedVersion, ...] = ()
    config_hash: str | None = None
    """The hash in the config that the pod serves now; None when it serves none of ours."""
    tensors: str | None = None
    """What it takes and gives, as ``tensors_of`` writes it; None when it is not known."""

    @property
    def ready_versions(self) -> tuple[int, ...]:
        """The versions that answer requests, ascending."""
        return tuple(
            sorted(int(v.version) for v in self.versions if v.state == READY and v.version)
        )

    @property
    def reason(self) -> str:
        """Triton's own words on why a version is not served, joined; empty when there are none."""
        return "; ".join(v.reason for v in self.versions if v.reason and v.reason != "unloaded")


Served = Mapping[str, ServedModel]
"""What one pod serves, by model name."""


def _reason_and_message(value: Mapping[str, Any]) -> str:
    return ": ".join(filter(None, (value.get("reason", ""), value.get("message", ""))))


def _crash(ended: Mapping[str, Any]) -> str:
    reason, code = ended.get("reason", "Error"), ended["exitCode"]
    said = " ".join(str(ended.get("message", "")).split())[-_SAID_LENGTH:]
    return f"{reason}, exit code {code}" + (f", last words: …{said}" if said else "")


def _number(value: str | None) -> int:
    return int(value) if value and value.isdigit() else 0


def parse_time(value: str | None) -> datetime | None:
    """Return a time as the API writes it; None for an empty one."""
    return datetime.fromisoformat(value) if value else None


def _status(kind: type[_Status], body: Body) -> _Status:
    try:
        return kind.model_validate(body.get("status") or {})
    except ValidationError:
        # Written by another release or by hand: the next status we write replaces it.
        return kind()
