"""A check of the claim: what was damaged is as it was, and nothing else is touched."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.repository.claim import Claim, digest, model, serving, version
from triton_operator.repository import disk
from triton_operator.repository.sources import SourceUnreachableError

URI = "https://models.example/resnet/model.onnx"
FOLDER = "pvc://models/bert/"
WEIGHTS = b"weights"

RESNET = model("resnet", "config 1", version(1, URI, digest(WEIGHTS)), labels_txt="cat\n")
BERT = model("bert", "config 2", version(1, FOLDER, model_py="mine"))
CHAIN = model("chain", "ensemble")
MANIFEST = serving(RESNET, BERT, CHAIN)

Harm = Callable[[Path], object]


@pytest.fixture(params=["hard links", "symbolic links", "copies"])
def claim(claim: Claim, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Claim:
    refused = {"symbolic links": ("link",), "copies": ("link", "symlink")}

    def refuse(name: str) -> None:
        real = getattr(os, name)

        def call(source: str, target: str, *options: object) -> None:
            if "blobs/" in str(source):
                raise PermissionError(1, "not here")
            real(source, target, *options)

        monkeypatch.setattr(os, name, call)

    for name in refused.get(request.param, ()):
        refuse(name)
    claim.sources.artifacts |= {URI: WEIGHTS, FOLDER: {"model.py": b"theirs", "vocab/en.txt": b"a"}}
    assert not claim.sync(MANIFEST).failed
    claim.events.clear()
    return claim


def folder(root: Path, which: str) -> Path:
    return (root / "servers/vision" / which).resolve()


def edit(path: Path) -> None:
    """Write into a file as an editor does: on the blob too, where that is the same one."""
    path.write_text("edited by hand")


HARM: dict[str, tuple[str, Harm]] = {
    "config edited": ("resnet", lambda root: edit(folder(root, "resnet") / "config.pbtxt")),
    "weights edited": ("resnet", lambda root: edit(folder(root, "resnet") / "1/model.onnx")),
    "weights of unknown digest edited": (
        "bert",
        lambda root: edit(folder(root, "bert") / "1/vocab/en.txt"),
    ),
    "file removed": ("bert", lambda root: (folder(root, "bert") / "1/model.py").unlink()),
    "fetched file removed": ("bert", lambda root: shutil.rmtree(folder(root, "bert") / "1/vocab")),
    "file added": ("chain", lambda root: (folder(root, "chain") / "1/core").write_text("x")),
    "empty version removed": ("chain", lambda root: (folder(root, "chain") / "1").rmdir()),
    "folder instead of a file": (
        "resnet",
        lambda root: (
            (folder(root, "resnet") / "labels.txt").unlink(),
            (folder(root, "resnet") / "labels.txt/x").mkdir(parents=True),
        ),
    ),
    "version is a link to elsewhere": (
        "resnet",
        lambda root: (
            shutil.rmtree(folder(root, "resnet") / "1"),
            (folder(root, "resnet") / "1").symlink_to("/"),
        ),
    ),
    "generation removed": ("resnet", lambda root: shutil.rmtree(folder(root, "resnet"))),
    "link removed": ("resnet", lambda root: (root / "servers/vision/resnet").unlink()),
    "link led astray": (
        "resnet",
        lambda root: (
            (root / "servers/vision/resnet").unlink(),
            (root / "servers/vision/resnet").symlink_to("../../generations/resnet/0123"),
        ),
    ),
}


@pytest.mark.parametrize(("which", "harm"), HARM.values(), ids=HARM)
def test_what_was_damaged_is_mended(claim: Claim, which: str, harm: Harm) -> None:
    before, times = claim.served(), claim.everything()
    harm(claim.root)

    outcome = claim.sync(MANIFEST, repair=True)

    assert not outcome.failed
    assert outcome.mended == {which}
    assert claim.served() == before
    for blob in (claim.root / "blobs").iterdir():
        assert digest(blob.read_bytes()) == blob.name
    untouched = {"resnet", "bert", "chain"} - {which}
    for path, state in claim.everything().items():
        if path.startswith(tuple(f"generations/{each}" for each in untouched)):
            assert state == times[path]
    assert not list((claim.root / ".staging").iterdir())
    assert claim.sync(MANIFEST, repair=True).mended == set()


@pytest.mark.parametrize("repair", [True, False])
def test_the_whole_folder_of_a_server_comes_back(claim: Claim, *, repair: bool) -> None:
    before = claim.served()
    shutil.rmtree(claim.root / "servers/vision")

    outcome = claim.sync(MANIFEST, repair=repair)

    assert outcome.mended == ({"resnet", "bert", "chain"} if repair else set())
    assert claim.served() == before


def test_a_blob_that_was_removed_is_fetched_again_when_it_is_needed(claim: Claim) -> None:
    shutil.rmtree(claim.root / "blobs")
    twin = model("twin", "config 3", version(1, URI, digest(WEIGHTS)))

    assert not claim.sync(serving(RESNET, BERT, CHAIN, twin)).failed

    assert claim.served()["twin/1/model.onnx"] == WEIGHTS.decode()
    assert claim.served()["resnet/1/model.onnx"] == WEIGHTS.decode()


def test_a_claim_that_is_whole_is_only_read(claim: Claim) -> None:
    before = claim.everything()
    claim.sources.fetched.clear()

    assert claim.sync(MANIFEST, repair=True).mended == set()

    assert claim.everything() == before
    assert claim.sources.fetched == []


def test_a_whole_model_needs_no_source_to_be_found_whole(claim: Claim) -> None:
    claim.sources.artifacts = {}
    claim.sources.list_files = _away  # type: ignore[method-assign]

    outcome = claim.sync(MANIFEST, repair=True)

    assert (outcome.failed, outcome.mended) == ({}, set())


def test_what_merely_changes_at_the_same_time_is_not_mended(claim: Claim) -> None:
    changed = model("chain", "ensemble of others")
    edit(folder(claim.root, "resnet") / "config.pbtxt")

    outcome = claim.sync(serving(RESNET, BERT, changed, keep=(CHAIN,)), repair=True)

    assert claim.served()["chain/config.pbtxt"] == "ensemble of others"
    assert outcome.mended == {"resnet"}


def test_what_cannot_be_mended_is_told_and_keeps_its_link(claim: Claim) -> None:
    claim.sources.artifacts[URI] = SourceUnreachableError("away")
    edit(folder(claim.root, "resnet") / "1/model.onnx")
    edit(claim.root / "blobs" / digest(WEIGHTS))

    outcome = claim.sync(MANIFEST, repair=True)

    assert outcome.failed["resnet"].reason == "SourceUnreachable"
    assert (claim.root / "servers/vision/resnet/config.pbtxt").read_text() == "config 1"


def test_without_being_asked_names_are_trusted(claim: Claim) -> None:
    edit(folder(claim.root, "resnet") / "config.pbtxt")
    shutil.rmtree(folder(claim.root, "chain"))
    (claim.root / "servers/vision/bert").unlink()

    outcome = claim.sync(MANIFEST)

    assert outcome.mended == set()
    assert claim.served()["resnet/config.pbtxt"] == "edited by hand"
    assert "chain/config.pbtxt" in claim.served()
    assert "bert/config.pbtxt" in claim.served()


def test_a_file_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor)))

    disk.write_file(tmp_path / "file", b"content")

    assert [status.st_size for status in flushed] == [len(b"content")]


def _away(uri: str) -> tuple[()]:
    raise SourceUnreachableError("away")
