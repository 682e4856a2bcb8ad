"""Where pods may run: shared by a server's pods and the Jobs that write for them.

A Job that ran elsewhere could bind a zonal volume where no GPU is.
"""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from triton_operator import names
from triton_operator.api.pod_template import PodTemplate
from triton_operator.api.server import TritonServer
from triton_operator.desired.metadata import fingerprint

_MAX_LABEL = 63
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def build_claim_label(claim: str) -> dict[str, str]:
    """Return the label of all pods that must share a node because they share a claim."""
    if len(claim) > _MAX_LABEL:
        digest = fingerprint(claim)
        claim = f"{claim[: _MAX_LABEL - len(digest) - 1].rstrip('-.')}-{digest}"
    return {names.LABEL_CLAIM: claim}


def with_pull_secrets(server: TritonServer, secrets: Iterable[str]) -> TritonServer:
    """Return a server that pulls its images with these Secrets, unless it names some itself."""
    template = server.spec.pod_template
    if template.image_pull_secrets:
        return server
    named = template.model_copy(
        update={"image_pull_secrets": tuple({"name": name} for name in secrets)}
    )
    spec = server.spec.model_copy(update={"pod_template": named})
    return server.model_copy(update={"spec": spec})


def build_placement(template: PodTemplate, *, shares: str | None = None) -> dict[str, Any]:
    """Return the placement part of a pod spec; empty without wishes.

    Args:
        template: The user's wishes.
        shares: The claim whose pods all have to be on one node; None where they need not.

    """
    placement: dict[str, Any] = {}
    if template.node_selector:
        placement["nodeSelector"] = dict(template.node_selector)
    if template.tolerations:
        placement["tolerations"] = deepcopy(list(template.tolerations))
    if template.affinity:
        placement["affinity"] = deepcopy(dict(template.affinity))
    if shares is not None:
        placement["affinity"] = _beside(placement.get("affinity") or {}, shares)
    if template.image_pull_secrets:
        placement["imagePullSecrets"] = deepcopy(list(template.image_pull_secrets))
    return placement


def _beside(affinity: dict[str, Any], claim: str) -> dict[str, Any]:
    """Return an affinity that also keeps a pod on the node of the pods with this claim.

    The first of them may go anywhere: the scheduler lets a pod pass that matches its own term.
    """
    term = {
        "labelSelector": {"matchLabels": build_claim_label(claim)},
        "topologyKey": "kubernetes.io/hostname",
    }
    pods = dict(affinity.get("podAffinity") or {})
    pods[_REQUIRED] = [*(pods.get(_REQUIRED) or ()), term]
    return {**affinity, "podAffinity": pods}
