"""Puts the weights of the samples' CPU forms on a claim of a cluster, without a registry or bucket.

    python model_repository/seed.py [--namespace NAME] [--image IMAGE]

makes the files if they are not there yet (see make_weights.py), makes the claim ``model-storage``
unless it exists, runs a pod that mounts it, unpacks the files into it and removes the pod. Safe to
run again. Needs kubectl; the image only needs ``sleep`` and ``tar``.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
POD = "seed-models"
MOUNT = "/models"


def build_claim(name: str, size: str, storage_class: str | None) -> dict[str, Any]:
    """The claim that the samples' pvc:// addresses name."""
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": size}},
    }
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": spec,
    }


def build_pod(claim: str, image: str, deadline_seconds: int) -> dict[str, Any]:
    """A pod that holds the claim open; it ends by itself should this script be killed."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": deadline_seconds,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            # The user as whom Triton and the operator's sync Jobs read the files.
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "fsGroup": 1000,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "seed",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", str(deadline_seconds)],
                    "resources": {
                        "requests": {"cpu": "10m", "memory": "16Mi"},
                        "limits": {"memory": "128Mi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "models", "mountPath": MOUNT}],
                }
            ],
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": claim}}],
        },
    }


def pack(folder: Path) -> bytes:
    """The files below the folder as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(folder.glob("*/*/*")):
            archive.add(path, path.relative_to(folder).as_posix())
    return buffer.getvalue()


class Kubectl:
    """kubectl in one namespace; every call has a deadline and raises on failure."""

    def __init__(self, program: str, namespace: str, deadline_seconds: int) -> None:
        self._start = [program, f"--namespace={namespace}"]
        self._deadline = deadline_seconds

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> str:
        command = [*self._start, *arguments]
        done = subprocess.run(
            command, input=stdin, stdout=subprocess.PIPE, check=True, timeout=self._deadline
        )
        return done.stdout.decode().strip()

    def create(self, manifest: dict[str, Any]) -> None:
        self("create", "--filename=-", stdin=json.dumps(manifest).encode())


def seed(kubectl: Kubectl, folder: Path, options: argparse.Namespace) -> None:
    """Makes the claim hold what the folder holds."""
    if not kubectl("get", "pvc", options.claim, "--ignore-not-found", "--output=name"):
        kubectl.create(build_claim(options.claim, options.size, options.storage_class))
    remove = ("delete", "pod", POD, "--ignore-not-found", "--wait=true")
    kubectl(*remove)
    kubectl.create(build_pod(options.claim, options.image, options.deadline))
    try:
        kubectl("wait", f"pod/{POD}", "--for=condition=Ready", f"--timeout={options.deadline}s")
        unpack = ("tar", "--extract", f"--directory={MOUNT}", "--no-same-owner", "--file=-")
        kubectl("exec", "--stdin", POD, "--", *unpack, stdin=pack(folder))
    finally:
        kubectl(*remove)


def main() -> None:
    """Reads the options, makes missing weights, and seeds."""
    parser = argparse.ArgumentParser(description="Puts the samples' weights on a claim.")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--image", default="localhost/tritonserver:test")
    parser.add_argument("--claim", default="model-storage")
    parser.add_argument("--size", default="1Gi", help="of the claim, if it is made")
    parser.add_argument("--storage-class", help="of the claim, if it is made")
    parser.add_argument("--weights", type=Path, default=HERE / "weights")
    parser.add_argument("--deadline", type=int, default=180, help="seconds")
    parser.add_argument("--kubectl", default="kubectl")
    options = parser.parse_args()

    if not any(options.weights.glob("*/*/*")):
        script = str(HERE / "make_weights.py")
        subprocess.run([sys.executable, script, str(options.weights)], check=True)
    kubectl = Kubectl(options.kubectl, options.namespace, options.deadline + 10)
    seed(kubectl, options.weights, options)
    print(f"seeded claim {options.claim} in namespace {options.namespace}")


if __name__ == "__main__":
    main()
