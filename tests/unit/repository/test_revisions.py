"""Revisions: what immutable pods read, published whole and never changed."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.repository.claim import (
    Claim,
    digest,
    killed_at_each_change,
    model,
    serving,
    synced,
    version,
)
from triton_operator.errors import InvalidSpecError
from triton_operator.repository.layout import Layout
from triton_operator.repository.manifest import LINKS, Generation, Link, Manifest, revision_digest

URI = "https://models.example/resnet/model.onnx"
WEIGHTS = b"weights"
NOWHERE = "https://models.example/none.onnx"

RESNET = model("resnet", "config 1", version(1, URI, digest(WEIGHTS)))
RESNET_2 = model("resnet", "config 2", version(1, URI))
LOST = model("resnet", "config 3", version(1, NOWHERE, digest(b"other")))
SCRIPT = model("script", "python", version(1, model_py="pass"))


@pytest.fixture
def claim(claim: Claim) -> Claim:
    claim.sources.artifacts[URI] = WEIGHTS
    return claim


def revision(*generations, keep=(), keep_revisions=()) -> Manifest:
    found = serving(*generations, keep=keep)
    return replace(found, immutable=True, keep_revisions=keep_revisions)


def ensemble(note: str, member: str) -> Generation:
    step = f'step [ {{ model_name: "{member}" }} ]'
    return model("whole", f"# {note}\nensemble_scheduling {{ {step} }}")


def name_of(*generations) -> str:
    return revision_digest(serving(*generations).links)


def read(claim: Claim, name: str) -> dict[str, str]:
    """Return the config of every model that pods of a revision find."""
    folder = claim.root / "revisions/vision" / name
    return {link.name: (link / "config.pbtxt").read_text() for link in folder.iterdir()}


def revisions(claim: Claim) -> set[str]:
    return {path.name for path in claim.root.glob("revisions/vision/*")}


def test_a_revision_is_published_beside_the_links(claim: Claim) -> None:
    outcome = claim.sync(revision(RESNET, SCRIPT))

    assert outcome.revision == name_of(RESNET, SCRIPT)
    assert read(claim, outcome.revision) == {"resnet": "config 1", "script": "python"}
    assert not (claim.root / "servers").exists()
    link = claim.root / "revisions/vision" / outcome.revision / "resnet"
    assert str(link.readlink()) == f"../../../generations/resnet/{RESNET.hash}"


def test_a_second_run_writes_nothing(claim: Claim) -> None:
    claim.sync(revision(RESNET, SCRIPT))
    before = claim.everything()
    assert claim.sync(revision(RESNET, SCRIPT)).revision == name_of(RESNET, SCRIPT)
    assert claim.everything() == before


def test_a_link_that_somebody_took_out_of_a_revision_comes_back(claim: Claim) -> None:
    name = claim.sync(revision(RESNET, SCRIPT)).revision
    folder = claim.root / "revisions/vision" / name
    (folder / "resnet").unlink()
    (folder / "script").unlink()
    (folder / "script").symlink_to("../../../generations/script/0123")

    outcome = claim.sync(revision(RESNET, SCRIPT), repair=True)

    assert (outcome.revision, outcome.mended) == (name, {"resnet", "script"})
    assert read(claim, name) == {"resnet": "config 1", "script": "python"}


def test_what_pods_may_start_from_stays_with_all_its_generations(claim: Claim) -> None:
    first = claim.sync(revision(RESNET, SCRIPT)).revision
    second = claim.sync(revision(RESNET_2, SCRIPT, keep_revisions=(first,))).revision

    assert read(claim, first) == {"resnet": "config 1", "script": "python"}
    assert read(claim, second) == {"resnet": "config 2", "script": "python"}

    claim.sync(revision(RESNET_2, SCRIPT))
    assert revisions(claim) == {second}
    assert claim.generations("resnet") == {RESNET_2.hash}


def test_the_way_back_finds_the_revision_as_it_was(claim: Claim) -> None:
    first = claim.sync(revision(RESNET, SCRIPT)).revision
    second = claim.sync(revision(RESNET_2, SCRIPT, keep=(RESNET,))).revision
    assert revisions(claim) == {second}

    back = Manifest("vision", (SCRIPT,), serving(RESNET, SCRIPT).links, immutable=True)
    outcome = claim.sync(back)

    assert (outcome.revision, outcome.failed) == (first, {})
    assert read(claim, first) == {"resnet": "config 1", "script": "python"}


def test_what_cannot_be_had_is_there_as_it_was_and_holds_nobody_back(claim: Claim) -> None:
    claim.sync(revision(RESNET))
    outcome = claim.sync(revision(LOST, SCRIPT, keep=(RESNET,)))

    assert set(outcome.failed) == {"resnet"}
    assert outcome.revision == name_of(RESNET, SCRIPT)
    assert read(claim, outcome.revision) == {"resnet": "config 1", "script": "python"}


def test_what_was_never_had_is_left_out(claim: Claim) -> None:
    outcome = claim.sync(revision(LOST, SCRIPT))

    assert set(outcome.failed) == {"resnet"}
    assert outcome.revision == name_of(SCRIPT)
    assert read(claim, outcome.revision) == {"script": "python"}


def test_the_links_stay_as_long_as_pods_read_them(claim: Claim) -> None:
    claim.sync(serving(RESNET))
    claim.sync(revision(RESNET_2, keep_revisions=(LINKS,)))
    assert claim.served()["resnet/config.pbtxt"] == "config 1"

    claim.sync(revision(RESNET_2))
    assert not (claim.root / "servers/vision").exists()
    assert claim.generations("resnet") == {RESNET_2.hash}


def test_revisions_stay_as_long_as_pods_read_them(claim: Claim) -> None:
    name = claim.sync(revision(RESNET, SCRIPT)).revision
    claim.sync(replace(serving(RESNET_2, SCRIPT), keep_revisions=(name, LINKS)))
    assert read(claim, name) == {"resnet": "config 1", "script": "python"}
    assert claim.served()["resnet/config.pbtxt"] == "config 2"

    claim.sync(serving(RESNET_2, SCRIPT))
    assert revisions(claim) == set()
    assert claim.generations("resnet") == {RESNET_2.hash}


def test_links_that_are_made_anew_hold_what_is_good_where_files_are_missing(claim: Claim) -> None:
    name = claim.sync(revision(RESNET, SCRIPT)).revision
    kept = replace(serving(LOST, SCRIPT, keep=(RESNET,)), keep_revisions=(name,))
    assert set(claim.sync(kept).failed) == {"resnet"}
    assert claim.served()["resnet/config.pbtxt"] == "config 1"


def test_servers_on_one_claim_leave_each_others_revisions_alone(claim: Claim) -> None:
    theirs = replace(serving(RESNET, server="audio"), immutable=True)
    claim.sync(theirs)
    claim.sync(revision(RESNET_2))
    claim.sync(replace(revision(RESNET_2), remove=True))

    folder = claim.root / "revisions/audio" / name_of(RESNET)
    assert (folder / "resnet/config.pbtxt").read_text() == "config 1"
    assert revisions(claim) == set()

    claim.sync(replace(theirs, remove=True))
    assert claim.paths() == set()


def test_a_removal_by_name_takes_the_revisions_along(claim: Claim) -> None:
    claim.sync(revision(RESNET, SCRIPT))
    claim.sync(Manifest("vision", remove=True))
    assert claim.paths() == set()


def test_what_is_kept_besides_is_no_reason_for_a_job() -> None:
    one = revision(RESNET, keep_revisions=("aa",))
    other = revision(RESNET, keep_revisions=("bb", "aa"))
    assert one.digest() == other.digest() != serving(RESNET).digest()
    assert one.content_digest() != other.content_digest()
    assert Manifest.from_json(other.to_json()) == other


def test_the_name_of_a_revision_depends_on_its_links_alone() -> None:
    links = [Link("a", "x", "1"), Link("b", "y", "2")]
    assert revision_digest(links) == revision_digest(links[::-1])
    assert revision_digest(links) != revision_digest(links[:1])


@pytest.mark.parametrize("name", ["", "..", "a/b", LINKS, "../../x"])
def test_a_revision_has_the_name_of_a_digest(claim: Claim, name: str) -> None:
    with pytest.raises(InvalidSpecError):
        Layout(claim.root).revision("vision", name)


# ---- killed at any change ---------------------------------------------------------------------

NOTES = model("notes", "config", labels_txt="a\n")
SCRIPT_2 = model("script", "python 2", version(1, model_py="better"))
LINKED, OTHERS = serving(NOTES, SCRIPT), serving(NOTES, SCRIPT_2)
OLD = replace(LINKED, immutable=True)
NEW = replace(OTHERS, immutable=True, keep_revisions=(revision_digest(OLD.links),))
CONFIGS = {
    revision_digest(LINKED.links): {"notes": "config", "script": "python"},
    revision_digest(OTHERS.links): {"notes": "config", "script": "python 2"},
}


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("first", "then"),
    [(None, OLD), (OLD, NEW), (LINKED, replace(NEW, keep_revisions=())), (OLD, OTHERS)],
    ids=["first sync", "update", "from links", "to links"],
)
def test_killed_at_any_change_every_revision_is_whole_and_the_next_run_mends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: Manifest | None, then: Manifest
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power fails here

    before = () if first is None else (first,)
    whole = synced(tmp_path / "whole", *before, then)
    for claim, killed in killed_at_each_change(tmp_path, *before, then=then):
        for name in revisions(claim):
            assert read(claim, name) == CONFIGS[name]
        if then is NEW:
            assert revision_digest(OLD.links) in revisions(claim)

        outcome = claim.sync(then)
        assert not outcome.failed
        claim.now = lambda: time.time() + 4000
        claim.sync(then)
        assert revisions(claim) == {outcome.revision, *then.keep_revisions} - {""}
        for name in revisions(claim):
            assert read(claim, name) == CONFIGS[name]
        assert claim.paths() == whole.paths(), killed


def test_an_ensemble_goes_back_to_the_members_that_it_had(claim: Claim) -> None:
    whole, moved = ensemble("1", "script"), ensemble("2", "resnet")
    first = claim.sync(revision(SCRIPT, whole)).revision
    standing = ((whole.object, whole.hash),)
    manifest = revision(LOST, moved, keep=(whole,), keep_revisions=("0123", first))
    outcome = claim.sync(replace(manifest, standing=standing))

    assert set(outcome.failed) == {"resnet", "whole"}
    assert outcome.revision == first

    manifest = revision(RESNET, moved, keep=(whole,), keep_revisions=(first,))
    second = claim.sync(replace(manifest, standing=standing)).revision
    assert second == name_of(RESNET, moved)

    # Its pods did not come up.
    back = replace(revision(whole, keep_revisions=(first, second)), standing=standing)
    assert claim.sync(back).revision == first
    assert read(claim, first).keys() == {"script", "whole"}
