"""Runs that are killed, and runs that meet."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.repository.claim import Claim, MemorySources, digest, model, serving, version
from triton_operator.repository.layout import RECORD_FILE
from triton_operator.repository.manifest import Manifest
from triton_operator.repository.materialize import materialize

URI = "https://models.example/resnet/model.onnx"
FOLDER = "pvc://models/bert/"
ARTIFACTS = {URI: b"weights", FOLDER: {"model.py": b"1", "vocab/en.txt": b"2"}}

RESNET = model("resnet", "config 1", version(1, URI, digest(b"weights")))
RESNET_2 = model("resnet", "config 2", version(1, URI), version(2, model_py="two"))
SCRIPT = model("script", "python", version(1, model_py="pass"))
BERT = model("bert", "config", version(1, FOLDER), labels_txt="a\n")

BEFORE = serving(RESNET, SCRIPT)
AFTER = serving(RESNET_2, BERT)
WHOLE = {
    ("resnet", RESNET.hash): {"config.pbtxt", RECORD_FILE, "1/model.onnx"},
    ("resnet", RESNET_2.hash): {"config.pbtxt", RECORD_FILE, "1/model.onnx", "2/model.py"},
    ("script", SCRIPT.hash): {"config.pbtxt", "1/model.py"},
    ("bert", BERT.hash): {
        "config.pbtxt",
        RECORD_FILE,
        "labels.txt",
        "1/model.py",
        "1/vocab/en.txt",
    },
}
FATAL = ("rename", "replace", "link", "symlink", "unlink", "rmdir", "mkdir", "fsync", "chmod")
KILLED = 77


@pytest.fixture
def claim(claim: Claim) -> Claim:
    claim.sources.artifacts |= ARTIFACTS
    return claim


def run_and_die(claim: Claim, manifest: Manifest, step: int) -> bool:
    """Run in a process that dies before or after its n-th change; False if it got through."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED
    try:
        remaining = step
        for name in FATAL:
            real = getattr(os, name)

            def deadly(*args, real=real, **options):
                nonlocal remaining
                if remaining == 0:
                    os._exit(KILLED)
                remaining -= 1
                result = real(*args, **options)
                if remaining == 0:
                    os._exit(KILLED)
                remaining -= 1
                return result

            setattr(os, name, deadly)
        claim.sync(manifest)
        os._exit(0)
    finally:
        os._exit(1)  # no exception of the child may reach pytest


def assert_links_are_whole(root: Path) -> None:
    for link in root.glob("servers/vision/*"):
        _, object_, hash_ = Path(link.readlink()).parts[-3:]
        files = {
            path.relative_to(link).as_posix()
            for path in link.rglob("*")
            if path.is_file() and path.stat().st_size
        }
        assert files == WHOLE[object_, hash_]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (None, BEFORE),
        (BEFORE, AFTER),
        (AFTER, replace(AFTER, remove=True)),
        (AFTER, Manifest("vision", remove=True)),
    ],
    ids=["first sync", "update", "removal", "removal by name"],
)
def test_killed_anywhere_every_link_is_whole_and_the_next_run_mends(tmp_path, first, then) -> None:
    step = 0
    killed = True
    while killed:
        root = tmp_path / str(step)
        root.mkdir()
        claim = Claim(root, MemorySources(ARTIFACTS))
        if first is not None:
            claim.sync(first)
        killed = run_and_die(claim, then, step)
        assert_links_are_whole(root)
        names = {path.name for path in root.glob("servers/vision/*")}
        if first is None and (root / "servers/vision").exists():
            assert names == {"resnet", "script"}  # what pods wait for is never half-filled
        if not then.remove and first is not None:
            assert "resnet" in names
        assert not claim.sync(then).failed
        assert_links_are_whole(root)
        if then.remove:
            assert claim.paths() == set()
        else:
            assert set(claim.served()) == served_by(then)
            claim.now = lambda: time.time() + 4000
            claim.sync(then)
            assert not list((root / ".staging").iterdir())
            assert {path.name for path in root.glob("generations/*/*")} == {
                each.hash for each in then.generations
            }
            assert all(path.stat().st_nlink > 1 for path in root.glob("blobs/*"))
        step += 1
    assert step > 20


def served_by(manifest: Manifest) -> set[str]:
    return {
        f"{link.model}/{path}"
        for link in manifest.links
        for path in WHOLE[link.object, link.hash] - {RECORD_FILE}
    }


def test_runs_that_meet_in_one_process_agree(claim: Claim) -> None:
    for manifest in (BEFORE, AFTER, BEFORE, AFTER):
        outcomes = []

        def run(manifest=manifest, outcomes=outcomes) -> None:
            sources = MemorySources(ARTIFACTS)
            outcomes.append(materialize(claim.root, manifest, sources, lambda _: None))

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [each.failed for each in outcomes] == [{}] * 8
        assert all(each.complete for each in outcomes)
        assert set(claim.served()) == served_by(manifest)
        assert not list((claim.root / ".staging").iterdir())


def test_jobs_of_different_manifests_never_leave_a_broken_link(claim: Claim) -> None:
    claim.sync(BEFORE)
    for _ in range(10):
        children = []
        for manifest in (BEFORE, AFTER, AFTER, BEFORE):
            child = os.fork()
            if not child:
                try:
                    claim.sync(manifest)
                    os._exit(0)
                finally:
                    os._exit(1)
            children.append(child)
        for child in children:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert_links_are_whole(claim.root)
    assert not claim.sync(AFTER).failed
    assert set(claim.served()) == served_by(AFTER)
