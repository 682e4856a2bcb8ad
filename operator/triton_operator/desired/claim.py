"""The PersistentVolumeClaim that holds a server's model repository."""

from typing import Any

from triton_operator.api.server import TritonServer
from triton_operator.desired.metadata import ChildNames, Manifest, build_metadata


def claim_name(server: TritonServer) -> str:
    """Return the name of the claim that a server's repository is on."""
    return server.spec.repository.claim_name or ChildNames(server.metadata.name).claim


def build_claim(server: TritonServer) -> Manifest | None:
    """Return the claim to make; None when the user brings one."""
    wanted = server.spec.repository
    if wanted.claim_name is not None:
        return None
    spec: dict[str, Any] = {
        "accessModes": list(wanted.access_modes),
        "resources": {"requests": {"storage": wanted.size}},
    }
    if wanted.storage_class_name is not None:
        spec["storageClassName"] = wanted.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": build_metadata(
            server.metadata, ChildNames(server.metadata.name).claim, "repository"
        ),
        "spec": spec,
    }
