"""The operator's own settings, read once from the environment.

Every variable is the field's name in upper case after ``TRITON_OPERATOR_``, for example
``TRITON_OPERATOR_SERVER_IMAGE``. The chart sets them from its values.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

PREFIX = "TRITON_OPERATOR_"


@dataclass(frozen=True, slots=True)
class Settings:
    """What an administrator decides for all servers of this operator."""

    server_image: str = "nvcr.io/nvidia/tritonserver:26.07-py3"
    """The image of servers that name none."""
    sync_image: str = "triton-operator:0.1.0"
    """The image of sync Jobs: the operator's own."""
    sync_image_pull_policy: str = "IfNotPresent"
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
    probe_port: int = 8080
    """Where the operator's own liveness and metrics are served."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings.

        Raises
        ------
        ValueError
            A number is not a number, or JSON cannot be read.

        """
        found = {
            name: environment[PREFIX + name.upper()]
            for name in cls.__dataclass_fields__
            if environment.get(PREFIX + name.upper())
        }
        values: dict[str, object] = dict(found)
        if "namespaces" in found:
            values["namespaces"] = tuple(
                filter(None, found["namespaces"].replace(",", " ").split())
            )
        for name in ("resync_seconds", "autoscaling_interval_seconds", "scrape_deadline_seconds"):
            if name in found:
                values[name] = float(found[name])
        for name in ("probe_port", "max_gpus"):
            if name in found:
                values[name] = int(found[name])
        if "namespace_max_gpus" in found:
            limits = dict(json.loads(found["namespace_max_gpus"]))
            values["namespace_max_gpus"] = {name: int(limit) for name, limit in limits.items()}
        return cls(**values)  # type: ignore[arg-type]
