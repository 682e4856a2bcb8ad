"""Names, labels and ownership shared by all children of a server."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triton_operator import names
from triton_operator.api.meta import ObjectMeta

Manifest = Mapping[str, Any]
"""A Kubernetes object as plain JSON: exactly the fields this operator owns."""


@dataclass(frozen=True, slots=True)
class ChildNames:
    """The deterministic names of a server's children."""

    server: str

    @property
    def deployment(self) -> str:
        """The Deployment that runs Triton."""
        return self.server

    @property
    def service(self) -> str:
        """The Service that clients use."""
        return self.server

    @property
    def headless_service(self) -> str:
        """The Service for clients that balance themselves."""
        return f"{self.server}-pods"

    @property
    def network_policy(self) -> str:
        """The NetworkPolicy of its pods."""
        return self.server

    @property
    def disruption_budget(self) -> str:
        """The PodDisruptionBudget of its pods."""
        return self.server

    def control_key(self, request: str = "") -> str:
        """Return the name of the Secret with the key of the model-control API.

        One that its user asked for is named after the request.
        """
        asked = f"-{fingerprint(request)}" if request else ""
        return f"{self.server}-control-key{asked}"

    @property
    def claim(self) -> str:
        """The PersistentVolumeClaim that the operator makes."""
        return f"{self.server}-repository"

    def manifest(self, digest: str) -> str:
        """Return the name of the ConfigMap with one repository manifest."""
        return f"{self.server}-manifest-{digest[:10]}"

    def sync_job(self, sequence: int) -> str:
        """Return the name of one sync Job."""
        return f"{self.server}-sync-{sequence}"


def fingerprint(text: str) -> str:
    """Return ten hex digits that stand for a text in labels and annotations."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def build_selector(server: str) -> dict[str, str]:
    """Return the labels that select a server's Triton pods; immutable once released."""
    return {names.LABEL_SERVER: server, names.LABEL_COMPONENT: "server"}


def build_labels(server: str, component: str) -> dict[str, str]:
    """Return the labels of a child."""
    return {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_SERVER: server,
        names.LABEL_COMPONENT: component,
    }


def build_metadata(owner: ObjectMeta, name: str, component: str) -> dict[str, Any]:
    """Return the metadata of a child: beside its server, labelled and owned by it."""
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": build_labels(owner.name, component),
        "ownerReferences": [build_owner(names.KIND_SERVER, owner)],
    }


def build_owner(kind: str, owner: ObjectMeta) -> dict[str, Any]:
    """Return the reference that makes Kubernetes delete a child with its owner."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
