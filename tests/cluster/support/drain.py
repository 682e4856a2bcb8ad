"""`kubectl drain` of some of a node's pods, and what it says while it goes on."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.support.kube import kubectl


@dataclass(frozen=True)
class Drain:
    """A drain that goes on."""

    _process: "subprocess.Popen[bytes]"
    _output: Path

    def said(self) -> str:
        return self._output.read_text()

    def wait(self, seconds: float) -> None:
        """Wait until every pod is gone; fail if one is not."""
        assert self._process.wait(seconds) == 0, self.said()


@contextmanager
def draining(folder: Path, node: str, selector: str) -> Iterator[Drain]:
    """Drain a node of the pods that a selector names; the node takes pods again in the end."""
    output = folder / "drain"
    command = [
        *("kubectl", "drain", node, f"--pod-selector={selector}"),
        *("--ignore-daemonsets", "--delete-emptydir-data"),
    ]
    try:
        with (
            output.open("w") as file,
            subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT) as process,
        ):
            try:
                yield Drain(process, output)
            finally:
                process.kill()
    finally:
        uncordon(node)


def uncordon(node: str) -> None:
    done = kubectl("uncordon", node)
    assert done.returncode == 0, done.stderr
