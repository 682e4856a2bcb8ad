import errno
import os
import stat
import time
from dataclasses import replace

import pytest

from tests.unit.repository.claim import Claim, digest, model, serving, version
from triton_operator.errors import InvalidSpecError
from triton_operator.repository.manifest import Generation, Link, Manifest
from triton_operator.repository.sources import SourceNotFoundError, SourceUnreachableError

URI = "https://models.example/resnet/model.onnx"
WEIGHTS = b"weights"


@pytest.fixture
def sources(claim: Claim):
    claim.sources.artifacts[URI] = WEIGHTS
    return claim.sources


RESNET = model("resnet", "config 1", version(1, URI, digest(WEIGHTS)), labels_txt="cat\n")
RESNET_2 = model("resnet", "config 2", version(1, URI, digest(WEIGHTS)), labels_txt="cat\n")
SCRIPT = model("script", "python", version(1, model_py="pass"), version(2, model_py="pass\n"))


def test_the_first_sync_makes_what_triton_reads(claim: Claim, sources) -> None:
    outcome = claim.sync(serving(RESNET, SCRIPT))
    assert not outcome.failed
    assert outcome.bytes_copied == len(WEIGHTS)
    assert claim.served() == {
        "resnet/config.pbtxt": "config 1",
        "resnet/labels.txt": "cat\n",
        "resnet/1/model.onnx": "weights",
        "script/config.pbtxt": "python",
        "script/1/model.py": "pass",
        "script/2/model.py": "pass\n",
    }
    assert [each.event for each in claim.events][-3:] == ["linked", "linked", "done"]
    assert not list((claim.root / ".staging").iterdir())


def test_the_links_are_relative_so_that_the_claim_can_be_mounted_anywhere(claim, sources) -> None:
    claim.sync(serving(RESNET))
    link = claim.root / "servers/vision/resnet"
    assert str(link.readlink()) == f"../../generations/resnet/{RESNET.hash}"
    moved = claim.root.rename(claim.root.with_name("elsewhere"))
    assert (moved / "servers/vision/resnet/1/model.onnx").read_bytes() == WEIGHTS


def test_a_second_run_writes_nothing(claim: Claim, sources) -> None:
    claim.sync(serving(RESNET, SCRIPT))
    before = claim.everything()
    claim.events.clear()
    assert claim.sync(serving(RESNET, SCRIPT)).bytes_copied == 0
    assert claim.everything() == before
    assert [each.event for each in claim.events] == ["done"]


def test_an_artifact_is_on_the_claim_once(claim: Claim, sources) -> None:
    other = model("other", "config", version(7, URI))
    claim.sync(serving(RESNET, other))
    blob = claim.root / "blobs" / digest(WEIGHTS)
    assert blob.stat().st_nlink == 3
    assert sources.fetched == [URI]
    claim.sync(serving(RESNET_2, other))
    assert sources.fetched == [URI]


def test_an_update_moves_the_link_and_takes_the_old_generation_away(claim, sources) -> None:
    claim.sync(serving(RESNET))
    claim.sync(serving(RESNET_2))
    assert claim.served()["resnet/config.pbtxt"] == "config 2"
    assert claim.generations("resnet") == {RESNET_2.hash}


def test_the_link_is_never_missing_while_it_is_moved(claim: Claim, sources, monkeypatch) -> None:
    claim.sync(serving(RESNET))
    link = claim.root / "servers/vision/resnet"
    missing = []
    for name in ("replace", "rename", "unlink", "symlink", "mkdir", "rmdir", "fsync"):
        real = getattr(os, name)

        def watched(*args, real=real, **options):
            result = real(*args, **options)
            if not (link / "config.pbtxt").is_file():
                missing.append(args)
            return result

        monkeypatch.setattr(os, name, watched)
    claim.sync(serving(RESNET_2))
    assert missing == []


def test_a_kept_generation_survives_for_rollback(claim: Claim, sources) -> None:
    claim.sync(serving(RESNET))
    claim.sync(serving(RESNET_2, keep=(RESNET,)))
    assert claim.generations("resnet") == {RESNET.hash, RESNET_2.hash}
    back = Manifest("vision", links=(Link("resnet", "resnet", RESNET.hash),))
    assert not claim.sync(back).failed
    assert claim.served()["resnet/config.pbtxt"] == "config 1"
    assert claim.generations("resnet") == {RESNET.hash}


def test_going_back_to_an_older_generation_makes_it_the_newest(claim: Claim, sources) -> None:
    claim.sync(serving(RESNET, SCRIPT))
    folder = claim.root / f"generations/resnet/{RESNET.hash}"
    os.utime(folder, (1, 1))
    back = Manifest("vision", (SCRIPT,), serving(RESNET, SCRIPT).links)
    claim.sync(replace(serving(RESNET_2, SCRIPT), keep=(("resnet", RESNET.hash),)))
    claim.sync(back)
    # Triton takes a folder for changed only if it is newer than what it loaded last.
    newest = claim.root / "generations/script" / SCRIPT.hash
    assert folder.stat().st_mtime > newest.stat().st_mtime


def test_one_bad_download_fails_one_model(claim: Claim, sources) -> None:
    claim.sync(serving(RESNET, SCRIPT))
    sources.artifacts["s3://gone/model"] = SourceNotFoundError("s3://gone/model does not exist")
    bad = model("resnet", "config 3", version(1, "s3://gone/model"))
    better = model("script", "python", version(3, model_py="better"))
    outcome = claim.sync(serving(bad, better))
    assert {name: each.reason for name, each in outcome.failed.items()} == {
        "resnet": "SourceNotFound"
    }
    assert not outcome.transient
    assert claim.served()["resnet/config.pbtxt"] == "config 1"
    assert claim.served()["script/3/model.py"] == "better"
    assert claim.generations("resnet") == {RESNET.hash}


def test_the_first_sync_serves_the_models_that_it_can(claim: Claim, sources) -> None:
    sources.artifacts["https://down/x"] = SourceUnreachableError("https://down/x fails")
    outcome = claim.sync(serving(model("down", "", version(1, "https://down/x")), SCRIPT))
    assert outcome.failed["down"].reason == "SourceUnreachable"
    assert outcome.transient
    assert {path.partition("/")[0] for path in claim.served()} == {"script"}


def test_a_wrong_checksum_is_refused_and_leaves_nothing(claim: Claim, sources) -> None:
    wrong = model("resnet", "config", version(1, URI, "0" * 64))
    failure = claim.sync(serving(wrong)).failed["resnet"]
    assert failure.reason == "ChecksumMismatch"
    assert URI in failure.message
    assert digest(WEIGHTS) in failure.message
    assert not failure.transient
    assert claim.blobs() == set()
    assert claim.generations("resnet") == set()


def test_a_checksum_may_be_written_in_capitals(claim: Claim, sources) -> None:
    shouting = model("resnet", "config", version(1, URI, digest(WEIGHTS).upper()))
    assert not claim.sync(serving(shouting)).failed


def test_a_folder_becomes_the_version_folder(claim: Claim, sources) -> None:
    sources.artifacts["pvc://models/bert/"] = {"model.py": b"1", "vocab/en.txt": b"2"}
    bert = model("bert", "config", version(1, "pvc://models/bert/", model_py="mine"))
    assert not claim.sync(serving(bert)).failed
    assert claim.served() == {
        "bert/config.pbtxt": "config",
        "bert/1/model.py": "mine",  # what the object says wins over what was fetched
        "bert/1/vocab/en.txt": "2",
    }
    assert sources.fetched == ["pvc://models/bert/vocab/en.txt"]


def test_a_checksum_of_a_folder_is_refused(claim: Claim, sources) -> None:
    sources.artifacts["pvc://models/bert/"] = {"model.py": b"1"}
    bert = model("bert", "config", version(1, "pvc://models/bert/", digest(b"1")))
    assert claim.sync(serving(bert)).failed["bert"].reason == "InvalidSource"


def test_a_model_without_versions_has_the_empty_one_that_triton_wants(claim: Claim) -> None:
    claim.sync(serving(model("ensemble", "platform: 'ensemble'")))
    folder = claim.root / "servers/vision/ensemble"
    assert sorted(path.name for path in folder.iterdir()) == ["1", "config.pbtxt"]
    assert list((folder / "1").iterdir()) == []


def test_a_server_without_models_has_its_folder(claim: Claim) -> None:
    claim.sync(serving())
    assert claim.served() == {}


def test_a_model_that_leaves_is_unlinked_and_pruned(claim: Claim, sources) -> None:
    claim.sync(serving(RESNET, SCRIPT))
    claim.sync(serving(SCRIPT))
    assert {path.partition("/")[0] for path in claim.served()} == {"script"}
    assert claim.generations("resnet") == set()
    assert claim.blobs() == set()


def test_a_link_without_its_generation_stays_as_it_was(claim: Claim, sources) -> None:
    claim.sync(serving(RESNET))
    nowhere = Manifest("vision", links=(Link("resnet", "resnet", "abcd"),))
    assert claim.sync(nowhere).failed["resnet"].reason == "GenerationMissing"
    assert claim.served()["resnet/config.pbtxt"] == "config 1"


def test_another_servers_models_are_left_alone(claim: Claim, sources) -> None:
    audio = model("audio", "config", version(1, URI))
    claim.sync(serving(audio, server="audio"))
    claim.sync(serving(RESNET))
    claim.sync(serving())
    assert claim.served("audio")["audio/1/model.onnx"] == "weights"
    claim.sync(Manifest("vision", remove=True))
    assert claim.served("audio")["audio/1/model.onnx"] == "weights"
    assert claim.blobs() == {digest(WEIGHTS)}


def test_a_generation_that_another_server_links_is_not_pruned(claim: Claim, sources) -> None:
    claim.sync(serving(RESNET))
    claim.sync(serving(RESNET, server="mirror"))
    claim.sync(serving(RESNET_2))
    assert claim.generations("resnet") == {RESNET.hash, RESNET_2.hash}
    assert claim.served("mirror")["resnet/config.pbtxt"] == "config 1"


USERS = ("blobs/readme.txt", "generations/mine/notes.txt", "models/a.onnx", "servers/vision/x.txt",
         ".staging/mine/part", "lost+found/x")  # fmt: skip


def test_files_of_the_users_are_never_touched(claim: Claim, sources) -> None:
    for path in USERS:
        (claim.root / path).parent.mkdir(parents=True, exist_ok=True)
        (claim.root / path).write_text("mine")
        os.utime(claim.root / path, (0, 0))
    before = {path: value for path, value in claim.everything().items() if path in USERS}
    claim.now = lambda: time.time() + 1e6
    claim.sync(serving(RESNET))
    claim.sync(serving(RESNET_2))
    claim.sync(serving())
    claim.sync(Manifest("vision", remove=True))
    after = claim.everything()
    assert {path: after[path] for path in USERS} == before
    assert {path for path in claim.paths() if (claim.root / path).is_file()} == set(USERS)


def test_a_users_folder_in_the_place_of_a_link_fails_that_model(claim: Claim, sources) -> None:
    claim.sync(serving(SCRIPT))
    (claim.root / "servers/vision/resnet").mkdir()
    outcome = claim.sync(serving(SCRIPT, RESNET))
    assert outcome.failed["resnet"].reason == "WriteFailed"
    assert (claim.root / "servers/vision/resnet").is_dir()


def test_removal_leaves_nothing_of_ours(claim: Claim, sources) -> None:
    claim.sync(serving(RESNET, SCRIPT))
    claim.sync(serving(RESNET_2, SCRIPT, keep=(RESNET,)))
    killed = claim.root / ".staging/vision.0123456789abcdef"
    killed.mkdir()
    (killed / "1").write_text("half")
    (claim.root / "blobs" / ("a" * 64)).write_text("fetched by a run that was killed")
    gone = replace(serving(RESNET_2, SCRIPT, keep=(RESNET,)), remove=True)
    assert not claim.sync(gone).failed
    assert claim.paths() == set()
    claim.sync(gone)
    assert claim.paths() == set()


def test_removal_needs_no_more_than_the_servers_name(claim: Claim, sources) -> None:
    claim.sync(serving(RESNET, SCRIPT))
    claim.sync(Manifest("vision", remove=True))
    assert claim.paths() == set()


def test_blobs_and_staging_of_other_runs_get_their_time(claim: Claim, sources) -> None:
    claim.sync(serving(RESNET))
    blob = claim.root / "blobs" / ("a" * 64)
    blob.write_text("on its way into a generation")
    busy, dead = (claim.root / ".staging" / f"{owner}.{'0' * 16}" for owner in ("audio", "vision"))
    for folder in (busy, dead):
        folder.mkdir()
        (folder / "1").write_text("half")
    claim.sync(serving(RESNET))
    assert all(path.exists() for path in (blob, busy, dead))
    claim.now = lambda: time.time() + 4000
    claim.sync(serving(RESNET))
    assert [path.exists() for path in (blob, busy, dead)] == [False, True, False]
    claim.now = lambda: time.time() + 90_000
    claim.sync(serving(RESNET))
    assert not busy.exists()
    assert claim.served()["resnet/1/model.onnx"] == "weights"


@pytest.mark.parametrize("broken", ["link", "link and symlink"])
def test_file_systems_without_links_are_served_too(claim, sources, monkeypatch, broken) -> None:
    real = os.symlink

    def refuse(source, target, *options):
        if "blobs" not in str(source):
            return real(source, target, *options)
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(os, "link", refuse)
    if "symlink" in broken:
        monkeypatch.setattr(os, "symlink", refuse)
    assert not claim.sync(serving(RESNET)).failed
    claim.now = lambda: time.time() + 4000
    claim.sync(serving(RESNET))
    assert claim.served()["resnet/1/model.onnx"] == "weights"
    claim.sync(serving(RESNET_2))
    assert claim.served()["resnet/1/model.onnx"] == "weights"
    assert claim.generations("resnet") == {RESNET_2.hash}
    claim.sync(Manifest("vision", remove=True))
    assert claim.paths() == set()


def test_a_full_claim_says_how_much_is_missing(claim: Claim, sources, monkeypatch) -> None:
    real = os.statvfs

    def full(path):
        usage = list(real(path))
        usage[4] = 0
        return os.statvfs_result(usage)

    monkeypatch.setattr(os, "statvfs", full)
    sources.artifacts["pvc://models/bert/"] = {"model.py": b"12345"}
    outcome = claim.sync(serving(model("bert", "", version(1, "pvc://models/bert/"))))
    assert outcome.failed["bert"].reason == "InsufficientSpace"
    assert "5 bytes are needed, 0 are free" in outcome.failed["bert"].message
    assert outcome.transient


def test_a_claim_that_cannot_be_written_fails_its_models(claim: Claim, sources) -> None:
    claim.root.rmdir()
    outcome = claim.sync(serving(SCRIPT))
    assert outcome.failed["script"].reason == "WriteFailed"
    assert outcome.transient


def test_tritons_group_can_read_and_the_next_job_can_write_whatever_the_umask(claim, sources):
    claim.root.chmod(0o2775)
    old = os.umask(0o077)
    try:
        claim.sync(serving(RESNET))
    finally:
        os.umask(old)
    for path in claim.root.rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_dir() and not path.is_symlink():
            assert mode == 0o2775, path
        elif path.is_file() and not path.is_symlink():
            assert mode == 0o664, path


EVIL = (
    "../evil",
    "/evil",
    "",
    ".",
    "..",
    "a/../../evil",
    "a//b",
    "a\x00b",
    "x/",
    "a\\b",
    "n" * 300,
)


@pytest.mark.parametrize("name", EVIL)
def test_no_name_leads_out_of_its_folder(claim: Claim, sources, name: str) -> None:
    (claim.root.parent / "evil").mkdir()
    sources.artifacts["pvc://models/evil/"] = {name: b"evil"}
    good = model("good", "config")
    for bad in (
        Generation(name, "aa", ""),
        Generation("bad", name, ""),
        Generation("bad", "aa", "", {name: "evil"}),
        Generation("bad", "aa", "", versions=(version(1), replace(version(2), files={name: ""}))),
        Generation("bad", "aa", "", versions=(version(1, "pvc://models/evil/"),)),
    ):
        outcome = claim.sync(serving(bad, good))
        assert [each.reason for each in outcome.failed.values()] == ["InvalidSource"]
    named = Manifest("vision", (good,), (Link(name, "good", good.hash),))
    if name != "a/../../evil":
        assert claim.sync(named).failed["good"].reason == "InvalidSource"
    with pytest.raises(InvalidSpecError):
        claim.sync(serving(good, server=name))
    assert not any((claim.root.parent / "evil").iterdir())
    assert {path.name for path in claim.root.parent.iterdir()} == {"claim", "evil"}
    assert {path.partition("/")[0] for path in claim.paths()} <= {
        "servers", "generations", "blobs", ".staging",
    }  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [
        Generation("m", "aa", "", {"config.pbtxt": "mine"}),
        Generation("m", "aa", "", {"3.tmp/x": "a folder that Triton takes for version 3"}),
        Generation("m", "aa", "", {"a": "", "a/b": ""}),
        Generation("m", "aa", "", versions=(version(0),)),
        Generation("m", "aa", "", versions=(version(1, URI, "beef"),)),
        Generation("m", "aa", "", {"a": "\ud800"}),
    ],
)
def test_content_that_cannot_be_served_is_refused_for_good(claim, sources, bad) -> None:
    outcome = claim.sync(serving(bad))
    assert outcome.failed["m"].reason == "InvalidSource"
    assert not outcome.transient
    assert claim.generations("m") == set()
