"""The Job that makes a repository manifest true on a server's claim."""

from collections.abc import Collection
from typing import Any

from triton_operator import names
from triton_operator.api.quantity import quantity_bytes
from triton_operator.api.server import TritonServer
from triton_operator.desired.claim import claim_name
from triton_operator.desired.metadata import ChildNames, Manifest, build_labels, build_metadata
from triton_operator.desired.placement import build_claim_label, build_placement
from triton_operator.desired.pod_security import build_container_security, build_pod_security
from triton_operator.desired.sync_mounts import (
    Mount,
    build_source_arguments,
    build_source_mounts,
    needs_azure_identity,
    source_claims,
)
from triton_operator.repository import manifest as repository

_ROOT = "/repository"
_MANIFEST_FOLDER = "/manifest"
_TERMINATION_LOG = "/dev/termination-log"


def build_manifest_map(server: TritonServer, manifest: repository.Manifest) -> Manifest:
    """Return the ConfigMap that carries one manifest, named for its content."""
    name = ChildNames(server.metadata.name).manifest(manifest.content_digest())
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _build_metadata(server, manifest, name, "manifest"),
        "immutable": True,
        "data": {"manifest.json": manifest.to_json()},
    }


def build_sync_job(
    server: TritonServer,
    manifest: repository.Manifest,
    *,
    sequence: int,
    attempt: int,
    image: str,
    image_pull_policy: str,
    memory_limit: str,
    repair: str = "",
    one_node: bool = False,
    absent: Collection[str] = (),
) -> Manifest:
    """Return the Job that makes a manifest true.

    It runs exactly one pod: retries are the operator's, which knows what may be tried again.

    Args:
        server: Whose Job it is.
        manifest: What it makes true.
        sequence: Its place in the order of the server's Jobs.
        attempt: How often the manifest was tried before.
        image: The operator's own.
        image_pull_policy: When that is pulled.
        memory_limit: A quantity.
        repair: The request to check what is on the claim that it answers, if any.
        one_node: Only one node at a time can mount the claim.
        absent: Claims that sources name and that are not there: models fail for want of them.

    """
    child = ChildNames(server.metadata.name)
    target = claim_name(server)
    options = server.spec.repository.sync
    claims = source_claims(manifest) - {target, *absent}
    mounts = build_source_mounts(manifest, options, claims)
    metadata = _build_metadata(server, manifest, child.sync_job(sequence), "sync")
    metadata["annotations"] = {
        names.ANNOTATION_MANIFEST: manifest.digest(),
        names.ANNOTATION_CONFIG_MAP: child.manifest(manifest.content_digest()),
        names.ANNOTATION_SEQUENCE: str(sequence),
        names.ANNOTATION_ATTEMPT: str(attempt),
    }
    if repair:
        metadata["annotations"][names.ANNOTATION_REPAIR] = repair
    shares = target if one_node else None
    labels = build_labels(server.metadata.name, "sync")
    if needs_azure_identity(manifest, options):
        labels[names.LABEL_AZURE_IDENTITY] = "true"
    # What only removes reads from nowhere, and the account may have gone with the server.
    account = None if manifest.remove else options.service_account_name
    container = {
        "name": names.CONTAINER_SYNC,
        "image": image,
        "imagePullPolicy": image_pull_policy,
        "terminationMessagePath": _TERMINATION_LOG,
        "args": [*_build_arguments(server, manifest, claims), *(["--repair"] if repair else [])],
        "env": [
            {"name": "HOME", "value": "/tmp"},
            *({"name": each.name, "value": each.value} for each in options.env),
        ],
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"memory": memory_limit},
        },
        "securityContext": build_container_security(),
        "volumeMounts": [
            {"name": "repository", "mountPath": _ROOT},
            {"name": "manifest", "mountPath": _MANIFEST_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            *(mount.build_mount() for mount in mounts),
        ],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": labels | (build_claim_label(shares) if shares else {})},
                "spec": {
                    "restartPolicy": "Never",
                    **({"serviceAccountName": account} if account is not None else {}),
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    # It may be killed at any point, and the next one mends what it left.
                    "terminationGracePeriodSeconds": 1,
                    "securityContext": build_pod_security(server.spec.pod_template),
                    "containers": [container],
                    "volumes": _build_volumes(child, manifest, target, mounts),
                    **build_placement(server.spec.pod_template, shares=shares),
                },
            },
        },
    }


def _build_metadata(
    server: TritonServer, manifest: repository.Manifest, name: str, component: str
) -> dict[str, Any]:
    metadata = build_metadata(server.metadata, name, component)
    if manifest.remove:
        # A server that is deleted in the foreground takes what it owns with it, at once.
        del metadata["ownerReferences"]
    return metadata


def _build_arguments(
    server: TritonServer, manifest: repository.Manifest, claims: Collection[str]
) -> list[str]:
    options = server.spec.repository.sync
    limit = options.bandwidth_limit
    return [
        "sync",
        f"--manifest={_MANIFEST_FOLDER}/manifest.json",
        f"--root={_ROOT}",
        f"--termination-log={_TERMINATION_LOG}",
        f"--claim={claim_name(server)}={_ROOT}",
        *build_source_arguments(
            manifest,
            options,
            claims,
            bytes_per_second=None if limit is None else quantity_bytes(limit),
        ),
    ]


def _build_volumes(
    child: ChildNames, manifest: repository.Manifest, target: str, mounts: list[Mount]
) -> list[dict[str, Any]]:
    return [
        {"name": "repository", "persistentVolumeClaim": {"claimName": target}},
        {"name": "manifest", "configMap": {"name": child.manifest(manifest.content_digest())}},
        {"name": "tmp", "emptyDir": {}},
        *(mount.build_volume() for mount in mounts),
    ]
