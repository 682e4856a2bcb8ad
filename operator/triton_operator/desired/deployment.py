"""The Deployment that runs Triton for one server."""

import json
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from triton_operator import names
from triton_operator.api.server import TritonServer
from triton_operator.desired.claim import claim_name
from triton_operator.desired.container import EXIT_TIMEOUT_SECONDS, build_container
from triton_operator.desired.control_key import ControlKey
from triton_operator.desired.metadata import (
    ChildNames,
    Manifest,
    build_metadata,
    build_selector,
    fingerprint,
)
from triton_operator.desired.placement import build_claim_label, build_placement
from triton_operator.desired.pod_security import build_pod_security
from triton_operator.repository.manifest import LINKS

_GRACE_MARGIN_SECONDS = 15
_PROBATION_SECONDS = 10
"""How long a new pod must be ready before the next old one goes: by then the operator has seen
whether it serves all that older ones do."""


def build_deployment(
    server: TritonServer,
    *,
    image: str,
    replicas: int,
    control_key: ControlKey,
    probe_model: str | None,
    one_node: bool = False,
    repository: str = LINKS,
    startable: Iterable[str] = (),
    in_place: bool = False,
) -> Manifest:
    """Return the Deployment of a server.

    ``repository`` is the revision that its pods serve, or LINKS; ``startable`` is all that pods of
    this and of older templates may start from.

    ``probe_model`` is the model without which a pod is not worth a request: the only one of a
    server that belongs to a model; None on a server that several share, where one model's failure
    must not take the pod away from the others. ``one_node`` says that only one node at a time can
    mount the claim; ``in_place`` that there is no room for a spare pod, for ``rollout: Auto``.
    """
    template = _build_template(
        server, image, control_key.secret, probe_model, repository, one_node=one_node
    )
    template["metadata"]["annotations"][names.ANNOTATION_CONTROL_KEY] = fingerprint(control_key.key)
    content = json.dumps(template, sort_keys=True)
    template["metadata"]["annotations"][names.ANNOTATION_REVISION] = fingerprint(content)
    metadata = build_metadata(
        server.metadata, ChildNames(server.metadata.name).deployment, "server"
    )
    listed = {
        names.ANNOTATION_REPOSITORIES: {*startable} - {repository},
        names.ANNOTATION_OTHER_KEYS: control_key.others,
    }
    if any(listed.values()):
        metadata["annotations"] = {
            name: ",".join(sorted(found)) for name, found in listed.items() if found
        }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": build_selector(server.metadata.name)},
            "strategy": _build_strategy(server, in_place=in_place),
            # Where one model decides whether a pod is ready, a pod that is ready is good enough.
            "minReadySeconds": 0 if probe_model or repository != LINKS else _PROBATION_SECONDS,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": server.spec.startup_timeout_seconds + 60,
            "template": template,
        },
    }


def paused(deployment: Manifest) -> Manifest:
    """Return the same Deployment, whose controller replaces no more pods for now."""
    return {**deployment, "spec": {**deployment["spec"], "paused": True}}


def template_revision(deployment: Manifest) -> str:
    """Return the revision that up-to-date pods of a Deployment carry."""
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    return str(annotations[names.ANNOTATION_REVISION])


def _build_strategy(server: TritonServer, *, in_place: bool) -> dict[str, Any]:
    mode = server.spec.rollout
    # A new pod next to the old ones would wait for ever where all GPUs are taken.
    surge = 0 if mode == "ResourceAware" or (mode == "Auto" and in_place) else 1
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": surge, "maxUnavailable": 1 - surge},
    }


def _build_template(
    server: TritonServer,
    image: str,
    secret: str,
    probe_model: str | None,
    repository: str,
    *,
    one_node: bool,
) -> dict[str, Any]:
    spec, custom = server.spec, server.spec.pod_template
    shares = claim_name(server) if one_node else None
    name = server.metadata.name
    grace = spec.drain_seconds + EXIT_TIMEOUT_SECONDS + _GRACE_MARGIN_SECONDS
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace,
        "securityContext": build_pod_security(custom),
        "containers": [build_container(server, image, secret, probe_model, repository)],
        "volumes": [
            {
                "name": "repository",
                "persistentVolumeClaim": {"claimName": claim_name(server), "readOnly": True},
            },
            {
                "name": "shared-memory",
                "emptyDir": {"medium": "Memory", "sizeLimit": spec.shared_memory_size},
            },
            {"name": "tmp", "emptyDir": {}},
            *deepcopy(custom.volumes),
        ],
        **build_placement(custom, shares=shares),
    }
    if custom.priority_class_name:
        pod["priorityClassName"] = custom.priority_class_name
    if custom.runtime_class_name:
        pod["runtimeClassName"] = custom.runtime_class_name
    if custom.service_account_name:
        pod["serviceAccountName"] = custom.service_account_name
    if custom.topology_spread_constraints:
        pod["topologySpreadConstraints"] = deepcopy(list(custom.topology_spread_constraints))
    return {
        "metadata": {
            "labels": {
                **custom.metadata.labels,
                **build_selector(name),
                names.LABEL_MANAGED_BY: names.MANAGED_BY,
                **(build_claim_label(shares) if shares is not None else {}),
            },
            "annotations": {**custom.metadata.annotations, names.ANNOTATION_REPOSITORY: repository},
        },
        "spec": pod,
    }
