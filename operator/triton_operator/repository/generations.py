"""Building one generation: a model's whole folder, complete before it has its name."""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from triton_operator.repository import disk
from triton_operator.repository.blobs import Blobs
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
from triton_operator.repository.manifest import Generation, VersionContent
from triton_operator.repository.outcome import Event
from triton_operator.repository.sources import (
    InvalidSourceError,
    SourceFile,
    Sources,
    WriteFailedError,
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
        sources: Sources,
        blobs: Blobs,
        *,
        report: Callable[[Event], None],
    ) -> None:
        self._layout = layout
        self._staging = staging
        self._sources = sources
        self._blobs = blobs
        self._report = report

    def ensure(self, generation: Generation) -> None:
        """Build a generation unless it is there: with its name, it is complete.

        Raises:
            InvalidSpecError: a name in it cannot be a path.
            SyncError: a source failed.
            OSError: the claim failed.

        """
        final = self._layout.generation(generation.object, generation.hash)
        if final.is_dir():
            return
        started = time.monotonic()
        check_model_files(generation.files)
        folder = self._staging.new_path()
        disk.make_folder(folder)
        _write_text(folder, {CONFIG_FILE: generation.config, **generation.files})
        for version in generation.versions:
            name = check_version(version.version)
            self._build_version(folder / name, final / name, generation.object, version)
        if not generation.versions:
            disk.make_folder(folder / check_version(EMPTY_VERSION))
        disk.flush_tree(folder)
        if self._publish(folder, final):
            path = final.relative_to(self._layout.root).as_posix()
            seconds = round(time.monotonic() - started, 3)
            self._report(Event("built", generation.object, path=path, seconds=seconds))
        else:
            shutil.rmtree(folder)  # another run completed it

    def _publish(self, folder: Path, final: Path) -> bool:
        for _ in range(_ROUNDS):
            try:
                disk.ensure_folder(self._layout.generations)
                disk.ensure_folder(final.parent)
                return disk.move_folder(folder, final)
            except FileNotFoundError:
                continue  # another run removed the empty parent
        raise WriteFailedError(f"{final.parent} is removed as often as it is created")

    def _build_version(
        self, folder: Path, final: Path, object_: str, version: VersionContent
    ) -> None:
        disk.make_folder(folder)
        files: tuple[SourceFile, ...] = ()
        expected = None
        if version.source is not None:
            files = self._sources.list_files(version.source.uri)
            expected = version.source.sha256 and check_sha256(version.source.sha256)
            if expected and [file.uri for file in files] != [version.source.uri]:
                raise InvalidSourceError(
                    f"{public_uri(version.source.uri)} is a folder, and a sha256 describes "
                    "one file: remove the sha256"
                )
        check_files([*version.files, *(file.path for file in files)])
        _write_text(folder, version.files)
        for file in files:
            if file.path in version.files:
                continue
            path = check_path(file.path)
            disk.ensure_folders(folder, (folder / path).parent)
            self._place(file, expected, folder / path, final / path, object_=object_)

    def _place(
        self, file: SourceFile, expected: str | None, path: Path, final: Path, *, object_: str
    ) -> None:
        for _ in range(_ROUNDS):
            blob = self._blobs.ensure(file, expected, object_)
            try:
                disk.place_blob(blob, path, final)
            except FileNotFoundError:
                continue  # another run pruned it between our look and our link
            return
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
