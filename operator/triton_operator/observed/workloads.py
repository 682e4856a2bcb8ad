"""What runs a server's pods, and who else sets their number."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from triton_operator import names
from triton_operator.observed.body import Body, parse_time, reason_and_message
from triton_operator.observed.pods import control_key_secret
from triton_operator.repository.manifest import LINKS

AUTOSCALER = "HorizontalPodAutoscaler"
"""The kind of Kubernetes' own autoscalers, which KEDA makes, too."""


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
    refused_since: datetime | None = None
    revision: str = ""
    """The revision of the template that new pods are made from."""
    paused: bool = False
    """Its controller replaces no pods."""
    in_place: bool = False
    """An old pod goes before a new one is made."""
    repository: str = LINKS
    """What new pods serve: a revision of the repository, or LINKS."""
    repositories: frozenset[str] = frozenset({LINKS})
    """What pods of this or of older templates may start from, as the operator wrote it."""

    control_key: str = ""
    """The Secret that new pods have their control key from."""
    other_keys: frozenset[str] = frozenset()
    """The Secrets of older keys, and of one to come, as the operator wrote it."""

    @classmethod
    def parse(cls, body: Body | None) -> Self:
        """Read a Deployment; ``None`` is one that does not exist."""
        if body is None:
            return cls()
        spec, status = body.get("spec") or {}, body.get("status") or {}
        conditions = {c["type"]: c for c in status.get("conditions") or ()}
        progressing, failure = conditions.get("Progressing", {}), conditions.get("ReplicaFailure")
        generation = body["metadata"].get("generation", 0)
        template = spec.get("template") or {}
        annotations = (template.get("metadata") or {}).get("annotations") or {}
        repository = annotations.get(names.ANNOTATION_REPOSITORY, LINKS)
        strategy = (spec.get("strategy") or {}).get("rollingUpdate") or {}
        written = body["metadata"].get("annotations") or {}
        return cls(
            exists=True,
            observed=status.get("observedGeneration", 0) >= generation,
            desired=spec.get("replicas", 1),
            replicas=status.get("replicas", 0),
            updated=status.get("updatedReplicas", 0),
            ready=status.get("readyReplicas", 0),
            revision=annotations.get(names.ANNOTATION_REVISION, ""),
            paused=bool(spec.get("paused")),
            in_place=strategy.get("maxSurge") == 0,
            repository=repository,
            repositories=frozenset({repository, *_listed(written, names.ANNOTATION_REPOSITORIES)}),
            control_key=control_key_secret(template.get("spec") or {}),
            other_keys=frozenset(_listed(written, names.ANNOTATION_OTHER_KEYS)),
            stalled=progressing.get("message", "") if progressing.get("status") == "False" else "",
            refused=reason_and_message(failure) if failure else "",
            refused_since=parse_time(failure.get("lastTransitionTime")) if failure else None,
        )

    @property
    def rolling_out(self) -> bool:
        """Whether there are pods of an older template."""
        return self.updated < self.replicas

    @property
    def complete(self) -> bool:
        """Whether all pods are of the latest template, and ready."""
        return self.observed and self.updated == self.replicas == self.ready == self.desired


def _listed(annotations: Mapping[str, str], name: str) -> Iterator[str]:
    return filter(None, annotations.get(name, "").split(","))


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
