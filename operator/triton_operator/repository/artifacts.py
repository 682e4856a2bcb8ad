"""What a generation was made of: recorded in it when it is built, told whenever it is linked.

A source without a ``sha256`` is served as it arrived; only this says afterwards what that was.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from triton_operator.repository.disk import write_file
from triton_operator.repository.layout import RECORD_FILE


@dataclass(frozen=True, slots=True)
class Artifact:
    """What arrived from the source of one version."""

    version: int
    uri: str
    """Without credentials."""
    sha256: str
    """Of the file, or of a folder: see :func:`folder_digest`."""
    bytes: int


def folder_digest(digests: Mapping[str, str]) -> str:
    """Return one digest for all files of a folder, from their digests by path.

    It is the sha256 of what ``sha256sum`` prints for the files in the order of their paths.
    """
    lines = (f"{digests[path]}  {path}\n" for path in sorted(digests))
    return sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def write_record(folder: Path, artifacts: Iterable[Artifact]) -> None:
    """Record in a generation's folder what it is made of."""
    text = json.dumps([asdict(each) for each in artifacts])
    write_file(folder / RECORD_FILE, text.encode())


def read_record(folder: Path) -> tuple[Artifact, ...]:
    """Return what a generation is made of; nothing if it does not say so."""
    try:
        found = json.loads((folder / RECORD_FILE).read_bytes())
        return tuple(
            Artifact(
                int(each["version"]), str(each["uri"]), str(each["sha256"]), int(each["bytes"])
            )
            for each in found
        )
    except (OSError, ValueError, KeyError, TypeError):
        return ()
