"""A claim on the test's disk, with what the tests ask of it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path

from tests.unit.repository.interruption import die_before, record_changes
from triton_operator.repository.downloads import Limits
from triton_operator.repository.layout import RECORD_FILE
from triton_operator.repository.manifest import (
    Generation,
    Link,
    Manifest,
    SourceRef,
    VersionContent,
    generation_hash,
)
from triton_operator.repository.materialize import materialize
from triton_operator.repository.outcome import Event, Outcome
from triton_operator.repository.sources import SourceFile, SourceNotFoundError, SyncError

Content = bytes | Mapping[str, bytes] | SyncError


class MemorySources:
    """Artifacts by uri: a file's bytes, a folder's files, or an error."""

    def __init__(self, artifacts: Mapping[str, Content]) -> None:
        self.artifacts = dict(artifacts)
        self.fetched: list[str] = []

    def list_files(self, source: SourceRef) -> tuple[SourceFile, ...]:
        uri = source.uri
        content = self.artifacts.get(uri, b"")
        if isinstance(content, Mapping):
            return tuple(SourceFile(f"{uri}{path}", path, len(content[path])) for path in content)
        return (SourceFile(uri, uri.rpartition("/")[2]),)

    @contextmanager
    def read(self, file: SourceFile, start: int, stop: int | None) -> Iterator[Iterator[bytes]]:
        self.fetched.append(file.uri)
        yield iter([self._read(file)[start:stop]])

    def _read(self, file: SourceFile) -> bytes:
        folder = self.artifacts.get(file.uri.removesuffix(file.path))
        content = folder[file.path] if isinstance(folder, Mapping) else self.artifacts.get(file.uri)
        if isinstance(content, SyncError):
            raise content
        if not isinstance(content, bytes):
            raise SourceNotFoundError(file.uri)
        return content


@dataclass
class Claim:
    """The claim under test; ``sync`` is one run of a sync Job."""

    root: Path
    sources: MemorySources
    events: list[Event] = field(default_factory=list)
    now: Callable[[], float] | None = None

    def sync(self, manifest: Manifest, *, repair: bool = False) -> Outcome:
        options = {"limits": Limits(attempts=1), "repair": repair}
        options |= {"clock": self.now} if self.now else {}
        return materialize(self.root, manifest, self.sources, self.events.append, **options)

    def served(self, server: str = "vision") -> dict[str, str]:
        """Return all that Triton would read, by path; every link has to resolve."""
        found = {}
        for link in sorted((self.root / "servers" / server).iterdir()):
            assert link.is_symlink()
            assert (link / "config.pbtxt").is_file(), f"{link} -> {link.readlink()}"
            for path in sorted(link.rglob("*")):
                if path.is_file() and path.name != RECORD_FILE:
                    found[path.relative_to(link.parent).as_posix()] = path.read_text()
        return found

    def everything(self) -> dict[str, tuple[int, int, int]]:
        """Return inode, link count and change time of all that is on the claim."""
        return {
            path.relative_to(self.root).as_posix(): (
                path.lstat().st_ino,
                path.lstat().st_nlink,
                path.lstat().st_ctime_ns,
            )
            for path in (self.root, *self.root.rglob("*"))
        }

    def paths(self) -> set[str]:
        return set(self.everything()) - {"."}

    def generations(self, object_: str) -> set[str]:
        folder = self.root / "generations" / object_
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def blobs(self) -> set[str]:
        folder = self.root / "blobs"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def version(number: int, uri: str | None = None, sha: str | None = None, **files: str):
    source = None if uri is None else SourceRef(uri, sha)
    named = {name.replace("_", "."): text for name, text in files.items()}
    return VersionContent(number, source, named)


def model(name: str, config: str, *versions: VersionContent, **files: str) -> Generation:
    named = {path.replace("_", "."): text for path, text in files.items()}
    hash_ = generation_hash(config, named, versions)
    return Generation(name, hash_, config, named, versions)


def serving(*generations: Generation, server: str = "vision", keep: tuple[Generation, ...] = ()):
    """Return the manifest of a server that links each of these under its object's name."""
    return Manifest(
        server,
        generations,
        tuple(Link(each.object, each.object, each.hash) for each in generations),
        keep=tuple((each.object, each.hash) for each in keep),
    )


def synced(
    root: Path, *manifests: Manifest, artifacts: Mapping[str, Content] | None = None
) -> Claim:
    """Return a new claim on which manifests were synced, one after the other."""
    root.mkdir()
    claim = Claim(root, MemorySources(artifacts or {}))
    for manifest in manifests:
        assert not claim.sync(manifest).failed
    return claim


def killed_at_each_change(
    folder: Path,
    *before: Manifest,
    then: Manifest,
    artifacts: Mapping[str, Content] | None = None,
) -> Iterator[tuple[Claim, str]]:
    """Yield claims on which the sync of a manifest was killed, each at another change.

    Which change that was is told with the claim.
    """
    whole = synced(folder / "recorded", *before, artifacts=artifacts)
    changes = record_changes(partial(whole.sync, then))
    assert len(changes) > 10
    for step, change in enumerate(changes):
        claim = synced(folder / str(step), *before, artifacts=artifacts)
        die_before(step, partial(claim.sync, then))
        yield claim, f"killed before change {step}: {change}"
