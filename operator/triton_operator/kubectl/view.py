"""What ``kubectl triton status`` tells: servers with their models and pods, as values.

They are shown as a tree, or written as JSON or YAML for programs.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from triton_operator.api.conditions import Condition, ConditionType, find_condition
from triton_operator.api.meta import Observed
from triton_operator.api.model import LastFailure
from triton_operator.kubectl.fleet import Fleet
from triton_operator.observed import ModelRecord, Pod, ServerRecord
from triton_operator.plan.failure_log import gave_up, is_usage
from triton_operator.ports import Key
from triton_operator.repository.manifest import LINKS

Hashes = Mapping[tuple[Key, str], Mapping[str, str]]
"""By server and pod: what it says it serves, as the config hash of each model name."""

_REPORTS = (ConditionType.PROGRESSING, ConditionType.SCALING_LIMITED)
"""Conditions whose True is worth a word; of all others it is their False."""


class Trouble(Observed):
    """A condition that is not as it should be."""

    type: str
    reason: str
    message: str = ""


class PodView(Observed):
    """One pod of a server."""

    name: str
    node: str = ""
    state: str
    """``ready``, or what it is instead, in the kubelet's or the scheduler's words."""
    ready: bool
    restarts: int = 0
    created_at: datetime | None = None
    repository: str = ""
    """The revision of the repository that it serves; empty where models are loaded into it."""
    serves: Mapping[str, str] | None = None
    """By its own word: the config hash by model name; None if it was not asked or kept silent."""


class ModelView(Observed):
    """One model."""

    name: str
    """Of the object."""
    model_name: str
    """That clients use."""
    ready: bool
    reason: str = ""
    versions: tuple[int, ...] = ()
    config_hash: str = ""
    loaded: str = ""
    sync: str = ""
    """How far the copying of its files is, for people."""
    outdated: bool = False
    """The operator has not looked at the present spec yet."""
    troubles: tuple[Trouble, ...] = ()
    last_failure: LastFailure | None = None


class ServerView(Observed):
    """One server."""

    namespace: str
    name: str
    exists: bool = True
    ready: str = ""
    """Ready pods of those wanted, as "2/3"."""
    gpus: int | None = None
    """Of each pod."""
    queue_time_milliseconds: float | None = None
    utilization: float | None = None
    desired: int | None = None
    outdated: bool = False
    """The operator has not looked at the present spec yet."""
    troubles: tuple[Trouble, ...] = ()
    models: tuple[ModelView, ...] = ()
    pods: tuple[PodView, ...] = ()


def view_fleet(fleet: Fleet, hashes: Hashes | None = None) -> tuple[ServerView, ...]:
    """Return all servers, those included that only a model names."""
    return tuple(view_server(fleet, key, hashes) for key in fleet.server_keys())


def view_server(
    fleet: Fleet, key: Key, hashes: Hashes | None = None, *, only: ModelRecord | None = None
) -> ServerView:
    """Return one server, with one of its models if only that is asked for."""
    record = fleet.servers.get(key)
    models = (only,) if only is not None else fleet.models_of(key)
    told = hashes or {}
    found = ServerView(
        namespace=key[0],
        name=key[1],
        exists=record is not None,
        models=tuple(map(_view_model, models)),
        pods=tuple(_view_pod(pod, told.get((key, pod.name))) for pod in fleet.pods.get(key, ())),
    )
    return found.model_copy(update=_server_fields(record)) if record is not None else found


def _server_fields(record: ServerRecord) -> dict[str, object]:
    status, scaling = record.status, record.status.autoscaling
    return {
        "ready": status.ready,
        "gpus": record.spec.spec.gpus if record.spec is not None else None,
        "queue_time_milliseconds": scaling.queue_time_milliseconds if scaling else None,
        "utilization": scaling.utilization if scaling else None,
        "desired": scaling.desired if scaling else None,
        "outdated": status.observed_generation < record.meta.generation,
        "troubles": _find_troubles(status.conditions),
    }


def _view_model(record: ModelRecord) -> ModelView:
    status = record.status
    ready = find_condition(status.conditions, ConditionType.READY)
    return ModelView(
        name=record.meta.name,
        model_name=record.folder,
        ready=ready is not None and ready.status == "True",
        reason=ready.reason if ready is not None else "",
        versions=status.versions,
        config_hash=status.config_hash,
        loaded=status.loaded,
        sync=status.sync.progress if status.sync is not None else "",
        outdated=status.observed_generation < record.meta.generation,
        troubles=_find_troubles(status.conditions),
        last_failure=status.last_failure,
    )


def _view_pod(pod: Pod, serves: Mapping[str, str] | None) -> PodView:
    return PodView(
        name=pod.name,
        node=pod.node,
        state=_state(pod),
        ready=pod.takes_requests,
        restarts=pod.restarts,
        created_at=pod.created_at,
        repository=pod.repository if pod.repository != LINKS else "",
        serves=serves,
    )


def _state(pod: Pod) -> str:
    if pod.terminating:
        return "terminating"
    if pod.ready:
        return "ready"
    if pod.finished:
        return f"ended: {pod.exit_reason}" if pod.exit_reason else "ended"
    crashed = f"crashed: {_explain_crash(pod)}" if pod.is_crashing else ""
    return pod.unschedulable or crashed or pod.waiting or "not ready"


def _explain_crash(pod: Pod) -> str:
    if not (is_usage(pod.crash) or gave_up(pod.crash)):
        return pod.crash
    # The operator has read more of its log than the kubelet keeps.
    return f"{pod.ending}; the server's message says why"


def _find_troubles(conditions: Iterable[Condition]) -> tuple[Trouble, ...]:
    """Return what is not as it should be, each message once."""
    found: dict[tuple[str, str], Trouble] = {}
    for each in conditions:
        wrong = each.status == "True" if each.type in _REPORTS else each.status != "True"
        if wrong:
            trouble = Trouble(type=each.type, reason=each.reason, message=each.message)
            # Several conditions may say the same, such as Loaded and Ready.
            found.setdefault((each.reason, each.message), trouble)
    return tuple(found.values())
