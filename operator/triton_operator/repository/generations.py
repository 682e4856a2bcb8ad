"""Building one generation: a model's whole folder, complete before it has its name."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from triton_operator.errors import InvalidSpecError
from triton_operator.repository import disk
from triton_operator.repository.artifacts import Artifact, folder_digest, write_record
from triton_operator.repository.blobs import Blobs
from triton_operator.repository.copying import Copying
from triton_operator.repository.downloads import Downloads
from triton_operator.repository.integrity import Checksums, is_intact, merge_folder
from triton_operator.repository.layout import (
    CONFIG_FILE,
    EMPTY_VERSION,
    Layout,
    check_files,
    check_model_files,
    check_path,
    check_sha256,
    check_version,
)
from triton_operator.repository.links import note_generation
from triton_operator.repository.manifest import Generation, SourceRef, VersionContent
from triton_operator.repository.outcome import Event, EventName
from triton_operator.repository.sources import (
    InvalidSourceError,
    SourceFile,
    SyncError,
    WriteFailedError,
    file_name,
    public_uri,
)

_ROUNDS = 3
"""Tries to mend what another run removed under our hands; two runs never collide that often."""


class Generations:
    """The ``generations/`` folder during one run."""

    def __init__(
        self,
        layout: Layout,
        staging: disk.Staging,
        blobs: Blobs,
        downloads: Downloads,
        *,
        report: Copying,
        checksums: Checksums | None = None,
    ) -> None:
        self._layout = layout
        self._staging = staging
        self._blobs = blobs
        self._downloads = downloads
        self._report = report
        self._checksums = checksums
        self.unlisted = False
        """There is a generation of which nobody could say what files it needs."""

    def may_take_long(self, generation: Generation) -> bool:
        """Return whether a source may have to be asked for what a generation needs."""
        if not any(version.source for version in generation.versions):
            return False
        try:
            final = self._layout.generation(generation.object, generation.hash)
        except InvalidSpecError:
            return False
        return self._checksums is not None or not final.is_dir()

    def ensure(self, generation: Generation) -> None:
        """Build a generation unless it is there: with its name, it is complete.

        May be called by several threads, for different generations.
        With checksums, one that is there is read, and what is not as it should be is replaced.

        Raises:
            InvalidSpecError: a name in it cannot be a path.
            SyncError: a source failed.
            OSError: the claim failed.

        """
        final = self._layout.generation(generation.object, generation.hash)
        if final.is_dir() and self._is_intact(generation):
            return
        started = time.monotonic()
        check_model_files(generation.files)
        folder = self._staging.new_path()
        disk.make_folder(folder)
        _write_text(folder, {CONFIG_FILE: generation.config, **generation.files})
        listed = self._list_all(generation)
        artifacts = []
        for version in generation.versions:
            name = check_version(version.version)
            found = self._build_version(
                folder / name,
                final / name,
                generation.object,
                version,
                listed[version.version],
            )
            artifacts += [found] if found is not None else []
        if artifacts:
            write_record(folder, artifacts)
        if not generation.versions:
            disk.make_folder(folder / check_version(EMPTY_VERSION))
        self._blobs.flush()
        disk.flush_tree(folder)
        note_generation(self._layout, (generation.object, generation.hash), self._staging)
        if self._publish(folder, final):
            done: EventName = "built"
        else:
            # Another run completed it, or it is there and not as it should be.
            changed = self._checksums is not None and merge_folder(
                folder, final, self._staging, self._checksums
            )
            shutil.rmtree(folder)
            if not changed:
                return
            done = "mended"
        path = final.relative_to(self._layout.root).as_posix()
        seconds = round(time.monotonic() - started, 3)
        self._report(Event(done, generation.object, path=path, seconds=seconds))

    def _is_intact(self, generation: Generation) -> bool:
        return self._checksums is None or is_intact(
            generation, self._layout, self._downloads, self._checksums
        )

    def _publish(self, folder: Path, final: Path) -> bool:
        for _ in range(_ROUNDS):
            try:
                disk.ensure_folder(self._layout.generations)
                disk.ensure_folder(final.parent)
                return disk.move_folder(folder, final)
            except FileNotFoundError:
                continue  # another run removed the empty parent
        raise WriteFailedError(f"{final.parent} is removed as often as it is created")

    def _list_all(self, generation: Generation) -> dict[int, tuple[SourceFile, ...]]:
        """Return the files to fetch for each version, and say that they are expected."""
        try:
            listed = {each.version: self._list_files(each) for each in generation.versions}
        except SyncError:
            self.unlisted = True
            raise
        files = [file for files in listed.values() for file in files]
        self._report.expect(generation.object, files)
        self._blobs.expect(files)
        return listed

    def _list_files(self, version: VersionContent) -> tuple[SourceFile, ...]:
        """Return the files to fetch for a version: those of its source that it does not replace."""
        check_version(version.version)
        if version.source is None:
            check_files(version.files)
            return ()
        files = self._ask(version.source)
        check_files([*version.files, *(file.path for file in files)])
        return tuple(file for file in files if file.path not in version.files)

    def _ask(self, source: SourceRef) -> tuple[SourceFile, ...]:
        """Return what a source has; it is not asked for a file that is here already."""
        if source.sha256 is None:
            return self._downloads.list_files(source)
        digest = check_sha256(source.sha256)
        if (size := self._blobs.size(digest)) is not None:
            return (SourceFile(source.uri, file_name(source.uri), size, sha256=digest),)
        files = self._downloads.list_files(source)
        if [file.uri for file in files] != [source.uri]:
            raise InvalidSourceError(
                f"{public_uri(source.uri)} is a folder, and a sha256 describes one file: "
                "remove the sha256"
            )
        return (replace(files[0], sha256=digest),)

    def _build_version(
        self,
        folder: Path,
        final: Path,
        object_: str,
        version: VersionContent,
        files: tuple[SourceFile, ...],
    ) -> Artifact | None:
        """Fill a version's folder; return what arrived from its source."""
        disk.make_folder(folder)
        _write_text(folder, version.files)
        source = version.source
        if source is None:
            return None
        for file in files:
            disk.ensure_folders(folder, (folder / check_path(file.path)).parent)
        placed: dict[str, tuple[str, int]] = {}

        def place(file: SourceFile) -> None:
            path = check_path(file.path)
            placed[file.path] = self._place(file, folder / path, final / path, object_=object_)

        with self._blobs.room(files, public_uri(source.uri)):
            self._downloads.each(place, files)
        digests = {path: digest for path, (digest, _) in placed.items()}
        size = sum(length for _, length in placed.values())
        single = [file.uri for file in files] == [source.uri]
        digest = digests[files[0].path] if single else folder_digest(digests)
        return Artifact(version.version, public_uri(source.uri), digest, size)

    def _place(self, file: SourceFile, path: Path, final: Path, *, object_: str) -> tuple[str, int]:
        """Make a file appear in the model's folder; return its sha256 and how many bytes it has."""
        for _ in range(_ROUNDS):
            blob = self._blobs.ensure(file, object_)
            try:
                size = blob.stat().st_size
                disk.place_blob(blob, path, final)
            except FileNotFoundError:
                continue  # another run pruned it between our look and our link
            return blob.name, size
        raise WriteFailedError(f"{path.name} was removed from the claim while it was being linked")


def _write_text(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / check_path(name)
        try:
            content = text.encode()
        except UnicodeEncodeError as error:
            raise InvalidSourceError(f"the text of {name!r} is not Unicode: {error}") from error
        disk.ensure_folders(folder, path.parent)
        disk.write_file(path, content)
