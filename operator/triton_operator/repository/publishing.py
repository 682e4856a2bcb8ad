"""Letting pods find what is built: each link is moved when all that moves with it is there."""

import math
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path

from triton_operator.errors import InvalidSpecError, OperatorError
from triton_operator.repository import disk
from triton_operator.repository.groups import Groups
from triton_operator.repository.layout import Layout, check_name, read_link_target
from triton_operator.repository.links import (
    GenerationRef,
    create_folder,
    read_last_revision,
    read_links,
    remove_links,
    remove_revisions,
)
from triton_operator.repository.manifest import LINKS, Link, Manifest, revision_digest
from triton_operator.repository.outcome import Event, Failure
from triton_operator.repository.sources import (
    GenerationMissingError,
    InvalidSourceError,
    MemberMissingError,
    SyncError,
    WriteFailedError,
    write_error,
)

TELL_SECONDS = 60.0
"""How often it is told which models wait: the end of a long log has to tell it, too."""


class Publisher:
    """One server's links during one run: what became of them, what failed, what lost a link."""

    def __init__(
        self,
        layout: Layout,
        manifest: Manifest,
        staging: disk.Staging,
        report: Callable[[Event], None],
    ) -> None:
        self.failed: dict[str, Failure] = {}
        self.unlinked: set[GenerationRef] = set()
        self.revision = ""
        self._layout = layout
        self._manifest = manifest
        self._staging = staging
        self._report = report
        self._folder = layout.server(manifest.server)
        self._wanted = {link.model: (link.object, link.hash) for link in manifest.links}
        self._present: dict[str, GenerationRef] = {}
        """What the folder's links lead to, read when the run begins and when it ends."""
        self._links: dict[str, Link] = {}
        """What each model's link was pointed to, or left at."""
        self._settled: set[str] = set()
        self._told_at: float | None = None
        self._held: set[str] = set()
        """Models whose links stay as they are, for now or to the end."""
        self._groups = Groups(layout, manifest)

    @property
    def has_folder(self) -> bool:
        """Whether there is what pods of this server wait for."""
        return self._manifest.immutable or self._folder.is_dir()

    @property
    def published(self) -> Path:
        """The folder of the links, or of the revision that was published."""
        if not self.revision:
            return self._folder
        return self._layout.revision(self._manifest.server, self.revision)

    def publish(self, awaited: Collection[GenerationRef] = (), *, patient: bool = False) -> None:
        """Move the links that wait for none of the ``awaited`` generations, each group in one go.

        The server's folder appears with all of them, or later, where that is ``patient``: what
        pods find at their start they load at once. Of links that still wait is told.
        """
        if self._manifest.immutable:
            if not awaited:
                self._publish_revision()
            return
        if not awaited or self._told_at is None:
            self._present = {path.name: ref for path, ref in read_links(self._folder).items()}
        names = {*self._present, *self._wanted}
        needed = self._groups.find_needed(self._present, self._manifest.standing)
        self._held = self._hold(awaited) | needed
        due = names - self._held - self._settled
        links = [
            found
            for link in self._groups.members_first(self._manifest.links)
            if link.model in due and (found := self._resolve(link))
        ]
        if awaited and not self.has_folder and (patient or not links):
            return
        self._links |= {link.model: link for link in links}
        self._write_links(links)
        self._present |= {link.model: (link.object, link.hash) for link in links}
        if gone := due - self._wanted.keys():
            self._remove_links(self._folder, names - gone)
        self._tell(names, due, last=not awaited)

    def resolves(self) -> bool:
        """Tell whether no other run removed what a link of ours points to."""
        folder = self.published
        broken = {
            model
            for model, link in self._links.items()
            if disk.read_link(folder / model)
            == self._layout.link_target(folder, link.object, link.hash)
            and not (folder / model).exists()
        }
        self._settled -= broken
        return not broken

    def unlink(self) -> None:
        """Remove our links that the manifest no longer names, and revisions nobody needs."""
        manifest = self._manifest
        if not manifest.immutable:
            self._remove_links(self._folder, self._wanted.keys() | self._held)
        elif LINKS not in manifest.keep_revisions:
            self._remove_links(self._folder, set())
            disk.remove_folder_if_empty(self._folder)
        keep = {self.revision, *manifest.keep_revisions}
        removed = remove_revisions(self._layout, manifest.server, keep, self._staging)
        for digest, held in removed.items():
            self.unlinked |= held
            path = self._layout.revision(manifest.server, digest)
            self._report(Event("pruned", path=self._relative(path)))

    def fail(self, objects: Iterable[str], error: OperatorError) -> None:
        """Note, and tell, that models are not as the manifest wants them."""
        if isinstance(error, InvalidSpecError):
            error = InvalidSourceError(str(error))
        failure = Failure.of(error)
        for name in objects:
            if self.failed.get(name) != failure:
                self.failed[name] = failure
                self._report(Event("failed", name, reason=failure.reason, message=failure.message))

    def forgive(self, objects: Iterable[str]) -> None:
        """Forget why models failed that are to be tried again, and who failed with them."""
        together = {o for o, why in self.failed.items() if why.reason == MemberMissingError.reason}
        for name in together.union(objects):
            del self.failed[name]

    def explain(self, error: OSError, what: str) -> SyncError:
        """Return what the claim's refusal of a write means."""
        free = disk.free_bytes(self._layout.root)
        return write_error(error, what, needed=None, free=free)

    # ---- what waits -----------------------------------------------------------------------

    def _hold(self, awaited: Collection[GenerationRef]) -> set[str]:
        """Return the models whose links wait: for their own generation, or one of their group.

        Where one of a group cannot be had, all of it stays as it is; when nothing is awaited any
        more, the others of it fail with that one.
        """
        waiting = {model for model, ref in self._wanted.items() if ref in awaited}
        failed = {model for model, ref in self._wanted.items() if ref[0] in self.failed}
        held = self._groups.with_tied(self._present, waiting) if waiting else set()
        broken = self._groups.find_broken(self._present, failed) if failed else []
        if not awaited:
            self._fail_together(broken, failed)
        return held.union(*broken)

    def _fail_together(self, groups: Iterable[Collection[str]], failed: Collection[str]) -> None:
        """Note of each model what it waits for, because they change in one go."""
        for group in groups:
            first = min(model for model in group if model in failed)
            why = self.failed[self._wanted[first][0]].message
            objects = {self._wanted[name][0] for name in group if name in self._wanted}
            error = MemberMissingError(f"it changes together with {first!r}, which waits: {why}")
            self.fail(sorted(objects - self.failed.keys()), error)

    def _tell(self, names: Collection[str], due: Collection[str], *, last: bool) -> None:
        """Tell which models still wait, and later which of them have settled."""
        # A repair has yet to read some of those whose links are right.
        asked = names if self._told_at is None else due
        now = {name for name in asked if self._is_settled(name)}
        self._settled |= now
        if not last and time.monotonic() - (self._told_at or -math.inf) >= TELL_SECONDS:
            self._told_at = time.monotonic()
            self._report(Event("waiting", models=tuple(sorted(set(names) - self._settled))))
        elif self._told_at is not None and now:
            self._report(Event("settled", models=tuple(sorted(now))))

    def _is_settled(self, name: str) -> bool:
        path = self._folder / name
        if name not in self._wanted:
            return not path.is_symlink()
        object_, hash_ = self._wanted[name]
        if object_ in self.failed:
            return False
        target = self._layout.link_target(self._folder, object_, hash_)
        return disk.read_link(path) == target and path.exists()

    # ---- links ----------------------------------------------------------------------------

    def _resolve(self, link: Link) -> Link | None:
        """Return a link to what can be had now: what is wanted, else what is kept for it."""
        if self._is_ready(link):
            return link
        good = dict(self._manifest.keep).get(link.object)
        if good is None:
            return None
        if not self._manifest.immutable and disk.read_link(self._folder / link.model):
            return None  # A link that is there stays as it is.
        kept = replace(link, hash=good)
        return kept if self._is_ready(kept) else None

    def _publish_revision(self) -> None:
        self._present = read_last_revision(self._layout, self._manifest)
        held = self._hold(())
        links = [
            found
            for link in self._manifest.links
            if link.model not in held and (found := self._resolve(link))
        ]
        links += [Link(name, *self._present[name]) for name in held & self._present.keys()]
        # Who goes back to what was good needs what it called then.
        back = {(link.object, link.hash) for link in links} & set(self._manifest.standing)
        needed = self._groups.find_needed(self._present, back) - held
        links += [Link(name, *self._present[name]) for name in needed]
        self._links = {link.model: link for link in links}
        self.revision = revision_digest(links)
        folder = self._layout.revision(self._manifest.server, self.revision)
        if folder.is_dir() or not self._create_folder(folder, links):
            self._flip_all(folder, links)  # Somebody may have had a hand in it.

    def _write_links(self, links: list[Link]) -> None:
        try:
            if not self._folder.is_dir() and self._create_folder(self._folder, links):
                return
            self._flip_all(self._folder, links)
        except OSError as error:
            problem = self.explain(error, self._relative(self._folder))
            self.fail([link.object for link in links], problem)

    def _create_folder(self, folder: Path, links: list[Link]) -> bool:
        created = create_folder(self._layout, folder, links, self._staging)
        for link in links if created else ():
            self._report(Event("linked", link.object, path=self._relative(folder / link.model)))
        return created

    def _remove_links(self, folder: Path, wanted: Collection[str]) -> None:
        for model, target in remove_links(folder, wanted, self._staging).items():
            self.unlinked.add(target)
            self._report(Event("unlinked", target[0], path=self._relative(folder / model)))

    def _is_ready(self, link: Link) -> bool:
        try:
            check_name(link.model)
            if self._layout.generation(link.object, link.hash).is_dir():
                return True
        except InvalidSpecError as error:
            self.fail([link.object], error)
            return False
        if link.object not in self.failed:
            message = f"generation {link.hash} of {link.object} is not on the claim and not listed"
            self.fail([link.object], GenerationMissingError(message))
        return False

    def _flip_all(self, folder: Path, links: list[Link]) -> None:
        flips = [self._flip(folder, link) for link in links]
        if any(flips):
            disk.flush_folder(folder)

    def _flip(self, folder: Path, link: Link) -> bool:
        """Point one link to its generation; return whether that was a change."""
        path = folder / link.model
        current = disk.read_link(path)
        target = self._layout.link_target(folder, link.object, link.hash)
        if current == target:
            return False
        # A link that is there by now was made by a run beside this one.
        if current is None and path.exists() and not path.is_symlink():
            message = f"{self._relative(path)} is not the operator's link: take it off the claim"
            self.fail([link.object], WriteFailedError(message))
            return False
        try:
            # Triton reloads only what is newer than what it loaded last, and answers 200 to the
            # rest: without a fresh date, going back to an older generation would do nothing.
            disk.touch(self._layout.generation(link.object, link.hash))
            disk.replace_link(path, target, self._staging)
        except OSError as error:
            self.fail([link.object], self.explain(error, self._relative(path)))
            return False
        if (previous := read_link_target(current or "")) is not None:
            self.unlinked.add(previous)
        self._report(Event("linked", link.object, path=self._relative(path)))
        return True

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._layout.root).as_posix()
