"""What the status says afterwards of the files that are served."""

import errno
import subprocess

import pytest

from tests.unit.repository.claim import Claim, digest, model, serving, version
from triton_operator.repository.artifacts import Artifact
from triton_operator.repository.layout import RECORD_FILE
from triton_operator.repository.manifest import Link, Manifest
from triton_operator.repository.outcome import decode_outcome, encode_outcome
from triton_operator.repository.sources import SourceNotFoundError, write_error

URI = "https://user:secret@models.example/model.onnx?signature=secret"
FOLDER = "pvc://models/bert/"
FILES = {"model.py": b"pass", "vocab/en.txt": b"a\nb\n", "b c.txt": b""}
RESNET = model("resnet", "config", version(1, URI), version(2, model_py="pass"))
BERT = model("bert", "config", version(3, FOLDER))


@pytest.fixture
def claim(claim: Claim) -> Claim:
    claim.sources.artifacts |= {URI: b"weights", FOLDER: FILES}
    return claim


def test_what_arrived_is_told_without_credentials(claim: Claim) -> None:
    outcome = claim.sync(serving(RESNET))

    uri = "https://models.example/model.onnx"
    assert outcome.artifacts == {"resnet": (Artifact(1, uri, digest(b"weights"), 7),)}
    fetched = next(event for event in claim.events if event.event == "fetched")
    assert fetched.sha256 == digest(b"weights")


def test_the_digest_of_a_folder_is_that_of_what_sha256sum_prints(claim: Claim) -> None:
    (artifact,) = claim.sync(serving(BERT)).artifacts["bert"]

    shell = "find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs -d'\\n' sha256sum | sha256sum"
    folder = claim.root / "servers/vision/bert/3"
    printed = subprocess.run(shell, shell=True, cwd=folder, capture_output=True, check=True)
    assert artifact.sha256 == printed.stdout.decode().split()[0]
    assert artifact.bytes == 8


def test_a_run_that_finds_everything_there_tells_the_same(claim: Claim) -> None:
    first = claim.sync(serving(RESNET, BERT))
    claim.sources.fetched.clear()

    second = claim.sync(serving(RESNET, BERT))

    assert second.artifacts == first.artifacts
    assert claim.sources.fetched == []


def test_what_is_linked_is_told_whatever_else_is_wanted(claim: Claim) -> None:
    first = claim.sync(serving(BERT))
    gone = model("bert", "config", version(3, "pvc://models/gone"))
    claim.sources.artifacts["pvc://models/gone"] = SourceNotFoundError("gone")

    failed = claim.sync(serving(gone, keep=(BERT,)))

    assert failed.failed["bert"].reason == "SourceNotFound"
    assert failed.artifacts == first.artifacts
    back = Manifest("vision", links=(Link("bert", "bert", BERT.hash),))
    assert claim.sync(back).artifacts == first.artifacts


def test_a_model_of_inline_files_has_no_artifacts(claim: Claim) -> None:
    script = model("script", "config", version(1, model_py="pass"))

    assert claim.sync(serving(script)).artifacts == {}
    assert not (claim.root / "servers/vision/script" / RECORD_FILE).exists()


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"version": 1}]', "null"])
def test_a_record_that_cannot_be_read_says_nothing(claim: Claim, text: str) -> None:
    claim.sync(serving(BERT))
    (claim.root / "servers/vision/bert" / RECORD_FILE).write_text(text)

    outcome = claim.sync(serving(BERT))

    assert (outcome.artifacts, outcome.failed) == ({}, {})


def test_a_record_that_somebody_wrote_spoils_no_report(claim: Claim) -> None:
    claim.sync(serving(BERT))
    record = '[{"version": 3, "uri": null, "sha256": 1, "bytes": "8"}]'
    (claim.root / "servers/vision/bert" / RECORD_FILE).write_text(record)

    outcome = claim.sync(serving(BERT))

    assert decode_outcome(encode_outcome("abcd", outcome)) is not None


def test_no_file_of_a_user_takes_the_place_of_the_record(claim: Claim) -> None:
    mine = model("mine", "config", version(1, model_py="pass"), **{RECORD_FILE: "[]"})

    assert claim.sync(serving(mine)).failed["mine"].reason == "InvalidSource"


@pytest.mark.parametrize(
    ("number", "reason", "words"),
    [
        (errno.ENOSPC, "InsufficientSpace", "(12 bytes are needed, 5 are free): enlarge the claim"),
        (errno.EDQUOT, "InsufficientSpace", "quota leaves no space for x (12 bytes are needed)"),
        (errno.EROFS, "WriteFailed", "mounted read-only"),
        (errno.EACCES, "WriteFailed", "user 1000 and group 1001 may not write there"),
        (errno.EPERM, "WriteFailed", "fsGroup (NFS does not)"),
        (errno.EIO, "WriteFailed", "check the claim's volume"),
    ],
)
def test_a_claim_that_refuses_a_write_is_told_with_the_mend(
    monkeypatch: pytest.MonkeyPatch, number: int, reason: str, words: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("os.getegid", lambda: 1001)

    error = write_error(OSError(number, "said"), "x", needed=12, free=5)

    assert error.reason == reason
    assert words in str(error)
