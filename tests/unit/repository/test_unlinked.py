"""Generations that were built and never had a link: what becomes of them when their model goes."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.repository.claim import (
    Claim,
    MemorySources,
    killed_at_each_change,
    model,
    serving,
    version,
)
from triton_operator.repository import materialize
from triton_operator.repository.manifest import Manifest
from triton_operator.repository.sources import SourceFile

URI, SLOW = "s3://models/quick", "s3://models/slow"
QUICK = model("quick", "config", version(1, URI))
WAITING = model("waiting", "config", version(1, SLOW))
WHOLE = model(
    "whole",
    'ensemble_scheduling { step [ { model_name: "quick" }, { model_name: "waiting" } ] }',
)
OTHER = model("other", "config", version(1, model_py="pass"))


class Told(BaseException):
    """The process is told to end."""


class Sources(MemorySources):
    """Of which one does not come to an end: another thing happens while it is read."""

    def __init__(self) -> None:
        super().__init__({URI: b"weights", SLOW: b"more weights"})
        self.meanwhile = lambda: None

    @contextmanager
    def read(self, file: SourceFile, start: int, stop: int | None) -> Iterator[Iterator[bytes]]:
        if file.uri == SLOW:
            self.meanwhile()
        with super().read(file, start, stop) as chunks:
            yield chunks


@pytest.fixture
def sources(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> Sources:
    monkeypatch.setattr(materialize, "_FIRST_LINKS_SECONDS", 0.0)
    claim.sources = Sources()
    return claim.sources


def revision(manifest: Manifest) -> Manifest:
    return replace(manifest, immutable=True)


def assert_built(claim: Claim) -> None:
    deadline = time.monotonic() + 10
    while not claim.generations("quick"):
        assert time.monotonic() < deadline
        time.sleep(0.002)


def end_while_one_waits(claim: Claim, sources: Sources, manifest: Manifest) -> None:
    """Have a run end when one model is there and another is not."""

    def end() -> None:
        assert_built(claim)
        raise Told

    sources.meanwhile = end
    with pytest.raises(Told):
        claim.sync(manifest)
    sources.meanwhile = lambda: None
    assert claim.generations("quick") == {QUICK.hash}


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (revision(serving(QUICK, WAITING)), revision(serving(WAITING))),
        (serving(QUICK, WAITING, WHOLE, OTHER), serving(OTHER)),
        (serving(QUICK, WAITING, WHOLE, OTHER), Manifest("vision", remove=True)),
    ],
    ids=["revision", "group", "removal"],
)
def test_a_model_that_was_built_leaves_nothing_when_it_goes_before_it_is_linked(
    claim: Claim, sources: Sources, first: Manifest, then: Manifest
) -> None:
    claim.sync(serving(OTHER))
    end_while_one_waits(claim, sources, first)

    assert not claim.sync(then).failed
    assert claim.generations("quick") == claim.generations("whole") == set()
    assert len(claim.blobs()) == len([each for each in then.generations if each is WAITING])
    claim.now = lambda: time.time() + 4000
    claim.sync(then)
    assert not list(claim.root.glob(".staging/*"))


def test_what_was_built_is_used_by_the_next_run_that_wants_it(
    claim: Claim, sources: Sources
) -> None:
    end_while_one_waits(claim, sources, revision(serving(QUICK, WAITING)))
    outcome = claim.sync(revision(serving(QUICK, WAITING)))

    assert not outcome.failed
    assert sources.fetched.count(URI) == 1
    claim.now = lambda: time.time() + 4000
    claim.sync(revision(serving(QUICK, WAITING)))
    assert not list(claim.root.glob(".staging/*"))


def test_a_model_whose_link_cannot_be_made_leaves_nothing_hours_after_either(
    claim: Claim, sources: Sources
) -> None:
    """A run came to its end, and others after it, without a link."""
    in_the_way = claim.root / "servers/vision/quick"
    in_the_way.mkdir(parents=True)
    for hours in range(3):
        claim.now = lambda hours=hours: time.time() + hours * 4000
        assert set(claim.sync(serving(QUICK, OTHER)).failed) == {"quick"}
        assert claim.generations("quick") == {QUICK.hash}

    assert not claim.sync(serving(OTHER)).failed
    assert claim.generations("quick") == set()
    assert claim.blobs() == set()


def test_the_run_of_another_server_days_later_takes_no_note_away(
    claim: Claim, sources: Sources
) -> None:
    """Of a model that is held for long, and is then deleted."""
    in_the_way = claim.root / "servers/vision/quick"
    in_the_way.mkdir(parents=True)
    assert set(claim.sync(serving(QUICK, OTHER)).failed) == {"quick"}
    claim.now = lambda: time.time() + 3 * 86_400

    assert not claim.sync(replace(serving(OTHER), server="audio")).failed
    assert not claim.sync(serving(OTHER)).failed
    assert claim.generations("quick") == set()


def test_a_server_that_a_model_has_left_takes_nothing_from_the_one_it_went_to(
    claim: Claim, sources: Sources
) -> None:
    """Both run at once: the new one waits for another model before it links this one."""
    end_while_one_waits(claim, sources, revision(serving(QUICK, WAITING)))

    def leave() -> None:
        sources.meanwhile = lambda: None
        assert not Claim(claim.root, sources).sync(revision(serving(OTHER))).failed
        assert claim.generations("quick") == set()

    sources.meanwhile = leave
    outcome = claim.sync(revision(serving(QUICK, WAITING, server="audio")))

    assert not outcome.failed
    found = claim.root / "revisions/audio" / outcome.revision
    assert (found / "quick/1/quick").read_bytes() == b"weights"


@pytest.mark.exhaustive
def test_killed_at_any_change_a_model_that_goes_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power fails here

    both, artifacts = serving(QUICK, OTHER), {URI: b"weights"}
    steps = killed_at_each_change(tmp_path, serving(OTHER), then=both, artifacts=artifacts)
    for claim, killed in steps:
        claim.sync(serving(OTHER))
        assert claim.generations("quick") == set(), killed
        claim.now = lambda: time.time() + 90_000
        claim.sync(serving(OTHER))
        assert not claim.blobs()
        assert not list(claim.root.glob(".staging/*"))
