"""Whether files on the claim are what they should be, found out by reading them."""

import hashlib
from pathlib import Path

from triton_operator.repository import disk
from triton_operator.repository.downloads import Downloads
from triton_operator.repository.layout import CONFIG_FILE, EMPTY_VERSION, RECORD_FILE, Layout
from triton_operator.repository.manifest import Generation, VersionContent
from triton_operator.repository.sources import SyncError


class Checksums:
    """The sha256 of files, each read once in a run however many names it has."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int], str] = {}

    def of(self, path: Path) -> str | None:
        """Return the sha256 of a file's content; None for what is no file that can be read."""
        try:
            if not path.is_file():
                return None
            status = path.stat()
            inode = (status.st_dev, status.st_ino, status.st_mtime_ns)
            if inode not in self._known:
                with path.open("rb") as file:
                    self._known[inode] = hashlib.file_digest(file, "sha256").hexdigest()
            return self._known[inode]
        except FileNotFoundError:
            return None  # another run removed it

    def is_blob(self, path: Path) -> bool:
        """Return whether a blob's content is what its name says."""
        return self.of(path) == path.name


def is_intact(
    generation: Generation, layout: Layout, downloads: Downloads, checksums: Checksums
) -> bool:
    """Return whether a generation on the claim has the files of the manifest, and no others.

    A fetched file without a known digest is right if its content is that of a blob. Which files a
    source has is asked of the source; where it does not answer, those that are there must do.
    """
    folder = layout.generation(generation.object, generation.hash)
    present = {path.relative_to(folder).as_posix() for path in disk.walk_files(folder)}
    written = {CONFIG_FILE: generation.config, **generation.files}
    if not all(_has_text(folder / path, text, checksums) for path, text in written.items()):
        return False
    known = set(written)
    if not generation.versions and not (folder / str(EMPTY_VERSION)).is_dir():
        return False
    for version in generation.versions:
        prefix = f"{version.version}/"
        there = {path.removeprefix(prefix) for path in present if path.startswith(prefix)}
        wanted = _fetched_files(version, there, downloads)
        right = all(
            _has_text(folder / prefix / path, text, checksums)
            for path, text in version.files.items()
        ) and all(
            _is_fetched(folder / prefix / path, version, layout, checksums) for path in wanted
        )
        if not right or not (folder / prefix).is_dir():
            return False
        known |= {f"{prefix}{path}" for path in (*version.files, *wanted)}
    return present - {RECORD_FILE} == known


def merge_folder(fresh: Path, folder: Path, staging: disk.Staging, checksums: Checksums) -> bool:
    """Give a folder the files of another one, each in one step, and no others.

    Whoever reads the folder meanwhile, or after a run that was killed, finds each file either as it
    was or as it should be, and none missing that was there. Returns whether anything changed.
    """
    files = {path.relative_to(fresh): path for path in disk.walk_files(fresh)}
    folders = {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_dir()}
    changed = False
    for name in sorted(folders):
        target = folder / name
        if target.is_symlink() or not target.is_dir():
            _move_away(target, staging)
            disk.make_folder(target)
            changed = True
    for name, path in files.items():
        target = folder / name
        if checksums.of(target) != checksums.of(path):
            if target.is_dir() and not target.is_symlink():
                _move_away(target, staging)
            path.replace(target)
            changed = True
    # Innermost first: nothing is looked for in a folder that was moved away.
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.relative_to(folder) not in {*files, *folders}:
            _move_away(path, staging)
            changed = True
    disk.flush_tree(folder)
    return changed


def _fetched_files(version: VersionContent, there: set[str], downloads: Downloads) -> set[str]:
    """Return the files that a version should have from its source."""
    if version.source is None:
        return set()
    try:
        wanted = {file.path for file in downloads.list_files(version.source)}
    except SyncError:
        wanted = there or {"?"}
    return wanted - set(version.files)


def _is_fetched(path: Path, version: VersionContent, layout: Layout, checksums: Checksums) -> bool:
    digest = checksums.of(path)
    if digest is None:
        return False
    blob = layout.blob(digest)
    expected = version.source.sha256 if version.source is not None else None
    if expected is not None and not blob.exists():
        return digest == expected.lower()
    return digest == (expected or digest).lower() and checksums.is_blob(blob)


def _has_text(path: Path, text: str, checksums: Checksums) -> bool:
    content = text.encode("utf-8", "surrogatepass")
    return checksums.of(path) == hashlib.sha256(content).hexdigest()


def _move_away(path: Path, staging: disk.Staging) -> None:
    if path.is_symlink() or path.exists():
        path.rename(staging.new_path())
