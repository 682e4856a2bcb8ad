"""Runs that are killed, and runs that meet."""

import os
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from tests.unit.repository.claim import Claim, MemorySources
from tests.unit.repository.interruption import CHANGES, die_before, record_changes
from tests.unit.repository.scenarios import (
    AFTER,
    ARTIFACTS,
    BEFORE,
    HASTE,
    SCENARIOS,
    URI,
    WHOLE,
    Scenario,
    run_hastily,
)
from triton_operator.repository import materialize as materialize_module
from triton_operator.repository.artifacts import read_record
from triton_operator.repository.layout import RECORD_FILE, read_link_target
from triton_operator.repository.manifest import Manifest
from triton_operator.repository.materialize import materialize

Files = dict[str, bytes | str | None]


@pytest.fixture
def claim(claim: Claim) -> Claim:
    claim.sources.artifacts |= ARTIFACTS
    return claim


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is flushed to this disk: no power fails here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def snapshot(root: Path) -> Files:
    """Return all that is on a claim: content of files, targets of links; not what is unfinished."""
    return {
        path.relative_to(root).as_posix(): (
            os.readlink(path)
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else None
        )
        for path in root.rglob("*")
        if ".staging" not in path.parts
    }


def files_of(generation: tuple[str, str]) -> Files:
    """Return what the folder of a generation has to hold."""
    whole = WHOLE[generation]
    found: Files = {"config.pbtxt": whole.config.encode()}
    found |= {path: text.encode() for path, text in whole.files.items()}
    for version in whole.versions:
        content = ARTIFACTS[version.source.uri] if version.source is not None else {}
        if isinstance(content, bytes):
            content = {URI.rpartition("/")[2]: content}
        assert isinstance(content, dict)
        texts = {path: text.encode() for path, text in version.files.items()}
        found |= {f"{version.version}/{path}": each for path, each in {**content, **texts}.items()}
    return found


def served(root: Path) -> dict[str, Files]:
    """Return what Triton would read, by model; every link has to lead to a folder."""
    found = {}
    for link in root.glob("servers/vision/*"):
        assert link.is_dir(), f"{link.name} leads nowhere"
        files = {path.relative_to(link).as_posix(): path for path in link.rglob("*")}
        found[link.name] = {
            name: path.read_bytes()
            for name, path in files.items()
            if path.is_file() and name != RECORD_FILE
        }
    return found


def assert_links_are_whole(root: Path, harmed: dict[str, Files] | None = None) -> None:
    """Each model is whole; during a repair each file that was harmed may be so still."""
    for name, files in served(root).items():
        target = read_link_target(os.readlink(root / "servers/vision" / name))
        assert target is not None
        right, before = files_of(target), (harmed or {}).get(name)
        from_sources = [v.version for v in WHOLE[target].versions if v.source is not None]
        record = read_record(root / "servers/vision" / name)
        assert [each.version for each in record] == from_sources
        if before is None:
            assert files == right
            continue
        assert all(files.get(path) in (right[path], before.get(path)) for path in right)
        assert all(files[path] == before[path] for path in set(files) - set(right))


def settle(claim: Claim, scenario: Scenario) -> Files:
    """Sync to the end, and once more when everything unfinished is old; return what there is."""
    scenario.run(claim)
    claim.now = lambda: time.time() + 4000
    scenario.run(claim)
    return snapshot(claim.root)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_killed_anywhere_every_model_is_whole_and_the_next_run_makes_it_as_if_never_killed(
    tmp_path: Path, scenario: Scenario
) -> None:
    def fresh(name: str) -> Claim:
        (tmp_path / name).mkdir()
        return scenario.prepare(tmp_path / name)

    whole = fresh("whole")
    harmed = served(whole.root) if scenario.harm is not None else None
    names = set(served(whole.root))
    changes = record_changes(partial(scenario.run, whole))
    expected = settle(whole, scenario)
    assert len(changes) > 5
    for step in range(len(changes)):
        claim = fresh(str(step))
        die_before(step, partial(scenario.run, claim))

        assert_links_are_whole(claim.root, harmed)
        linked = set(served(claim.root))
        if not scenario.first:
            # What pods wait for is never half-filled.
            assert linked in (set(), {link.model for link in scenario.then.links})
        elif not scenario.then.remove:
            assert linked >= names & {link.model for link in scenario.then.links}
        assert settle(claim, scenario) == expected, f"killed before {changes[step]} ({step})"
        assert not list(claim.root.glob(".staging/*"))
    if scenario.then.remove:
        assert expected == {}
    else:
        assert_links_are_whole(whole.root)
        assert set(whole.served()) == served_by(scenario.then)
        assert all(path.stat().st_nlink > 1 for path in whole.root.glob("blobs/*"))


@pytest.mark.exhaustive
@pytest.mark.usefixtures("hasty")
def test_killed_while_models_come_one_by_one_every_one_of_them_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(materialize_module, "_FIRST_LINKS_SECONDS", HASTE)
    scenario = SCENARIOS["first sync"]
    whole = Claim(tmp_path / "whole", MemorySources(ARTIFACTS))
    whole.root.mkdir()
    changes = record_changes(partial(run_hastily, scenario, whole))
    expected, seen = settle(whole, scenario), set()
    for step in range(len(changes)):
        (tmp_path / str(step)).mkdir()
        claim = scenario.prepare(tmp_path / str(step))
        die_before(step, partial(run_hastily, scenario, claim))

        assert_links_are_whole(claim.root)
        seen.add(frozenset(served(claim.root)))
        assert settle(claim, scenario) == expected, f"killed before {changes[step]} ({step})"
    # What needs no source is there first.
    assert seen == {frozenset(), frozenset({"script"}), frozenset({"script", "resnet"})}


def test_every_kind_of_change_is_a_point_to_die_at(tmp_path: Path) -> None:
    found: set[str] = set()
    for name, scenario in SCENARIOS.items():
        (tmp_path / name).mkdir()
        claim = scenario.prepare(tmp_path / name)
        found |= set(record_changes(partial(scenario.run, claim)))

    # A file is cut off only where a download begins anew.
    assert found == CHANGES - {"os.truncate"}


def served_by(manifest: Manifest) -> set[str]:
    return {
        f"{link.model}/{path}"
        for link in manifest.links
        for path in files_of((link.object, link.hash))
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


@pytest.mark.exhaustive
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
