"""Making a manifest true on a claim: what the sync Job does.

The order carries the safety: an artifact gets its name when it is complete and verified, a
generation when all its files are, a link when its generation is there, a revision when all its
links are. Whoever is killed, at any
point, leaves links that all resolve to whole generations; the next run goes on from what it finds.
Two runs at once do the same work in folders of their own and meet only in renames.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from triton_operator.errors import InvalidSpecError, OperatorError
from triton_operator.repository import disk
from triton_operator.repository.artifacts import Artifact, read_record
from triton_operator.repository.blobs import Blobs
from triton_operator.repository.copying import Copying
from triton_operator.repository.downloads import Downloads, Limits
from triton_operator.repository.generations import Generations
from triton_operator.repository.integrity import Checksums
from triton_operator.repository.layout import Layout, check_name, read_link_target
from triton_operator.repository.links import (
    GenerationRef,
    create_folder,
    remove_links,
    remove_revisions,
)
from triton_operator.repository.manifest import LINKS, Link, Manifest, revision_digest
from triton_operator.repository.outcome import Event, Failure, Outcome
from triton_operator.repository.partial import remove_downloads
from triton_operator.repository.prune import prune, remove_server, sweep_staging
from triton_operator.repository.sources import (
    GenerationMissingError,
    InvalidSourceError,
    Sources,
    SyncError,
    WriteFailedError,
    write_error,
)

_ROUNDS = 3
"""Builds until all links resolve; only another run's pruning ever makes a second one needed."""


def materialize(
    root: Path,
    manifest: Manifest,
    sources: Sources,
    report: Callable[[Event], None],
    *,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.time,
    repair: bool = False,
) -> Outcome:
    """Make the claim mounted at ``root`` hold what the manifest says, and nothing older.

    A model that cannot be written is reported and keeps the link it had, or else the generation
    that the manifest keeps for it; the others go on.

    Args:
        root: The claim's folder.
        manifest: One server's part of it.
        sources: Where artifacts come from.
        report: Told of everything that happens, as it happens; by one thread at a time.
        limits: What it may take of the network.
        clock: Seconds since the epoch, compared with the age of files.
        repair: Whether to read what is there, instead of trusting in names, and mend it.

    Raises:
        InvalidSpecError: the server's name cannot be a folder.

    """
    check_name(manifest.server)
    started = time.monotonic()
    layout = Layout(root)
    staging = disk.Staging(layout.staging, manifest.server)
    checksums = Checksums() if repair else None
    mended: set[str] = set()

    def tell(event: Event) -> None:
        if repair and event.object and event.event in {"built", "mended", "linked"}:
            mended.add(event.object)
        report(event)

    copying = Copying(tell)
    downloads = Downloads(sources, limits or Limits())
    blobs = Blobs(layout, staging, downloads, copying, checksums=checksums)
    generations = Generations(
        layout, staging, blobs, downloads, report=copying, checksums=checksums
    )
    run = _Run(layout, manifest, staging, generations, tell)
    problem = None
    try:
        if manifest.remove:
            remove_server(layout, manifest, report, clock())
        else:
            run.unlinked |= sweep_staging(layout, manifest.server, staging, clock())
            run.build_and_publish()
            run.unlink()
            prune(layout, manifest, run.unlinked, staging, report=report, now=clock())
            if not generations.unlisted:
                remove_downloads(layout, manifest.server, keep=blobs.expected)
    except OSError as error:
        free = disk.free_bytes(layout.root)
        problem = Failure.of(write_error(error, "the claim", needed=None, free=free))
        report(Event("failed", reason=problem.reason, message=problem.message))
    finally:
        downloads.stop()
        staging.close()
    seconds = round(time.monotonic() - started, 3)
    report(Event("done", bytes=blobs.bytes_copied, seconds=seconds))
    artifacts = run.read_artifacts()
    return Outcome(
        run.failed, artifacts, blobs.bytes_copied, problem, frozenset(mended), run.revision
    )


class _Run:
    """One run's state: what failed, and which generations lost a link."""

    def __init__(
        self,
        layout: Layout,
        manifest: Manifest,
        staging: disk.Staging,
        generations: Generations,
        report: Callable[[Event], None],
    ) -> None:
        self.failed: dict[str, Failure] = {}
        self.unlinked: set[GenerationRef] = set()
        self.revision = ""
        self._layout = layout
        self._manifest = manifest
        self._staging = staging
        self._generations = generations
        self._report = report

    def build_and_publish(self) -> None:
        """Build what is missing, then let pods find every generation that is there."""
        for _ in range(_ROUNDS):
            self._build_generations()
            links = [found for link in self._manifest.links if (found := self._resolve(link))]
            if self._manifest.immutable:
                folder = self._publish_revision(links)
            else:
                folder = self._write_links(links)
            if self._links_resolve(folder, links):
                return

    def unlink(self) -> None:
        """Remove our links that the manifest no longer names, and revisions nobody needs."""
        manifest = self._manifest
        folder = self._layout.server(manifest.server)
        if not manifest.immutable:
            self._remove_links(folder, {link.model for link in manifest.links})
        elif LINKS not in manifest.keep_revisions:
            self._remove_links(folder, set())
            disk.remove_folder_if_empty(folder)
        keep = {self.revision, *manifest.keep_revisions}
        removed = remove_revisions(self._layout, manifest.server, keep, self._staging)
        for digest, held in removed.items():
            self.unlinked |= held
            path = self._layout.revision(manifest.server, digest)
            self._report(Event("pruned", path=self._relative(path)))

    def _remove_links(self, folder: Path, wanted: set[str]) -> None:
        for model, target in remove_links(folder, wanted, self._staging).items():
            self.unlinked.add(target)
            self._report(Event("unlinked", target[0], path=self._relative(folder / model)))

    def read_artifacts(self) -> dict[str, tuple[Artifact, ...]]:
        """Return what is linked now was made of, by object, where it had sources."""
        folder = self._layout.server(self._manifest.server)
        if self.revision:
            folder = self._layout.revision(self._manifest.server, self.revision)
        links = {link.object: folder / link.model for link in self._manifest.links}
        records = {name: read_record(link) for name, link in links.items()}
        return {name: artifacts for name, artifacts in records.items() if artifacts}

    def _build_generations(self) -> None:
        for generation in self._manifest.generations:
            try:
                self._generations.ensure(generation)
            except OSError as error:
                what = f"generation {generation.hash} of {generation.object}"
                self._fail([generation.object], self._write_error(error, what))
            except OperatorError as error:
                self._fail([generation.object], error)

    def _resolve(self, link: Link) -> Link | None:
        """Return a link to what can be had now: what is wanted, else what is kept for it."""
        if self._is_ready(link):
            return link
        good = dict(self._manifest.keep).get(link.object)
        server = self._layout.server(self._manifest.server)
        if good is None or (not self._manifest.immutable and disk.read_link(server / link.model)):
            return None  # A link that is there stays as it is.
        kept = replace(link, hash=good)
        return kept if self._is_ready(kept) else None

    def _publish_revision(self, links: list[Link]) -> Path:
        self.revision = revision_digest(links)
        folder = self._layout.revision(self._manifest.server, self.revision)
        if folder.is_dir() or not self._create_folder(folder, links):
            flips = [self._flip(folder, link) for link in links]
            if any(flips):  # somebody had a hand in it
                disk.flush_folder(folder)
        return folder

    def _write_links(self, links: list[Link]) -> Path:
        folder = self._layout.server(self._manifest.server)
        try:
            if not folder.is_dir() and self._create_folder(folder, links):
                return folder
            flips = [self._flip(folder, link) for link in links]
            if any(flips):
                disk.flush_folder(folder)
        except OSError as error:
            objects = [link.object for link in links]
            self._fail(objects, self._write_error(error, self._relative(folder)))
        return folder

    def _create_folder(self, folder: Path, links: list[Link]) -> bool:
        created = create_folder(self._layout, folder, links, self._staging)
        for link in links if created else ():
            self._report(Event("linked", link.object, path=self._relative(folder / link.model)))
        return created

    def _links_resolve(self, folder: Path, links: list[Link]) -> bool:
        """Tell whether no other run removed what a link of ours points to."""
        return all(
            (folder / link.model).exists()
            for link in links
            if disk.read_link(folder / link.model)
            == self._layout.link_target(folder, link.object, link.hash)
        )

    def _is_ready(self, link: Link) -> bool:
        try:
            check_name(link.model)
            if self._layout.generation(link.object, link.hash).is_dir():
                return True
        except InvalidSpecError as error:
            self._fail([link.object], error)
            return False
        if link.object not in self.failed:
            message = f"generation {link.hash} of {link.object} is not on the claim and not listed"
            self._fail([link.object], GenerationMissingError(message))
        return False

    def _flip(self, folder: Path, link: Link) -> bool:
        """Point one link to its generation; tell whether that was a change."""
        path = folder / link.model
        current = disk.read_link(path)
        target = self._layout.link_target(folder, link.object, link.hash)
        if current == target:
            return False
        # A link that is there by now was made by a run beside this one.
        if current is None and path.exists() and not path.is_symlink():
            message = f"{self._relative(path)} is not the operator's link: take it off the claim"
            self._fail([link.object], WriteFailedError(message))
            return False
        try:
            # Triton reloads only what is newer than what it loaded last, and answers 200 to the
            # rest: without a fresh date, going back to an older generation would do nothing.
            disk.touch(self._layout.generation(link.object, link.hash))
            disk.replace_link(path, target, self._staging)
        except OSError as error:
            self._fail([link.object], self._write_error(error, self._relative(path)))
            return False
        if (previous := read_link_target(current or "")) is not None:
            self.unlinked.add(previous)
        self._report(Event("linked", link.object, path=self._relative(path)))
        return True

    def _write_error(self, error: OSError, what: str) -> SyncError:
        free = disk.free_bytes(self._layout.root)
        return write_error(error, what, needed=None, free=free)

    def _fail(self, objects: Iterable[str], error: OperatorError) -> None:
        if isinstance(error, InvalidSpecError):
            error = InvalidSourceError(str(error))
        failure = Failure.of(error)
        for name in objects:
            if self.failed.get(name) != failure:
                self.failed[name] = failure
                self._report(Event("failed", name, reason=failure.reason, message=failure.message))

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._layout.root).as_posix()
