"""The cluster on a machine with a Docker engine: `kind`, with our images, GPUs and storage added.

kind's own default class has no ReadWriteMany, so ours takes its place: the volumes' folder is
mounted into the node's container at the same path, and the same provisioner process serves it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import addons, binaries, images, local, processes, settings
from tests.cluster.api import connect
from tests.cluster.progress import step
from tests.cluster.provisioner import storage_class
from tests.cluster.shell import run, succeeds, which

_NODE = f"/api/v1/nodes/{settings.NAME}-control-plane"


def kubeconfig(folders: settings.Folders) -> Path:
    """Where kind is told to write it."""
    return folders.cache / "kind" / "kubeconfig"


@dataclass(frozen=True)
class Kind:
    """A kind cluster; its state folder lies in the cache, where no root is needed."""

    folders: settings.Folders

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return kubeconfig(self.folders)

    @property
    def _state(self) -> Path:
        return self.kubeconfig.parent

    def up(self) -> None:
        """Create the cluster where it is missing, and bring images, class and GPUs up to date."""
        clients = tuple(p for p in binaries.PROGRAMS if p.name in {"kubectl", "helm"})
        missing = tuple(p for p in (*clients, binaries.KIND) if which(p.name) is None)
        binaries.build_programs(self.folders, missing)
        volumes = self._state / "volumes"
        volumes.mkdir(parents=True, exist_ok=True)
        if not self._exists():
            config = self._state / "kind.json"
            config.write_text(json.dumps(_configuration(volumes)))
            with step("creating the kind cluster"):
                run([self._kind(), "create", "cluster", "--config", config, *self._names()])
        self.images()
        api = connect(self.kubeconfig, kubectl=self._kubectl())
        # Parameters of a class cannot be changed, so kind's own goes before ours comes.
        class_path = f"/apis/storage.k8s.io/v1/storageclasses/{settings.STORAGE_CLASS}"
        if api.call("GET", class_path)["provisioner"] != settings.PROVISIONER:
            api.call("DELETE", class_path)
        api.apply(class_path, storage_class())
        addons.advertise_gpus(api, _NODE)
        if not processes.running(self._state, "provisioner"):
            local.start_provisioner(self._state, self.kubeconfig, volumes)

    def down(self) -> None:
        """Delete the cluster and end the provisioner."""
        processes.stop(self._state, ["provisioner"])
        if self._exists():
            run([self._kind(), "delete", "cluster", *self._names()])

    def images(self) -> None:
        """Build with Docker, which has its own cache, and load into the node."""
        for image in images.applications():
            with step(f"building image {image.name}"):
                context = settings.REPOSITORY
                if image.dockerfile.parent != context:
                    context = image.dockerfile.parent
                run(["docker", "build", "-t", image.name, "-f", image.dockerfile, context])
            if self._exists():
                with step(f"loading {image.name}"):
                    load = [self._kind(), "load", "docker-image", image.name]
                    run([*load, "--name", settings.NAME])

    def status(self) -> str:
        """Whether the cluster exists."""
        return f"kind cluster {settings.NAME}: {'exists' if self._exists() else 'none'}"

    def _exists(self) -> bool:
        container = f"{settings.NAME}-control-plane"
        return succeeds(["docker", "inspect", container])

    def _names(self) -> list[str | Path]:
        return ["--name", settings.NAME, "--kubeconfig", self.kubeconfig]

    def _kind(self) -> Path:
        return which("kind") or self.folders.bin / "kind"

    def _kubectl(self) -> Path:
        return which("kubectl") or self.folders.bin / "kubectl"


def _configuration(volumes: Path) -> dict[str, object]:
    """One node of kind's own Kubernetes version, the volumes' folder at the same path inside."""
    mount = {"hostPath": str(volumes), "containerPath": str(volumes)}
    return {
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "kind": "Cluster",
        "nodes": [{"role": "control-plane", "extraMounts": [mount]}],
    }
