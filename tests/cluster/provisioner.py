"""Dynamic volumes: a folder for each claim of the class `standard`, and its removal with the claim.

Run as a process beside the cluster: `python3 -m tests.cluster.provisioner KUBECONFIG FOLDER`. It
watches claims and volumes. A new claim gets a folder that everybody may write and a
PersistentVolume that is reserved for it; binding the two is the controller manager's work. A
volume whose claim is gone (`Released`) loses its folder, then itself.

The volumes are of kind hostPath, so any number of pods may read and write one (ReadWriteMany).
The annotation `provisioned-by` tells the controller manager that somebody else deletes them.
"""

import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from tests.cluster import settings
from tests.cluster.api import Api, ApiError, Object, connect

_CLAIMS = "/api/v1/persistentvolumeclaims"
_VOLUMES = "/api/v1/persistentvolumes"
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"


def storage_class() -> Object:
    """The default class, whose claims are bound at once."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": settings.STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": settings.PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
        "allowVolumeExpansion": False,
    }


def wants_volume(claim: Object) -> bool:
    """Whether a claim is new, of our class, and not reserved for a volume already."""
    spec, metadata = claim["spec"], claim["metadata"]
    return (
        spec.get("storageClassName") == settings.STORAGE_CLASS
        and not spec.get("volumeName")
        and "deletionTimestamp" not in metadata
        and claim.get("status", {}).get("phase", "Pending") == "Pending"
    )


def build_volume(claim: Object, folder: Path) -> Object:
    """The PersistentVolume for a claim, reserved for exactly this claim (its uid)."""
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": f"pvc-{metadata['uid']}",
            "annotations": {_PROVISIONED_BY: settings.PROVISIONER},
        },
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": list(spec["accessModes"]),
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": settings.STORAGE_CLASS,
            "hostPath": {"path": str(folder), "type": "Directory"},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
        },
    }


def provision(api: Api, folders: Path, claim: Object) -> None:
    """Make a folder and a volume for a claim; one that is there already is fine."""
    metadata = claim["metadata"]
    name = re.sub(r"[^a-z0-9.-]", "_", f"{metadata['namespace']}_{metadata['name']}")
    folder = folders / f"{name[:150]}_{metadata['uid']}"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    try:
        api.call("POST", _VOLUMES, build_volume(claim, folder))
    except ApiError as error:
        if error.status != 409:
            raise
        return
    _log(f"made {folder.name}")


def reclaim(api: Api, folders: Path, volume: Object) -> None:
    """Remove a released volume and its folder."""
    folder = Path(volume["spec"]["hostPath"]["path"])
    if folder.parent != folders:
        return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        api.call("DELETE", f"{_VOLUMES}/{volume['metadata']['name']}")
    except ApiError as error:
        if error.status != 404:
            raise
        return
    _log(f"removed {folder.name}")


def is_released(volume: Object) -> bool:
    """Whether a volume is ours, its claim is gone, and it is to be deleted."""
    return (
        volume["metadata"].get("annotations", {}).get(_PROVISIONED_BY) == settings.PROVISIONER
        and volume.get("status", {}).get("phase") == "Released"
        and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
    )


def serve(api: Api, folders: Path) -> None:
    """Watch claims and volumes for ever."""
    folders.mkdir(parents=True, exist_ok=True)
    threading.Thread(target=_serve_volumes, args=(api, folders), daemon=True).start()
    for claim in api.watch(_CLAIMS):
        if wants_volume(claim):
            _insist(provision, api, folders, claim)


def _serve_volumes(api: Api, folders: Path) -> None:
    for volume in api.watch(_VOLUMES):
        if is_released(volume):
            _insist(reclaim, api, folders, volume)


def _insist(work: Callable[[Api, Path, Object], None], api: Api, folders: Path, o: Object) -> None:
    """Try a few times, then go on with the other objects: the next listing brings this one
    again."""
    for _ in range(5):
        try:
            return work(api, folders, o)
        except (OSError, ApiError, HTTPException) as error:
            _log(f"{work.__name__} {o['metadata']['name']}: {error}")
            time.sleep(0.2)
    return None


def _log(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    serve(connect(Path(sys.argv[1])), Path(sys.argv[2]))
