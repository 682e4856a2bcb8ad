"""A source that is slow or silent, and what happens to the other models meanwhile."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.unit.repository.claim import Claim, MemorySources, digest, model, serving, version
from triton_operator.repository import disk, materialize, publishing
from triton_operator.repository.manifest import Generation, Link, Manifest, SourceRef
from triton_operator.repository.outcome import Outcome
from triton_operator.repository.sources import SourceFile, SourceUnreachableError

SILENT = "https://models.example/silent.onnx"
URI = "https://models.example/model.onnx"
FOLDER = "pvc://models/folder/"


class SlowSources(MemorySources):
    """Sources of which some say nothing until they are told to."""

    def __init__(self) -> None:
        super().__init__({SILENT: b"at last", URI: b"weights", FOLDER: {"a": b"1", "b": b"2"}})
        self.asked, self.speak = threading.Event(), threading.Event()
        self.silent = {SILENT}
        self.listing = False
        """They do not even say what they have."""

    def _listen(self, uri: str) -> None:
        if uri in self.silent:
            self.asked.set()
            assert self.speak.wait(60)

    def list_files(self, source: SourceRef) -> tuple[SourceFile, ...]:
        if self.listing:
            self._listen(source.uri)
        return super().list_files(source)

    @contextmanager
    def read(self, file: SourceFile, start: int, stop: int | None) -> Iterator[Iterator[bytes]]:
        self._listen(file.uri)
        with super().read(file, start, stop) as chunks:
            yield chunks


@pytest.fixture
def sources(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> SlowSources:
    monkeypatch.setattr(materialize, "_FIRST_LINKS_SECONDS", 0.0)
    claim.sources = SlowSources()
    return claim.sources


@contextmanager
def running(claim: Claim, manifest: Manifest, **options: bool) -> Iterator[Future[Outcome]]:
    """Run a sync whose silent source has been asked; it speaks at the end."""
    sources = claim.sources
    assert isinstance(sources, SlowSources)
    with ThreadPoolExecutor(1) as pool:
        try:
            sync = pool.submit(claim.sync, manifest, **options)
            assert sources.asked.wait(10)
            yield sync
        finally:
            sources.speak.set()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def linked(claim: Claim) -> dict[str, str]:
    """Return the config of every model that Triton finds now."""
    folder = claim.root / "servers/vision"
    return {link.name: (link / "config.pbtxt").read_text() for link in folder.glob("*")}


def told(claim: Claim) -> list[tuple[str, tuple[str, ...] | None]]:
    return [(e.event, e.models) for e in claim.events if e.event in {"waiting", "settled"}]


SLOW = model("aaa", "slow", version(1, SILENT))
INLINE = model("inline", "inline", version(1, model_py="pass"))
QUICK = model("quick", "quick", version(1, URI))
MANY = model("many", "many", version(1, FOLDER))


@pytest.mark.parametrize("listing", [True, False])
def test_a_silent_source_keeps_nobody_waiting_but_its_own_model(
    claim: Claim, sources: SlowSources, listing: bool
) -> None:
    sources.listing = listing
    with running(claim, serving(SLOW, INLINE, QUICK, MANY)) as sync:
        wait_for(lambda: len(linked(claim)) == 3)
        wait_for(lambda: {m for _, models in told(claim)[1:] for m in models or ()} >= {"many"})
        assert linked(claim) == {"inline": "inline", "quick": "quick", "many": "many"}
        assert not sync.done()
    outcome = sync.result()

    assert not outcome.failed
    assert linked(claim)["aaa"] == "slow"
    first, *rest = told(claim)
    assert first[0] == "waiting"
    assert {"aaa"} <= set(first[1] or ()) <= {"aaa", "quick", "many"}
    assert rest[-1] == ("settled", ("aaa",))
    assert set(first[1] or ()) == {name for _, names in rest for name in names or ()}


def test_updates_and_removals_do_not_wait_for_a_silent_source(
    claim: Claim, sources: SlowSources
) -> None:
    old = model("inline", "old", version(1, model_py="old"))
    claim.sync(serving(old, QUICK, MANY))
    claim.events.clear()
    with running(claim, serving(SLOW, INLINE, QUICK)):
        wait_for(lambda: told(claim))
        assert linked(claim) == {"inline": "inline", "quick": "quick"}
        assert told(claim) == [("waiting", ("aaa",))]


def test_which_ones_wait_is_told_again(
    claim: Claim, sources: SlowSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator that starts meanwhile may find the end of the log only."""
    monkeypatch.setattr(publishing, "TELL_SECONDS", 0.05)
    with running(claim, serving(SLOW, INLINE)):
        wait_for(lambda: told(claim)[:3] == [("waiting", ("aaa",))] * 3)
    wait_for(lambda: told(claim)[-1] == ("settled", ("aaa",)))


def test_one_that_fails_goes_on_waiting(claim: Claim, sources: SlowSources) -> None:
    down = model("down", "down", version(1, "https://down/x"))
    sources.artifacts["https://down/x"] = SourceUnreachableError("https://down/x fails")
    with running(claim, serving(SLOW, INLINE, down)) as sync:
        wait_for(lambda: any(each.event == "failed" for each in claim.events))
    assert sync.result().failed.keys() == {"down"}
    assert told(claim)[-1] == ("settled", ("aaa",))
    assert all("down" not in (models or ()) for _, models in told(claim)[1:])


def chain(config: str, *members: str) -> Generation:
    steps = ", ".join(f'{{ model_name: "{member}" }}' for member in members)
    return model("chain", f"# {config}\nensemble_scheduling {{ step [ {steps} ] }}")


def test_an_ensemble_and_its_members_move_together(claim: Claim, sources: SlowSources) -> None:
    members = (model(name, "1", version(1, URI)) for name in ("aaa", "inline", "quick"))
    claim.sync(serving(*members, chain("1", "aaa", "inline")))
    old = linked(claim)
    claim.events.clear()
    second = chain("2", "aaa", "inline")
    with running(claim, serving(SLOW, INLINE, QUICK, second)):
        wait_for(lambda: linked(claim)["quick"] == "quick")
        assert linked(claim) == {**old, "quick": "quick"}
        assert {"aaa", "chain", "inline"} <= set(told(claim)[0][1] or ())
    wait_for(lambda: "slow" in linked(claim).values())
    assert told(claim)[-1] == ("settled", ("aaa", "chain", "inline"))
    assert linked(claim)["chain"] == second.config


def test_what_an_ensemble_calls_stays_until_it_has_changed(
    claim: Claim, sources: SlowSources
) -> None:
    claim.sync(serving(chain("1", "inline"), INLINE))
    moved = chain("2", "aaa")
    with running(claim, serving(SLOW, moved)):
        wait_for(lambda: told(claim))
        assert linked(claim).keys() == {"chain", "inline"}
        assert told(claim) == [("waiting", ("aaa", "chain", "inline"))]
    wait_for(lambda: told(claim)[-1] == ("settled", ("aaa", "chain", "inline")))
    assert linked(claim).keys() == {"aaa", "chain"}


def test_the_first_pods_wait_a_moment_for_what_is_fetched(
    claim: Claim, sources: SlowSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(materialize, "_FIRST_LINKS_SECONDS", 0.3)
    begun = time.monotonic()
    with running(claim, serving(SLOW, INLINE, QUICK)):
        wait_for((claim.root / "servers/vision").exists)
        assert time.monotonic() - begun >= 0.3
        assert linked(claim).keys() == {"inline", "quick"}


def test_a_new_servers_pods_wait_for_the_first_model_that_can_be_had(
    claim: Claim, sources: SlowSources
) -> None:
    with running(claim, serving(SLOW)):
        time.sleep(0.1)
        assert not (claim.root / "servers/vision").exists()
        assert told(claim) == []
    wait_for(lambda: linked(claim) == {"aaa": "slow"})


def test_a_revision_is_published_whole_or_not_at_all(claim: Claim, sources: SlowSources) -> None:
    with running(claim, replace(serving(SLOW, INLINE), immutable=True)) as sync:
        time.sleep(0.1)
        assert not (claim.root / "revisions").exists()
        assert told(claim) == []
    found = claim.root / "revisions/vision" / sync.result().revision
    assert {link.name for link in found.iterdir()} == {"aaa", "inline"}


def test_a_repair_keeps_nobody_waiting_for_a_source_that_it_asks(
    claim: Claim, sources: SlowSources
) -> None:
    sources.speak.set()
    claim.sync(serving(SLOW, INLINE))
    (claim.root / "servers/vision/inline/config.pbtxt").write_text("edited")
    sources.speak.clear()
    sources.asked.clear()
    claim.events.clear()
    sources.listing = True
    with running(claim, serving(SLOW, INLINE), repair=True) as sync:
        wait_for(lambda: told(claim))
        assert linked(claim) == {"aaa": "slow", "inline": "inline"}
        assert told(claim) == [("waiting", ())]
    assert sync.result().mended == {"inline"}


def test_models_that_want_one_content_fetch_it_once(claim: Claim, sources: SlowSources) -> None:
    twins = [model(f"twin-{n}", str(n), version(1, SILENT)) for n in range(5)]
    with running(claim, serving(*twins)) as sync:
        time.sleep(0.05)
    assert not sync.result().failed
    assert sources.fetched == [SILENT]


def test_space_that_one_download_will_take_is_not_given_to_another(
    claim: Claim, sources: SlowSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = "pvc://models/big/"
    sources.artifacts[big] = {"x": b"12345678"}
    sources.artifacts[FOLDER] = {"y": b"1234"}
    sources.silent = {f"{big}x"}
    monkeypatch.setattr(disk, "free_bytes", lambda _: 10)
    manifest = serving(model("big", "", version(1, big)), INLINE)
    with running(claim, manifest) as sync:
        # Another model of the same run would come now: 2 of 10 bytes are free for it.
        wait_for(lambda: told(claim))
    assert not sync.result().failed

    sources.asked.clear()
    sources.speak.clear()
    sources.artifacts[big] = {"x": b"87654321"}
    both = serving(model("big", "2", version(1, big)), model("many", "", version(1, FOLDER)))
    sources.silent |= {f"{FOLDER}y"}
    with running(claim, both) as sync:
        wait_for(lambda: any(each.event == "failed" for each in claim.events))
    (failure,) = sync.result().failed.values()
    assert failure.reason == "InsufficientSpace"
    assert " are needed, " in failure.message


def test_a_generation_that_another_run_takes_away_is_built_again(
    claim: Claim, sources: SlowSources
) -> None:
    """Between its build and its link, as long as another model is still fetched."""
    with running(claim, serving(SLOW, INLINE)):
        wait_for(lambda: told(claim))
        generation = claim.root / f"generations/inline/{INLINE.hash}"
        os.rename(generation, claim.root / "taken")
    wait_for(lambda: linked(claim).get("inline") == "inline")


def test_links_without_a_listed_generation_do_not_wait(claim: Claim, sources: SlowSources) -> None:
    claim.sync(serving(INLINE, QUICK))
    claim.events.clear()
    links = (Link("quick", "quick", QUICK.hash), Link("aaa", "aaa", SLOW.hash))
    with running(claim, Manifest("vision", (SLOW,), links)):
        wait_for(lambda: told(claim))
        assert linked(claim).keys() == {"quick"}
    assert digest(b"weights") in claim.blobs()
