"""Taking off a claim what nothing needs any more, and never anything else.

Other servers, other runs and the users themselves share the claim: only generations of objects that
the manifest speaks of are looked at, and a blob only goes when nothing links to it.
"""

import math
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from triton_operator.errors import InvalidSpecError
from triton_operator.repository import disk
from triton_operator.repository.layout import (
    Layout,
    check_name,
    is_blob_name,
    is_download,
    staging_owner,
)
from triton_operator.repository.links import (
    GenerationRef,
    linked_generations,
    read_links,
    remove_links,
    remove_revisions,
)
from triton_operator.repository.manifest import Manifest
from triton_operator.repository.outcome import Event

BLOB_GRACE_SECONDS = 3600.0
"""A blob that nothing links to may be another run's, on its way into a generation."""
STAGING_GRACE_SECONDS = 86400.0
"""A folder in ``.staging`` this long untouched belongs to a run that was killed, and a download
that nobody went on with is not waited for any longer."""
OWN_STAGING_GRACE_SECONDS = 3600.0
"""The same for runs of the same server, of which there is hardly ever more than one."""


def prune(
    layout: Layout,
    manifest: Manifest,
    unlinked: set[GenerationRef],
    staging: disk.Staging,
    *,
    report: Callable[[Event], None],
    now: float,
) -> None:
    """Remove generations that are neither linked, listed nor kept, and what only they used.

    Args:
        layout: The claim.
        manifest: Whose objects are looked at, besides those of ``unlinked``.
        unlinked: Generations that this run took a link off, or an earlier one that was killed
            built or took a link off.
        staging: Where they are moved to before they are deleted.
        report: Told of every generation and blob removed.
        now: Seconds since the epoch.

    """
    wanted = _named(manifest)
    objects = {name for name, _ in wanted | unlinked}
    orphans = _prune_generations(layout, objects, wanted, staging, report)
    _prune_blobs(layout, orphans, report, now - BLOB_GRACE_SECONDS)


def sweep_staging(
    layout: Layout, server: str, staging: disk.Staging, now: float
) -> set[GenerationRef]:
    """Remove what killed runs left half-done; their retry may need the space.

    Returns the generations that runs of this server built or took a link off, perhaps without
    living to link or prune them: they have left a link in ``.staging``.
    """
    unlinked = set()
    for entry in disk.list_folder(layout.staging):
        owner = staging_owner(entry.name)
        if owner is None:
            continue
        left = _links_left(Path(entry.path))
        links = left if owner == server else {}
        unlinked |= set(links.values())
        own_run = owner == server and not is_download(entry.name)
        grace = OWN_STAGING_GRACE_SECONDS if own_run else STAGING_GRACE_SECONDS
        # What links are left of others' runs tells those what they have to prune.
        if _newest(Path(entry.path)) < now - grace and (links or not left):
            for link in links:
                with suppress(FileNotFoundError):
                    link.rename(staging.new_path())  # this run may be killed too
            shutil.rmtree(entry.path, ignore_errors=True)
    return unlinked


def remove_server(
    layout: Layout, manifest: Manifest, report: Callable[[Event], None], now: float
) -> None:
    """Take a server, its models' generations and what only they used off the claim.

    What other servers link to stays, and so does everything that is not ours.
    """
    folder = layout.server(manifest.server)
    objects = {name for name, _ in _named(manifest)}
    staging = disk.Staging(layout.staging, manifest.server)
    objects |= {name for name, _ in sweep_staging(layout, manifest.server, staging, now)}
    for model, (name, _) in remove_links(folder, set(), staging).items():
        objects.add(name)
        report(Event("unlinked", name, path=f"servers/{manifest.server}/{model}"))
    disk.remove_folder_if_empty(folder)
    for held in remove_revisions(layout, manifest.server, (), staging).values():
        objects |= {name for name, _ in held}
    disk.remove_folder_if_empty(layout.revisions / manifest.server)
    orphans = _prune_generations(layout, objects, set(), staging, report)
    staging.close()
    for entry in disk.list_folder(layout.staging):
        if staging_owner(entry.name) == manifest.server:  # of its runs that were killed
            shutil.rmtree(entry.path, ignore_errors=True)
    disk.remove_folder_if_empty(layout.staging)
    shared = (layout.servers, layout.revisions, layout.generations)
    for each in shared:
        disk.remove_folder_if_empty(each)
    others = any(each.exists() for each in (*shared, layout.staging))
    _prune_blobs(layout, orphans, report, now - BLOB_GRACE_SECONDS if others else None)
    disk.remove_folder_if_empty(layout.blobs)
    disk.remove_folder_if_empty(layout.index)
    if layout.root.is_dir():
        disk.flush_folder(layout.root)


def _prune_generations(
    layout: Layout,
    objects: Iterable[str],
    wanted: set[GenerationRef],
    staging: disk.Staging,
    report: Callable[[Event], None],
) -> set[str]:
    """Remove the unneeded generations of these objects; return the blobs that they used."""
    blobs_by_inode: dict[tuple[int, int], str] | None = None
    orphans: set[str] = set()
    linked = linked_generations(layout)
    for name in sorted(objects):
        for entry in disk.list_folder(layout.object(name)):
            if (name, entry.name) in wanted | linked or not entry.is_dir(follow_symlinks=False):
                continue
            if blobs_by_inode is None:
                blobs_by_inode = _blobs_by_inode(layout)
            used = {
                blob
                for path in disk.walk_files(Path(entry.path))
                if (blob := _blob_behind(path, blobs_by_inode)) is not None
            }
            if _delete_generation(layout, name, Path(entry.path), staging):
                orphans |= used
                report(Event("pruned", name, path=f"generations/{name}/{entry.name}"))
        disk.remove_folder_if_empty(layout.object(name))
    return orphans


def _delete_generation(layout: Layout, name: str, path: Path, staging: disk.Staging) -> bool:
    """Delete a generation unless another run has linked it meanwhile.

    Moved away first: a folder that is being deleted must not look like a whole generation.
    """
    doomed = staging.new_path()
    try:
        path.rename(doomed)
    except FileNotFoundError:
        return False  # another run is deleting it
    if (name, path.name) in linked_generations(layout):
        disk.move_folder(doomed, path)
        return False
    shutil.rmtree(doomed)
    return True


def _prune_blobs(
    layout: Layout, orphans: set[str], report: Callable[[Event], None], before: float | None
) -> None:
    """Remove blobs that nothing links to: ``orphans``, and others last touched before a time.

    Without a time, all of them: nobody else is using the claim.
    """
    candidates = []
    for entry in disk.list_folder(layout.blobs):
        if not is_blob_name(entry.name) or not entry.is_file(follow_symlinks=False):
            continue
        try:
            status = Path(entry.path).stat()
        except FileNotFoundError:
            continue  # another run removed it
        age_allows = before is None or max(status.st_mtime, status.st_ctime) < before
        if status.st_nlink == 1 and (entry.name in orphans or age_allows):
            candidates.append(entry)
    if not candidates and before is not None:
        return
    used = _blobs_behind_symlinks(layout)
    for entry in candidates:
        if entry.name not in used:
            Path(entry.path).unlink(missing_ok=True)
            report(Event("pruned", path=f"blobs/{entry.name}"))
    _prune_index(layout)


def _prune_index(layout: Layout) -> None:
    """Remove the index's links to blobs that are gone."""
    for entry in disk.list_folder(layout.index):
        link = Path(entry.path)
        if is_blob_name(entry.name) and entry.is_symlink() and not link.exists():
            link.unlink(missing_ok=True)


def _named(manifest: Manifest) -> set[GenerationRef]:
    """Return the generations that a manifest speaks of; a name that is no path has none."""
    listed = {(each.object, each.hash) for each in manifest.generations}
    linked = {(each.object, each.hash) for each in manifest.links}
    return {each for each in listed | linked | set(manifest.keep) if _is_name(each[0])}


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except InvalidSpecError:
        return False
    return True


def _links_left(folder: Path) -> dict[Path, GenerationRef]:
    """Return the links that a run moved away, one by one or in the folder of a revision."""
    found = read_links(folder)
    for entry in disk.list_folder(folder):
        if entry.is_dir(follow_symlinks=False):
            found |= read_links(Path(entry.path))
    return found


def _blobs_by_inode(layout: Layout) -> dict[tuple[int, int], str]:
    found = {}
    for entry in disk.list_folder(layout.blobs):
        with suppress(FileNotFoundError):  # another run removed it
            status = Path(entry.path).lstat()
            found[status.st_dev, status.st_ino] = entry.name
    return found


def _blob_behind(path: Path, by_inode: dict[tuple[int, int], str]) -> str | None:
    """Return the blob that a generation's file links to, None if it holds its own content."""
    if (target := disk.read_link(path)) is not None:
        return Path(target).name
    try:
        status = path.stat()
    except FileNotFoundError:
        return None  # another run is deleting the generation
    return by_inode.get((status.st_dev, status.st_ino))


def _blobs_behind_symlinks(layout: Layout) -> set[str]:
    """Return the blobs used where the file system has no hard links to count."""
    return {
        Path(target).name
        for folder in (layout.generations, layout.staging)
        for path in disk.walk_files(folder)
        if (target := disk.read_link(path)) is not None
    }


def _newest(path: Path) -> float:
    """Return when anything in a folder was last written; never, if it is being removed."""
    try:
        return max(each.lstat().st_mtime for each in (path, *disk.walk_files(path)))
    except FileNotFoundError:
        return math.inf
