"""An ensemble and what it calls move together, also where one of them cannot be had."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.repository.claim import (
    Claim,
    killed_at_each_change,
    model,
    serving,
    synced,
    version,
)
from triton_operator.repository.manifest import LINKS, Generation, Manifest
from triton_operator.repository.sources import SourceUnreachableError

URI = "https://models.example/new.onnx"


def ensemble(note: str, *members: str, name: str = "whole") -> Generation:
    steps = ", ".join(f'{{ model_name: "{member}" }}' for member in members)
    return model(name, f"# {note}\nensemble_scheduling {{ step [ {steps} ] }}")


def fetched(name: str, config: str = "new") -> Generation:
    return model(name, config, version(1, URI))


def inline(name: str, config: str = "old") -> Generation:
    return model(name, config, version(1, model_py="pass"))


def links(claim: Claim) -> dict[str, str]:
    """Return the hash of what every link leads to."""
    claim.served()
    return {path.name: path.readlink().name for path in (claim.root / "servers/vision").iterdir()}


def named(*generations: Generation) -> dict[str, str]:
    return {each.object: each.hash for each in generations}


def changing(*generations: Generation, old: Generation) -> Manifest:
    """Return a manifest beside which an older generation of an ensemble serves on."""
    ref = (old.object, old.hash)
    return replace(serving(*generations, keep=(old,)), standing=(ref,))


MEMBER, WHOLE = inline("member"), ensemble("1", "member")
FRESH, MOVED = fetched("fresh"), ensemble("2", "fresh")


@pytest.fixture
def claim(claim: Claim) -> Claim:
    """An ensemble and its member are served."""
    assert not claim.sync(serving(MEMBER, WHOLE)).failed
    return claim


def test_what_cannot_be_had_keeps_the_old_member_and_the_old_ensemble(claim: Claim) -> None:
    then = changing(FRESH, MOVED, inline("other"), old=WHOLE)
    outcome = claim.sync(then)

    assert links(claim) == named(MEMBER, WHOLE, inline("other"))
    found = {name: failure.reason for name, failure in outcome.failed.items()}
    assert found == {"fresh": "SourceNotFound", "whole": "WaitingForMember"}
    assert "'fresh'" in outcome.failed["whole"].message
    assert URI in outcome.failed["whole"].message
    assert not outcome.transient
    claim.sources.artifacts[URI] = SourceUnreachableError(URI)
    assert claim.sync(then).transient
    assert links(claim) == named(MEMBER, WHOLE, inline("other"))

    claim.sources.artifacts[URI] = b"weights"
    assert not claim.sync(then).failed
    assert links(claim) == named(MEMBER, FRESH, MOVED, inline("other"))
    assert not claim.sync(serving(FRESH, MOVED, inline("other"))).failed
    assert links(claim) == named(FRESH, MOVED, inline("other"))
    assert claim.generations("member") == set()
    assert claim.generations("whole") == {MOVED.hash}


def test_a_member_that_changes_with_its_ensemble_holds_it_when_it_cannot_be_had(
    claim: Claim,
) -> None:
    new = fetched("member")
    outcome = claim.sync(changing(new, ensemble("2", "member"), old=WHOLE))

    assert set(outcome.failed) == {"member", "whole"}
    assert links(claim) == named(MEMBER, WHOLE)


def test_members_of_an_ensemble_that_stays_move_together_or_not_at_all(claim: Claim) -> None:
    whole = ensemble("both", "left", "right")
    old = (inline("left"), inline("right"), whole)
    claim.sync(serving(*old))
    outcome = claim.sync(serving(fetched("left"), inline("right", "new"), whole))

    assert links(claim) == named(*old)
    assert {name: each.reason for name, each in outcome.failed.items()} == {
        "left": "SourceNotFound",
        "right": "WaitingForMember",
    }


def test_a_new_ensemble_holds_nobody_back(claim: Claim) -> None:
    second = ensemble("second", "other", "fresh", name="second")
    claim.sync(serving(MEMBER, WHOLE, inline("other")))
    outcome = claim.sync(serving(MEMBER, WHOLE, inline("other", "new"), FRESH, second))

    assert set(outcome.failed) == {"fresh"}
    assert links(claim) == named(MEMBER, WHOLE, inline("other", "new"), second)


def test_an_ensemble_that_is_deleted_too_keeps_no_link(claim: Claim) -> None:
    outcome = claim.sync(serving(FRESH, inline("other")))

    assert set(outcome.failed) == {"fresh"}
    assert links(claim) == named(inline("other"))
    assert claim.generations("member") == claim.generations("whole") == set()


@pytest.mark.parametrize("immutable", [False, True])
def test_one_that_is_deleted_holds_nothing_for_a_member_that_cannot_be_had(
    claim: Claim, *, immutable: bool
) -> None:
    changed = serving(fetched("member"), keep=(MEMBER,))
    outcome = claim.sync(replace(changed, immutable=immutable, keep_revisions=(LINKS,)))

    assert set(outcome.failed) == {"member"}
    assert claim.generations("whole") == (set() if not immutable else {WHOLE.hash})
    if immutable:
        folder = claim.root / "revisions/vision" / outcome.revision
        assert {path.name for path in folder.iterdir()} == {"member"}
    else:
        assert links(claim) == named(MEMBER)


def test_what_an_ensemble_that_went_back_calls_keeps_its_link(claim: Claim) -> None:
    """A pod has refused what is new: the old generation is linked again."""
    claim.sources.artifacts[URI] = b"weights"
    claim.sync(changing(FRESH, MOVED, old=WHOLE))
    assert links(claim) == named(MEMBER, FRESH, MOVED)

    back = replace(serving(FRESH, WHOLE), generations=(FRESH, MOVED))
    claim.sync(replace(back, standing=((WHOLE.object, WHOLE.hash),)))
    assert links(claim) == named(MEMBER, FRESH, WHOLE)


def test_what_is_called_through_another_ensemble_keeps_its_link(claim: Claim) -> None:
    outer = ensemble("1", "whole", name="outer")
    claim.sync(serving(MEMBER, WHOLE, outer))
    then = ensemble("2", "fresh", name="outer")
    claim.sync(changing(FRESH, then, old=outer))
    assert links(claim) == named(MEMBER, WHOLE, outer)
    claim.sources.artifacts[URI] = b"weights"
    claim.sync(changing(FRESH, then, old=outer))
    assert links(claim) == named(MEMBER, WHOLE, FRESH, then)


def test_what_an_ensemble_calls_is_linked_before_it(claim: Claim) -> None:
    """Whoever is killed in between leaves an ensemble that has its members."""
    names = ("zzz", "bbb", "aaa")
    inner = ensemble("1", "zzz", name="bbb")
    outer = ensemble("1", "bbb", name="aaa")
    claim.events.clear()
    claim.sync(serving(MEMBER, WHOLE, outer, inner, inline("zzz")))

    linked = [each.object for each in claim.events if each.event == "linked"]
    assert [name for name in linked if name in names] == [*names]


NEW_MEMBER = inline("zzz")
NEW_WHOLE = ensemble("2", "zzz")
SWAP = changing(NEW_MEMBER, NEW_WHOLE, old=WHOLE)
SWAPPED = serving(NEW_MEMBER, NEW_WHOLE)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("first", "then"), [((), SWAP), ((SWAP,), SWAPPED)])
def test_a_sync_killed_at_any_moment_leaves_the_ensemble_with_what_it_calls(
    first: tuple[Manifest, ...], then: Manifest, tmp_path: Path
) -> None:
    whole = synced(tmp_path / "whole", serving(MEMBER, WHOLE), *first, then)
    for claim, killed in killed_at_each_change(tmp_path, serving(MEMBER, WHOLE), *first, then=then):
        there = links(claim)
        called = {WHOLE.hash: "member", NEW_WHOLE.hash: "zzz"}[there["whole"]]
        assert called in there, killed
        assert not claim.sync(then).failed
        assert links(claim) == links(whole)
        claim.now = lambda: time.time() + 4000
        claim.sync(then)
        assert claim.paths() == whole.paths(), killed
