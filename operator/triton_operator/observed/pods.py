"""Pods of servers and of their sync Jobs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from triton_operator import names
from triton_operator.observed.body import Body, parse_time, reason_and_message
from triton_operator.repository.manifest import LINKS

COMPONENT_SERVER = "server"
COMPONENT_SYNC = "sync"

_SAID_LENGTH = 600
_LAST_WORDS = ", last words: …"

_NOT_STARTED = ("StartError", "ContainerCannotRun")
_NOT_STARTED_CODE = 128
"""What the runtime says of a container of which no process ran; a signal's code is larger."""


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
    ends_at: datetime | None = None
    """When one that is terminating has had the time to end that it was given."""
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
    never_ran: bool = False
    """Whether it crashes before the server runs: a sick GPU or node, whatever models there are."""
    refuses_arguments: bool = False
    """Whether it crashes because of what it was started with, whatever models there are."""
    finished: bool = False
    """Nothing of it runs any more; of a sync Job's pod, which never starts anew: its sync ended.

    The pod and its Job are said to be over seconds later, or never while a sidecar runs on.
    """
    finished_at: datetime | None = None
    exit_code: int | None = None
    exit_reason: str = ""
    """Why its container, or the whole pod, ended: ``OOMKilled``, ``Evicted: …``."""
    termination_message: str = ""
    memory_limit: str = ""
    """Of our container, as a Kubernetes quantity."""
    requests: tuple[tuple[str, str], ...] = ()
    """What our container is promised: names of resources with quantities."""
    control_key: str = ""
    """The Secret that it has its control key from."""
    deletion_cost: str = "0"
    """Pods with the lowest number go first when there are to be fewer."""

    @classmethod
    def parse(cls, body: Body) -> Self:
        """Read a pod."""
        meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
        labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
        conditions = {c["type"]: c for c in status.get("conditions") or ()}
        component = labels.get(names.LABEL_COMPONENT, "")
        readiness = conditions.get("Ready", {})
        ready = readiness.get("status") == "True"
        container = _ours(status.get("containerStatuses"))
        state = container.get("state") or {}
        waiting = state.get("waiting") or {}
        ended = state.get("terminated") or {}
        resources = _ours(spec.get("containers")).get("resources") or {}
        limits, requests = (resources.get(key) or {} for key in ("limits", "requests"))
        last = ended or (container.get("lastState") or {}).get("terminated") or {}
        crashed = component == COMPONENT_SERVER and last.get("exitCode", 0) != 0
        scheduled = conditions.get("PodScheduled", {})
        refused = scheduled.get("status") == "False"
        return cls(
            name=meta["name"],
            uid=meta.get("uid", ""),
            ip=status.get("podIP", ""),
            node=spec.get("nodeName", ""),
            component=component,
            job=labels.get("batch.kubernetes.io/job-name", ""),
            revision=annotations.get(names.ANNOTATION_REVISION, ""),
            repository=annotations.get(names.ANNOTATION_REPOSITORY, LINKS),
            ready=ready,
            running="running" in state,
            terminating="deletionTimestamp" in meta,
            ends_at=parse_time(meta.get("deletionTimestamp")),
            restarts=container.get("restartCount", 0),
            started_at=(state.get("running") or {}).get("startedAt", ""),
            created_at=parse_time(meta.get("creationTimestamp")),
            ready_since=parse_time(readiness.get("lastTransitionTime")) if ready else None,
            unschedulable=scheduled.get("message", "unschedulable") if refused else "",
            unschedulable_since=parse_time(scheduled.get("lastTransitionTime"))
            if refused
            else None,
            waiting=reason_and_message(waiting) if waiting else "",
            crash=_crash(last) if crashed else "",
            crashed_at=parse_time(last.get("finishedAt")) if crashed else None,
            never_ran=crashed
            and (last.get("reason") in _NOT_STARTED or last["exitCode"] == _NOT_STARTED_CODE),
            finished=status.get("phase") in ("Succeeded", "Failed")
            or (component == COMPONENT_SYNC and bool(ended)),
            finished_at=parse_time(ended.get("finishedAt")),
            exit_code=ended.get("exitCode"),
            exit_reason=reason_and_message(status) or ended.get("reason", ""),
            termination_message=ended.get("message", ""),
            memory_limit=str(limits.get("memory", "")) if container else "",
            requests=tuple(sorted((name, str(each)) for name, each in requests.items())),
            control_key=control_key_secret(body.get("spec") or {}),
            deletion_cost=annotations.get(names.ANNOTATION_DELETION_COST, "0"),
        )

    @property
    def takes_requests(self) -> bool:
        """Whether Services lead to it, and not only for a moment more."""
        return self.ready and not self.terminating

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

    @property
    def may_die_of_models(self) -> bool:
        """Whether the server fails again and again, and what it is to serve may be the reason."""
        return self.is_crash_looping and not self.never_ran and not self.refuses_arguments

    @property
    def ending(self) -> str:
        """How the container ended before it was started again, without its last words."""
        return self.crash.partition(_LAST_WORDS)[0]

    def with_reason(self, words: str, *, refuses_arguments: bool) -> Self:
        """Return the pod that crashes with the reason told in place of its last words."""
        crash = f"{self.ending}: {words}"
        return replace(self, crash=crash, refuses_arguments=refuses_arguments)


def control_key_secret(spec: Mapping[str, Any]) -> str:
    """Return the Secret from which pods of a spec have their control key; empty if from none."""
    for variable in _ours(spec.get("containers")).get("env") or ():
        match variable:
            case {
                "name": names.ENV_CONTROL_KEY,
                "valueFrom": {"secretKeyRef": {"name": str(secret)}},
            }:
                return secret
    return ""


def _ours(containers: Iterable[Mapping[str, Any]] | None) -> Mapping[str, Any]:
    """Return our container, beside which others may have put theirs; empty if it is not there."""
    ours = (names.CONTAINER_TRITON, names.CONTAINER_SYNC)
    return next((each for each in containers or () if each.get("name") in ours), {})


def _crash(ended: Mapping[str, Any]) -> str:
    reason, code = ended.get("reason", "Error"), ended["exitCode"]
    said = " ".join(str(ended.get("message", "")).split())[-_SAID_LENGTH:]
    return f"{reason}, exit code {code}" + (f"{_LAST_WORDS}{said}" if said else "")
