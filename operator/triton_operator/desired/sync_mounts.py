"""What a sync Job reads from: claims, Secrets and certificates, each mounted read-only."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from triton_operator.api.sync import SyncOptions
from triton_operator.repository.manifest import Manifest, SourceRef

_CLAIMS = "/sources"
_SECRETS = "/credentials"
_CA = "/ca"
_PVC = "pvc://"


@dataclass(frozen=True, slots=True)
class Mount:
    """One volume, and where the Job finds it."""

    name: str
    path: str
    volume: dict[str, Any]
    """What is mounted, as in a pod's ``volumes``."""

    def build_volume(self) -> dict[str, Any]:
        """Return the entry of the pod's ``volumes``."""
        return {"name": self.name, **self.volume}

    def build_mount(self) -> dict[str, Any]:
        """Return the entry of the container's ``volumeMounts``."""
        return {"name": self.name, "mountPath": self.path, "readOnly": True}


def build_source_mounts(
    manifest: Manifest, options: SyncOptions, claims: Collection[str]
) -> list[Mount]:
    """Return what the sources of a manifest need; ``claims`` are those to mount for them."""
    mounts = [
        Mount(
            f"source-{i}",
            f"{_CLAIMS}/{claim}",
            {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}},
        )
        for i, claim in enumerate(sorted(claims))
    ]
    # Optional: without it one model fails, and says so, rather than the whole Job.
    mounts += [
        Mount(f"secret-{i}", f"{_SECRETS}/{secret}", {"secret": _build_secret(secret)})
        for i, secret in enumerate(sorted(source_secrets(manifest, options)))
    ]
    if options.ca_bundle is not None and not manifest.remove:
        items = [{"key": options.ca_bundle.key, "path": "ca.crt"}]
        mounts.append(
            Mount("ca", _CA, {"configMap": {"name": options.ca_bundle.name, "items": items}})
        )
    return mounts


def build_source_arguments(
    manifest: Manifest,
    options: SyncOptions,
    claims: Collection[str],
    *,
    bytes_per_second: int | None,
) -> list[str]:
    """Return the arguments that tell ``triton-operator sync`` of its sources and limits."""
    if manifest.remove:
        return []
    arguments = [f"--claim={claim}={_CLAIMS}/{claim}" for claim in sorted(claims)]
    if source_secrets(manifest, options):
        arguments.append(f"--secrets={_SECRETS}")
    if options.secret_ref is not None:
        arguments.append(f"--default-secret={options.secret_ref.name}")
    if options.ca_bundle is not None:
        arguments.append(f"--ca-bundle={_CA}/ca.crt")
    if options.parallel_downloads != SyncOptions().parallel_downloads:
        arguments.append(f"--parallel={options.parallel_downloads}")
    if bytes_per_second is not None:
        arguments.append(f"--bandwidth={bytes_per_second}")
    return arguments


def source_claims(manifest: Manifest) -> set[str]:
    """Return the names of the claims that a manifest's ``pvc://`` sources are on."""
    uris = (source.uri for source in _sources(manifest))
    return {uri.removeprefix(_PVC).split("/")[0] for uri in uris if uri.startswith(_PVC)}


def source_secrets(manifest: Manifest, options: SyncOptions) -> set[str]:
    """Return the names of the Secrets that hold the sources' credentials."""
    remote = [each for each in _sources(manifest) if not each.uri.startswith(_PVC)]
    named = {each.secret for each in remote if each.secret is not None}
    if options.secret_ref is not None and any(each.secret is None for each in remote):
        named.add(options.secret_ref.name)
    return named


def needs_azure_identity(manifest: Manifest, options: SyncOptions) -> bool:
    """Return whether the Job reads from Azure as its service account."""
    azure = any(each.uri.startswith("az://") for each in _sources(manifest))
    return azure and options.service_account_name is not None


def _sources(manifest: Manifest) -> Iterator[SourceRef]:
    for generation in manifest.generations:
        for version in generation.versions:
            if version.source is not None:
                yield version.source


def _build_secret(name: str) -> dict[str, Any]:
    return {"secretName": name, "optional": True, "defaultMode": 0o440}
