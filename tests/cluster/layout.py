"""Where built images lie, and how only what is new of one travels into containerd.

An image is a manifest that names blobs (a configuration, layers) by the hash of their content.
The cache keeps one store of blobs for all images, in the OCI layout, so a base layer lies there
once. Two habits make a changed image quick:

- Layers lie there uncompressed, under the hash that buildah knows them by. It finds what it wrote
  earlier and writes nothing twice (pushing half a gigabyte anew takes 3 s, a thin layer 20 ms).
- What containerd has already is left out of the archive that it is given.
"""

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

from tests.cluster.progress import ClusterError
from tests.cluster.shell import run

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_NAME = "io.containerd.image.name"

Manifest = dict[str, Any]


def store(push: list[str | Path], image: str, folder: Path, record: Path) -> None:
    """Push an image from buildah's storage into the layout at `folder`; its manifest is written
    to `record`."""
    (folder / "index.json").unlink(missing_ok=True)
    run([*push, "--quiet", image, f"oci:{folder}:new"])
    index = json.loads((folder / "index.json").read_text())
    manifest = json.loads(_blob(folder, index["manifests"][-1]["digest"]).read_text())
    config = json.loads(_blob(folder, manifest["config"]["digest"]).read_text())
    unpacked = [
        _uncompressed(folder, layer, diff)
        for layer, diff in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True)
    ]
    new = record.with_suffix(".new")
    new.write_text(json.dumps({**manifest, "mediaType": _MANIFEST, "layers": unpacked}))
    new.rename(record)


def prune(folder: Path, records: Collection[Path]) -> None:
    """Remove the blobs that no image refers to."""
    kept = {digest for record in records for digest in digests(json.loads(record.read_text()))}
    for blob in (folder / "blobs" / "sha256").glob("*"):
        if f"sha256:{blob.name}" not in kept:
            blob.unlink()


def digests(manifest: Manifest) -> list[str]:
    """The blobs that a manifest names, its configuration first."""
    return [part["digest"] for part in (manifest["config"], *manifest["layers"])]


def import_image(ctr: list[str | Path], image: str, folder: Path, record: Path) -> None:
    """Import an image into containerd under its name, sending only what is not there."""
    manifest = json.loads(record.read_text())
    present = set(run([*ctr, "content", "ls", "--quiet"]).split())
    try:
        _send(ctr, image, folder, manifest, [d for d in digests(manifest) if d not in present])
    except ClusterError:
        # A layer that was there a moment ago may have been collected since.
        _send(ctr, image, folder, manifest, digests(manifest))


def write_archive(
    file: IO[bytes], image: str, folder: Path, manifest: Manifest, blobs: list[str]
) -> None:
    """Write an OCI archive of a manifest with the given blobs only."""
    text = json.dumps(manifest).encode()
    digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
    entry = {
        "mediaType": _MANIFEST,
        "digest": digest,
        "size": len(text),
        "annotations": {_NAME: image},
    }
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]}
    with tarfile.open(fileobj=file, mode="w|") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(archive, "index.json", json.dumps(index).encode())
        _add(archive, f"blobs/{digest.replace(':', '/')}", text)
        for blob in blobs:
            archive.add(_blob(folder, blob), f"blobs/{blob.replace(':', '/')}")


def _send(
    ctr: list[str | Path], image: str, folder: Path, manifest: Manifest, blobs: list[str]
) -> None:
    command = [str(word) for word in (*ctr, "images", "import", "-")]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if process.stdin is None or process.stdout is None:
        raise ClusterError("no pipe to ctr")
    try:
        with process.stdin:
            write_archive(process.stdin, image, folder, manifest, blobs)
    except BrokenPipeError:
        pass  # ctr ended early and says why below.
    output = process.stdout.read().decode(errors="replace")
    if process.wait() != 0:
        raise ClusterError(f"importing {image}: {output[-2000:]}")


def _uncompressed(folder: Path, layer: Manifest, diff: str) -> Manifest:
    """The layer's descriptor in its uncompressed form, which is made where it is missing."""
    target = _blob(folder, diff)
    if not target.exists():
        new = target.with_suffix(".new")
        with gzip.open(_blob(folder, layer["digest"])) as packed, new.open("wb") as plain:
            shutil.copyfileobj(packed, plain, 1 << 20)
        new.rename(target)
    return {"mediaType": _LAYER, "digest": diff, "size": target.stat().st_size}


def _blob(folder: Path, digest: str) -> Path:
    return folder / "blobs" / digest.replace(":", "/")


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
