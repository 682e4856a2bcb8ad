"""Making a manifest true on a claim: what the sync Job does.

The order carries the safety: an artifact gets its name when it is complete and verified, a
generation when all its files are, a link when its generation is there. Whoever is killed, at any
point, leaves links that all resolve to whole generations; the next run goes on from what it finds.
Two runs at once do the same work in folders of their own and meet only in renames.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from triton_operator.errors import InvalidSpecError, OperatorError
from triton_operator.repository import disk
from triton_operator.repository.artifacts import Artifact, read_record
from triton_operator.repository.blobs import Blobs
from triton_operator.repository.copying import Copying
from triton_operator.repository.generations import Generations
from triton_operator.repository.integrity import Checksums
from triton_operator.repository.layout import Layout, check_name, link_target, read_link_target
from triton_operator.repository.manifest import Link, Manifest
from triton_operator.repository.outcome import Event, Failure, Outcome
from triton_operator.repository.prune import (
    GenerationRef,
    prune,
    remove_links,
    remove_server,
    sweep_staging,
)
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
    clock: Callable[[], float] = time.time,
    repair: bool = False,
) -> Outcome:
    """Make the claim mounted at ``root`` hold what the manifest says, and nothing older.

    A model that cannot be written is reported and keeps the link it had; the others go on.

    Args:
        root: The claim's folder.
        manifest: One server's part of it.
        sources: Where artifacts come from.
        report: Told of everything that happens, as it happens.
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
    blobs = Blobs(layout, staging, sources, copying, checksums=checksums)
    generations = Generations(layout, staging, sources, blobs, report=copying, checksums=checksums)
    run = _Run(layout, manifest, staging, generations, tell)
    problem = None
    try:
        if manifest.remove:
            remove_server(layout, manifest, report, clock())
        else:
            run.unlinked |= sweep_staging(layout, manifest.server, staging, clock())
            run.build_and_link()
            run.unlink()
            prune(layout, manifest, run.unlinked, staging, report=report, now=clock())
    except OSError as error:
        free = disk.free_bytes(layout.root)
        problem = Failure.of(write_error(error, "the claim", needed=None, free=free))
        report(Event("failed", reason=problem.reason, message=problem.message))
    finally:
        staging.close()
    seconds = round(time.monotonic() - started, 3)
    report(Event("done", bytes=blobs.bytes_copied, seconds=seconds))
    return Outcome(run.failed, run.read_artifacts(), blobs.bytes_copied, problem, frozenset(mended))


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
        self._layout = layout
        self._manifest = manifest
        self._staging = staging
        self._generations = generations
        self._report = report

    def build_and_link(self) -> None:
        """Build what is missing, then point every link whose generation is there to it."""
        for _ in range(_ROUNDS):
            self._build_generations()
            ready = [link for link in self._manifest.links if self._is_ready(link)]
            self._write_links(ready)
            if self._links_resolve(ready):
                return

    def unlink(self) -> None:
        """Remove our links of models that the manifest no longer names."""
        folder = self._layout.server(self._manifest.server)
        wanted = {link.model for link in self._manifest.links}
        for model, target in remove_links(folder, wanted, self._staging).items():
            self.unlinked.add(target)
            self._report(Event("unlinked", target[0], path=self._relative(folder / model)))

    def read_artifacts(self) -> dict[str, tuple[Artifact, ...]]:
        """Return what is linked now was made of, by object, where it had sources."""
        folder = self._layout.server(self._manifest.server)
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

    def _write_links(self, ready: list[Link]) -> None:
        folder = self._layout.server(self._manifest.server)
        try:
            if not folder.is_dir() and self._create_server(folder, ready):
                return
            flips = [self._flip(folder, link) for link in ready]
            if any(flips):
                disk.flush_folder(folder)
        except OSError as error:
            objects = [link.object for link in ready]
            self._fail(objects, self._write_error(error, self._relative(folder)))

    def _links_resolve(self, links: list[Link]) -> bool:
        """Tell whether no other run removed what a link of ours points to."""
        folder = self._layout.server(self._manifest.server)
        return all(
            (folder / link.model).exists()
            for link in links
            if disk.read_link(folder / link.model) == link_target(link.object, link.hash)
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

    def _create_server(self, folder: Path, links: list[Link]) -> bool:
        """Make the server's folder appear with all its links; False if another run just did.

        Triton's pods wait for the folder, so it must never be seen half-filled.
        """
        disk.ensure_folder(self._layout.servers)
        fresh = self._staging.new_path()
        disk.make_folder(fresh)
        for link in links:
            (fresh / link.model).symlink_to(link_target(link.object, link.hash))
        disk.flush_folder(fresh)
        if not disk.move_folder(fresh, folder):
            return False
        for link in links:
            self._report(Event("linked", link.object, path=self._relative(folder / link.model)))
        return True

    def _flip(self, folder: Path, link: Link) -> bool:
        """Point one link to its generation; tell whether that was a change."""
        path = folder / link.model
        current = disk.read_link(path)
        target = link_target(link.object, link.hash)
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
