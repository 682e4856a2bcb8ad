"""What an API server could have said of a few models, and how it looks as text."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any

from rich.console import Console, RenderableType

from triton_operator.kubectl.fleet import Fleet
from triton_operator.observed import ModelRecord, Pod, ServerRecord

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HASH = "0123456789abcdef" * 4


def render(thing: RenderableType) -> str:
    """Return what a console of no terminal prints."""
    console = Console(file=StringIO(), width=160, highlight=False)
    console.print(thing, soft_wrap=True)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T11:00:00Z",
    }


def server(name: str, *, generation: int = 1, gpus: int = 1, **status: Any) -> ServerRecord:
    return ServerRecord.parse(
        {
            "metadata": {"name": name, "namespace": "team", "generation": generation},
            "spec": {"gpus": gpus},
            "status": {"observedGeneration": 1, **status},
        }
    )


def model(name: str, on: str, *, model_name: str | None = None, **status: Any) -> ModelRecord:
    spec: dict[str, Any] = {
        "serverRef": {"name": on},
        "versions": [{"version": 1, "files": {"model.py": "pass"}}],
    }
    if model_name is not None:
        spec["modelName"] = model_name
    return ModelRecord.parse(
        {
            "metadata": {"name": name, "namespace": "team", "generation": 1},
            "spec": spec,
            "status": {"observedGeneration": 1, **status},
        }
    )


def pod(name: str, **fields: Any) -> Pod:
    given: dict[str, Any] = {
        "uid": f"uid-{name}",
        "node": "node-1",
        "ready": True,
        "running": True,
        "started_at": "2026-01-01T11:58:00Z",
        "created_at": datetime(2026, 1, 1, 11, 57, tzinfo=UTC),
    }
    return Pod(name=name, **{**given, **fields})


def fleet(
    servers: list[ServerRecord], models: list[ModelRecord], pods: dict[str, list[Pod]]
) -> Fleet:
    return Fleet(
        servers={(each.meta.namespace, each.meta.name): each for each in servers},
        models={each.key: each for each in models},
        pods={("team", name): tuple(found) for name, found in pods.items()},
    )


SERVING = {
    "conditions": [condition("Ready", "True", "Serving"), condition("Loaded", "True", "Loaded")],
    "configHash": HASH,
    "loaded": "2/2",
    "versions": [1, 2],
}
REFUSED = "failed to load 'draw': no such file"
VISION = fleet(
    [
        server(
            "vision",
            ready="2/3",
            conditions=[
                condition("Accepted", "True", "Valid"),
                condition("Progressing", "False", "Unschedulable", "no node has a GPU"),
                condition("Ready", "False", "Unschedulable", "2 of 3 pods ready"),
                condition("ScalingLimited", "True", "Unschedulable", "1 of 3 pods: no GPU"),
            ],
            autoscaling={"desired": 3, "queueTimeMilliseconds": 12.0, "utilization": 0.45},
        )
    ],
    [
        model("detector", "vision", model_name="yolo", **SERVING),
        model(
            "draw",
            "vision",
            loaded="0/2",
            conditions=[
                condition("Ready", "False", "LoadFailed", REFUSED),
                condition("Loaded", "False", "LoadFailed", REFUSED),
                condition("Synced", "Unknown", "Copying", "61% of 2.0 GiB"),
            ],
            sync={"bytesDone": 61, "bytesTotal": 100, "progress": "61% of 2.0 GiB"},
            lastFailure={
                "reason": "LoadFailed",
                "message": REFUSED,
                "time": "2026-01-01T10:00:00Z",
            },
        ),
        model("lost", "nowhere", conditions=[condition("Ready", "False", "ServerNotFound")]),
    ],
    {
        "vision": [
            pod("vision-a"),
            pod("vision-b", restarts=2, repository="fedcba9876543210"),
            pod("vision-c", node="", ready=False, running=False, unschedulable="no node has a GPU"),
        ]
    },
)
