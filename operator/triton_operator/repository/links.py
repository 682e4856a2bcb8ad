"""Folders of links to generations: what Triton reads, and what keeps a generation on the claim."""

import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from triton_operator.repository import disk
from triton_operator.repository.layout import Layout, read_link_target
from triton_operator.repository.manifest import LINKS, Link, Manifest

GenerationRef = tuple[str, str]
"""(object, hash)."""


def create_folder(
    layout: Layout, folder: Path, links: Iterable[Link], staging: disk.Staging
) -> bool:
    """Make a folder appear with all its links at once; False if another run just did.

    Triton's pods wait for the folder, so it must never be seen half-filled.
    """
    disk.ensure_folder(folder.parent.parent)
    disk.ensure_folder(folder.parent)
    fresh = staging.new_path()
    disk.make_folder(fresh)
    for link in links:
        target = layout.link_target(folder, link.object, link.hash)
        (fresh / link.model).symlink_to(target)
    disk.flush_folder(fresh)
    if disk.move_folder(fresh, folder):
        return True
    shutil.rmtree(fresh)
    return False


def note_generation(layout: Layout, ref: GenerationRef, staging: disk.Staging) -> None:
    """Leave a link to a generation that nothing links to yet among what is not finished.

    Whoever finds it after a kill knows of the generation, which no manifest may name any more.
    """
    note = staging.new_path()
    note.symlink_to(layout.link_target(note.parent, *ref))


def close_staging(layout: Layout, staging: disk.Staging) -> None:
    """Remove what a run has not finished, but links that tell the next run what it may prune.

    Those of objects that nothing links to: when a link goes, all generations of its object are
    looked at.
    """
    with suppress(OSError):  # the next run finds it all, and this one has its outcome
        notes = read_links(staging.folder)
        linked = {name for name, _ in linked_generations(layout)} if notes else set()
        needed = {
            path
            for path, (name, _) in notes.items()
            if name not in linked and layout.object(name).is_dir()
        }
        staging.close(needed)


def read_links(folder: Path) -> dict[Path, GenerationRef]:
    """Return our links in a folder and the generations that they point to."""
    return {
        Path(entry.path): target
        for entry in disk.list_folder(folder)
        if (target := read_link_target(disk.read_link(Path(entry.path)) or "")) is not None
    }


def linked_generations(layout: Layout) -> set[GenerationRef]:
    """Return the generations that any server's links point to, as they are on the disk now."""
    servers = (Path(entry.path) for entry in disk.list_folder(layout.servers))
    folders = (*servers, *_revisions(layout))
    return {target for folder in folders for target in read_links(folder).values()}


def read_last_revision(layout: Layout, manifest: Manifest) -> dict[str, GenerationRef]:
    """Return the links that pods which serve were started with: those to what is good."""
    folders = (
        layout.server(manifest.server) if each == LINKS else layout.revision(manifest.server, each)
        for each in manifest.keep_revisions
    )
    found = [{path.name: ref for path, ref in read_links(each).items()} for each in folders]
    good = {*manifest.keep, *manifest.standing}
    return max(found, key=lambda links: len(good.intersection(links.values())), default={})


def remove_links(
    folder: Path, wanted: Collection[str], staging: disk.Staging
) -> dict[str, GenerationRef]:
    """Take our links of other than the wanted models out of a server's folder; return them."""
    removed = {}
    for link, target in read_links(folder).items():
        if link.name not in wanted:
            with suppress(FileNotFoundError):
                link.rename(staging.new_path())
                removed[link.name] = target
    if removed:
        disk.flush_folder(folder)
    return removed


def remove_revisions(
    layout: Layout, server: str, keep: Collection[str], staging: disk.Staging
) -> dict[str, set[GenerationRef]]:
    """Take the revisions of a server off the claim but those to keep; return what they held.

    Each goes in one step: no pod may find a part of one.
    """
    removed = {}
    parent = layout.revisions / server
    for entry in disk.list_folder(parent):
        folder = Path(entry.path)
        if entry.name in keep or not entry.is_dir(follow_symlinks=False):
            continue
        held = set(read_links(folder).values())
        with suppress(FileNotFoundError):  # another run removed it
            folder.rename(staging.new_path())
            removed[entry.name] = held
    if removed:
        disk.flush_folder(parent)
    return removed


def _revisions(layout: Layout) -> Iterator[Path]:
    for server in disk.list_folder(layout.revisions):
        yield from (Path(entry.path) for entry in disk.list_folder(Path(server.path)))
