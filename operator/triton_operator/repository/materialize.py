"""Making a manifest true on a claim: what the sync Job does.

What needs no source comes first and the rest side by side, so that a source which is slow keeps
nobody waiting but its own model and what changes together with that one.

The order carries the safety: an artifact gets its name when it is complete and verified, a
generation when all its files are, a link when its generation is there, a revision when all its
links are. Whoever is killed, at any point, leaves links that all resolve to whole generations;
the next run goes on from what it finds. Two runs at once do the same work in folders of their own
and meet only in renames.
"""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

from triton_operator.errors import OperatorError
from triton_operator.repository import disk, publishing
from triton_operator.repository.artifacts import read_record
from triton_operator.repository.blobs import Blobs
from triton_operator.repository.copying import Copying
from triton_operator.repository.downloads import Downloads, Limits
from triton_operator.repository.generations import Generations
from triton_operator.repository.integrity import Checksums
from triton_operator.repository.layout import Layout, check_name
from triton_operator.repository.links import close_staging
from triton_operator.repository.manifest import Generation, Manifest
from triton_operator.repository.outcome import Event, Failure, Outcome
from triton_operator.repository.partial import remove_downloads
from triton_operator.repository.prune import prune, remove_server, sweep_staging
from triton_operator.repository.sources import GenerationMissingError, Sources, write_error

_ROUNDS = 3
"""Builds until all links resolve; only another run's pruning ever makes a second one needed."""
_BUILDS = 8
"""Generations with sources that are built at once: so many may be silent, and others come on."""
_FIRST_LINKS_SECONDS = 3.0
"""How long the pods of a new server wait for models whose sources are slow: what they find at
their start they load at once."""


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
    changed = {name for name, _ in manifest.keep}

    def tell(event: Event) -> None:
        if repair and event.object:
            # What changes is built and linked anyway.
            done = {"mended"} if event.object in changed else {"built", "linked", "mended"}
            mended.update({event.object} if event.event in done else ())
        report(event)

    copying = Copying(tell)
    downloads = Downloads(sources, limits or Limits())
    blobs = Blobs(layout, staging, downloads, copying, checksums=checksums)
    generations = Generations(
        layout, staging, blobs, downloads, report=copying, checksums=checksums
    )
    publisher = publishing.Publisher(layout, manifest, staging, copying)
    run = _Run(manifest, generations, downloads, publisher)
    problem = None
    try:
        if manifest.remove:
            remove_server(layout, manifest, report, clock())
        else:
            publisher.unlinked |= sweep_staging(layout, manifest.server, staging, clock())
            run.build_and_publish()
            publisher.unlink()
            prune(layout, manifest, publisher.unlinked, staging, report=report, now=clock())
            if not generations.unlisted:
                remove_downloads(layout, manifest.server, keep=blobs.expected)
    except OSError as error:
        free = disk.free_bytes(layout.root)
        problem = Failure.of(write_error(error, "the claim", needed=None, free=free))
        report(Event("failed", reason=problem.reason, message=problem.message))
    finally:
        downloads.stop()
        close_staging(layout, staging)
    seconds = round(time.monotonic() - started, 3)
    report(Event("done", bytes=blobs.bytes_copied, seconds=seconds))
    links = {link.object: publisher.published / link.model for link in manifest.links}
    records = {name: read_record(link) for name, link in links.items()}
    return Outcome(
        publisher.failed,
        {name: artifacts for name, artifacts in records.items() if artifacts},
        blobs.bytes_copied,
        problem,
        frozenset(mended),
        publisher.revision,
    )


class _Run:
    """One run: builds what is missing, and lets pods find each model when it is there."""

    def __init__(
        self,
        manifest: Manifest,
        generations: Generations,
        downloads: Downloads,
        publisher: publishing.Publisher,
    ) -> None:
        self._manifest = manifest
        self._generations = generations
        self._downloads = downloads
        self._publisher = publisher
        self._patient_until = time.monotonic() + _FIRST_LINKS_SECONDS

    def build_and_publish(self) -> None:
        """Build what is missing and publish it, first what no source can keep waiting."""
        for rounds_left in reversed(range(_ROUNDS)):
            slow = []
            for generation in self._manifest.generations:
                if self._generations.may_take_long(generation):
                    slow.append(generation)
                else:
                    self._build(generation)
            if slow:
                self._build_side_by_side(slow)
            self._publisher.publish()
            taken = self._find_taken()
            if not rounds_left or (not taken and self._publisher.resolves()):
                return
            self._publisher.forgive(taken)

    def _find_taken(self) -> set[str]:
        """Return the objects whose generation was there, and was pruned before it had a link.

        A server that they have left does so, if it built them and did not come to link them.
        """
        return {
            each.object
            for each in self._manifest.generations
            if (failure := self._publisher.failed.get(each.object)) is not None
            and failure.reason == GenerationMissingError.reason
        }

    def _build_side_by_side(self, generations: list[Generation]) -> None:
        """Build generations in threads; all else is done in this one."""
        awaited = {(each.object, each.hash) for each in generations}
        with ThreadPoolExecutor(_BUILDS) as pool:
            try:
                builds = {pool.submit(self._build, each): each for each in generations}
                while builds:
                    left = max(0.0, self._patient_until - time.monotonic())
                    self._publisher.publish(awaited, patient=left > 0)
                    hurry = left and not self._publisher.has_folder
                    patience = left if hurry else publishing.TELL_SECONDS
                    ended, _ = wait(builds, patience, return_when=FIRST_COMPLETED)
                    # One by one: what a run does to the claim must not depend on its pace.
                    for build in [build for build in builds if build in ended][:1]:
                        generation = builds.pop(build)
                        awaited.discard((generation.object, generation.hash))
                        build.result()
            except BaseException:  # the process is told to end
                self._downloads.stop()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _build(self, generation: Generation) -> None:
        try:
            self._generations.ensure(generation)
        except OSError as error:
            what = f"generation {generation.hash} of {generation.object}"
            self._publisher.fail([generation.object], self._publisher.explain(error, what))
        except OperatorError as error:
            self._publisher.fail([generation.object], error)
