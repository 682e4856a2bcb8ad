"""``pvc://``: real files of a claim, and everything that looks like one but is not."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from triton_operator.adapters.claims import ClaimSources
from triton_operator.repository.manifest import SourceRef
from triton_operator.repository.sources import (
    InvalidSourceError,
    SourceChangedError,
    SourceNotFoundError,
    SyncError,
)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "bert/vocab").mkdir(parents=True)
    (folder / "bert/model.py").write_bytes(b"1")
    (folder / "bert/vocab/en.txt").write_bytes(b"2")
    (folder / "bert/lost+found").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    return folder


def read_claim(models: Path, uri: str) -> dict[str, bytes]:
    sources = ClaimSources({"models": models})
    found = {}
    for file in sources.list_files(SourceRef(uri)):
        with sources.read(file, 0, file.size) as chunks:
            found[file.path] = b"".join(chunks)
    return found


def test_a_file_or_a_folder_of_a_claim_is_read(models: Path) -> None:
    assert read_claim(models, "pvc://models/bert/model.py") == {"model.py": b"1"}
    tree = {"model.py": b"1", "vocab/en.txt": b"2"}
    assert read_claim(models, "pvc://models/bert") == tree
    assert read_claim(models, "pvc://models/bert/") == tree
    assert set(read_claim(models, "pvc://models")) == {f"bert/{path}" for path in tree}


def test_files_of_one_folder_are_not_compared_with_each_other(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be 100,000: it took minutes."""
    compared = 0

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    def walk(folder: Path, **options: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        for base, folders, files in real(folder, **options):
            yield base, folders, [Name(name) for name in files]

    for number in range(100):
        (models / "bert/vocab" / str(number)).touch()
    real = os.walk
    monkeypatch.setattr(os, "walk", walk)
    assert len(read_claim(models, "pvc://models/bert")) == 102
    assert compared <= 200


def test_symbolic_links_inside_the_claim_are_followed(models: Path) -> None:
    (models / "bert/link.txt").symlink_to("vocab/en.txt")
    (models / "latest").symlink_to("bert")
    assert read_claim(models, "pvc://models/latest/")["link.txt"] == b"2"


@pytest.mark.parametrize(
    ("make", "uri", "error"),
    [
        (None, "pvc://models/gone", SourceNotFoundError),
        (None, "pvc://models/bert/model.py/x", SourceNotFoundError),
        (None, "pvc://other/bert", SourceNotFoundError),
        (None, "pvc://models/../secret", InvalidSourceError),
        (None, "pvc://models/bert/../../secret", InvalidSourceError),
        (None, "pvc://models//etc/passwd", InvalidSourceError),
        (lambda path: path.symlink_to("../../secret"), "pvc://models/bert/x", InvalidSourceError),
        (lambda path: path.symlink_to("../../secret"), "pvc://models/bert/", InvalidSourceError),
        (lambda path: path.symlink_to("/etc"), "pvc://models/bert/", InvalidSourceError),
        (lambda path: path.symlink_to("/etc"), "pvc://models/bert/x/passwd", InvalidSourceError),
        (lambda path: path.symlink_to("x"), "pvc://models/bert/x", InvalidSourceError),
        (lambda path: path.mkdir(), "pvc://models/bert/x", InvalidSourceError),
        (os.mkfifo, "pvc://models/bert/x", InvalidSourceError),
        (os.mkfifo, "pvc://models/bert/", InvalidSourceError),
    ],
)
def test_nothing_but_files_of_the_claim_is_read(models: Path, make, uri, error) -> None:
    if make is not None:
        make(models / "bert/x")
    with pytest.raises(error) as raised:
        read_claim(models, uri)
    assert uri in str(raised.value)
    assert isinstance(raised.value, SyncError)


def test_a_part_of_a_file_is_read(models: Path) -> None:
    (models / "big").write_bytes(bytes(range(256)) * 9000)
    sources = ClaimSources({"models": models})
    (file,) = sources.list_files(SourceRef("pvc://models/big"))
    with sources.read(file, 255, 2_000_001) as chunks:
        assert b"".join(chunks) == (models / "big").read_bytes()[255:2_000_001]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_file_that_changes_is_refused(models: Path, when: str) -> None:
    big = models / "big"
    big.write_bytes(b"x" * (9 << 20))
    sources = ClaimSources({"models": models})
    (file,) = sources.list_files(SourceRef("pvc://models/big"))
    if when == "before":
        os.utime(big, (1, 1))

    def read() -> None:
        with sources.read(file, 0, file.size) as chunks:
            for _ in chunks:
                os.utime(big, (1, 1))

    with pytest.raises(SourceChangedError, match="pvc://models/big"):
        read()


def test_a_file_that_vanishes_is_not_found(models: Path) -> None:
    sources = ClaimSources({"models": models})
    first, *_ = sources.list_files(SourceRef("pvc://models/bert"))
    (models / "bert" / first.path).unlink()
    with pytest.raises(SourceNotFoundError), sources.read(first, 0, 1):
        pass


def test_a_link_that_is_put_there_meanwhile_is_not_followed(models: Path) -> None:
    class Raced(ClaimSources):
        """Somebody with the claim is faster: between the look at a path and its use."""

        def _resolve(self, uri: str) -> Path:
            path = super()._resolve(uri)
            path.unlink()
            path.symlink_to(models.parent / "secret")
            return path

    sources = ClaimSources({"models": models})
    (file,) = sources.list_files(SourceRef("pvc://models/bert/model.py"))
    with pytest.raises(InvalidSourceError, match="leads out"):
        Raced({"models": models}).read(file, 0, file.size).__enter__()
