"""Which cluster the commands are about: the one that KUBECONFIG names, kind on a Docker engine,
or our own processes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.cluster import kind, local, settings
from tests.cluster.progress import say, step
from tests.cluster.shell import run, succeeds


class Cluster(Protocol):
    """What a command can ask of a cluster."""

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""

    def up(self) -> None:
        """Leave it running, with the present images."""

    def down(self) -> None:
        """Leave nothing of it."""

    def images(self) -> None:
        """Build the images and, where it runs, import them."""

    def status(self) -> str:
        """What runs, for a person."""


@dataclass(frozen=True)
class Given:
    """A cluster that somebody else runs: looked at, never changed."""

    kubeconfig: Path

    def up(self) -> None:
        """Check that it answers."""
        say(self.status())

    def down(self) -> None:
        """Nothing: it is not ours."""
        say(f"KUBECONFIG names {self.kubeconfig}: not ours to end")

    def images(self) -> None:
        """Nothing: how images reach it is its owner's matter."""
        say(f"KUBECONFIG names {self.kubeconfig}: push the images to a registry that it can reach")

    def status(self) -> str:
        """What the cluster says of itself; raise ClusterError where it does not answer."""
        version = run(["kubectl", "--kubeconfig", self.kubeconfig, "version"])
        return f"using the cluster of KUBECONFIG={self.kubeconfig}\n{version.strip()}"


@dataclass(frozen=True)
class Local:
    """Our own processes on this machine."""

    folders: settings.Folders

    @property
    def kubeconfig(self) -> Path:
        """At a path that stays the same."""
        return self.folders.kubeconfig

    def up(self) -> None:
        """See local.up."""
        local.up(self.folders)

    def down(self) -> None:
        """See local.down."""
        with step("taking the cluster down"):
            local.down(self.folders)

    def images(self) -> None:
        """See images.build and images.load."""
        local.refresh_images(self.folders)

    def status(self) -> str:
        """See local.status."""
        return local.status(self.folders)


def choose(folders: settings.Folders) -> Cluster:
    """The cluster in force. Our own kubeconfig in KUBECONFIG means our own cluster, not a foreign
    one."""
    given = os.environ.get("KUBECONFIG", "")
    if given and Path(given).resolve() not in {
        folders.kubeconfig.resolve(),
        kind.kubeconfig(folders).resolve(),
    }:
        return Given(Path(given))
    if succeeds(["docker", "info"]):
        return kind.Kind(folders)
    return Local(folders)


@contextmanager
def one_at_a_time(folders: settings.Folders) -> Iterator[None]:
    """Let a second `up` or `down` wait for the first; the system releases the lock of a killed
    one."""
    folders.cache.mkdir(parents=True, exist_ok=True)
    with (folders.cache / "cluster.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run of this command")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
