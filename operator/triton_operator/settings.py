"""The operator's own settings, read once from the environment.

Every variable is the field's name in upper case after ``TRITON_OPERATOR_``, for example
``TRITON_OPERATOR_SERVER_IMAGE``. The chart sets them from its values.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self, get_args

PREFIX = "TRITON_OPERATOR_"

LogFormat = Literal["json", "text"]


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """Who may connect to the pods of servers: each a peer of a NetworkPolicy."""

    operator: tuple[Mapping[str, Any], ...]
    """The operator's own pods."""
    clients: tuple[Mapping[str, Any], ...] = ()
    """Who sends requests; empty for everybody."""
    scrapers: tuple[Mapping[str, Any], ...] = ()
    """Who reads metrics, beside the operator."""

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a JSON object with these fields, each a list.

        Raises
        ------
        ValueError
            It is no such object, or does not name the operator: that would let in everybody.

        """
        found = json.loads(text)
        known = set(cls.__dataclass_fields__)
        if not isinstance(found, dict) or not known >= set(found) or not found.get("operator"):
            raise ValueError(
                f"{PREFIX}SERVER_ACCESS: not an object of {[*cls.__dataclass_fields__]} with"
                " peers of the operator"
            )
        return cls(**{name: tuple(peers) for name, peers in found.items()})


def _parse_names(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _parse_limits(text: str) -> dict[str, int]:
    return {name: int(limit) for name, limit in dict(json.loads(text)).items()}


def _parse_log_format(text: str) -> str:
    if text not in get_args(LogFormat):
        raise ValueError(f"log_format is {text!r}, not one of json and text")
    return text


_PARSERS: Mapping[Any, Callable[[str], object]] = {
    str: str,
    int: int,
    float: float,
    tuple[str, ...]: _parse_names,
    Mapping[str, int]: _parse_limits,
    ServerAccess | None: ServerAccess.from_json,
    LogFormat: _parse_log_format,
}
"""What reads the text of a setting, by the type of its field."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an administrator decides for all servers of this operator."""

    server_image: str = "nvcr.io/nvidia/tritonserver:26.07-py3"
    """The image of servers that name none."""
    sync_image: str = "triton-operator:0.1.0"
    """The image of sync Jobs: the operator's own."""
    sync_image_pull_policy: str = "IfNotPresent"
    sync_memory_limit: str = "1Gi"
    """What a sync Job may take; the kubelet kills one that takes more."""
    image_pull_secrets: tuple[str, ...] = ()
    """The Secrets of servers that name none, for their images and those of their sync Jobs."""
    allowed_backends: tuple[str, ...] = ()
    """The backends that models may name; empty for all."""
    server_access: ServerAccess | None = None
    """Who may connect to the pods of servers; None for no NetworkPolicy."""
    namespaces: tuple[str, ...] = ()
    """The namespaces to watch; empty for all of them."""
    resync_seconds: float = 60.0
    """How often a server is checked although nothing was seen to change."""
    autoscaling_interval_seconds: float = 5.0
    """How often the pods of servers with ``autoscaling`` are asked for their load."""
    scrape_deadline_seconds: float = 2.0
    """How long one pod may take to tell it."""
    max_gpus: int = 0
    """GPUs that all servers with ``autoscaling`` may have together; 0 for no such limit."""
    namespace_max_gpus: Mapping[str, int] = field(default_factory=dict)
    """The same for those of single namespaces; in the environment a JSON object."""
    log_level: str = "info"
    """What is logged: ``debug``, ``info`` or ``warning``."""
    log_format: LogFormat = "json"
    """What a line of the log is."""
    probe_port: int = 8080
    """Where the operator's own liveness and readiness are served."""
    metrics_port: int = 8081
    """Where its metrics are served."""
    lease_namespace: str = "default"
    lease_name: str = "triton-operator"
    """The Lease that one of several operators holds: the one that acts."""
    lease_seconds: int = 10
    """How long it is the holder's after each renewal; after that others take over."""
    identity: str = ""
    """The holder's name in it: the pod's. Empty for one that is made up."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings.

        Raises
        ------
        ValueError
            A number is not a number, an object no object, or a choice not one of those that there
            are.

        """
        found: dict[str, Any] = {}
        for setting in fields(cls):
            if text := environment.get(PREFIX + setting.name.upper()):
                found[setting.name] = _PARSERS[setting.type](text)
        return cls(**found)
