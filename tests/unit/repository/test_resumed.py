"""Downloads that break off: what has arrived is kept for as long as a model may want it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.repository.claim import Claim, MemorySources, digest, model, serving, version
from triton_operator.repository import disk
from triton_operator.repository.manifest import SourceRef
from triton_operator.repository.sources import (
    SourceFile,
    SourceNotFoundError,
    SourceUnreachableError,
)

URI, OTHER, NEXT = (f"https://models.example/{name}.onnx" for name in ("big", "other", "next"))
BIG = bytes(range(256)) * (6 << 12)
MODEL = model("big", "config", version(1, URI))
DOWN = SourceUnreachableError("down")


class Flaky(MemorySources):
    """Large files in parts, from a server that breaks off after 5 MiB, or does not answer."""

    listed = breaking = True

    def list_files(self, source: SourceRef) -> tuple[SourceFile, ...]:
        if not self.listed and source.uri != OTHER:
            raise DOWN
        if source.uri not in self.artifacts:
            raise SourceNotFoundError(source.uri)
        size = len(self.artifacts[source.uri])  # type: ignore[arg-type]
        name = source.uri.rpartition("/")[2]
        return (SourceFile(source.uri, name, size, '"v1"', ranges=True),)

    @contextmanager
    def read(self, file: SourceFile, start: int, stop: int | None) -> Iterator[Iterator[bytes]]:
        content = self._read(file)[start:stop]

        def chunks() -> Iterator[bytes]:
            for at in range(0, len(content), 1 << 20):
                if self.breaking and start + at >= 5 << 20:
                    raise DOWN
                self.fetched.append(file.uri)
                yield content[at : at + (1 << 20)]

        yield chunks()


@pytest.fixture
def broken_off(tmp_path: Path) -> Claim:
    """A claim with 5 of 6 MiB of a file."""
    claim = Claim(tmp_path, Flaky({URI: BIG, OTHER: b"small", NEXT: BIG[::-1]}))
    assert claim.sync(serving(MODEL)).failed["big"].transient
    assert downloads(claim)
    return claim


def downloads(claim: Claim) -> list[Path]:
    return list(claim.root.glob(".staging/*/content"))


def finish(claim: Claim) -> int:
    """Fetch the rest; return how many MiB that were."""
    claim.sources.fetched.clear()
    claim.sources.listed, claim.sources.breaking = True, False  # type: ignore[attr-defined]
    assert not claim.sync(serving(MODEL)).failed
    assert claim.blobs() == {digest(BIG)}
    assert not downloads(claim)
    return len(claim.sources.fetched)


def test_a_source_that_does_not_even_list_costs_nothing(broken_off: Claim) -> None:
    broken_off.sources.listed = False  # type: ignore[attr-defined]
    assert broken_off.sync(serving(MODEL)).failed["big"].reason == "SourceUnreachable"
    assert finish(broken_off) < 6


def test_a_model_that_fails_before_costs_nothing(broken_off: Claim) -> None:
    both = model("big", "config", version(1, URI), version(2, "https://models.example/none.onnx"))
    broken_off.sync(serving(both))
    assert finish(broken_off) < 6


def test_a_claim_that_is_full_costs_nothing(
    broken_off: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(disk, "free_bytes", lambda _: 1000)
        assert broken_off.sync(serving(MODEL)).failed["big"].reason == "InsufficientSpace"
    assert finish(broken_off) < 6


def test_what_no_model_wants_any_more_makes_room_for_what_does_not_fit(
    broken_off: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(disk, "free_bytes", lambda _: 1000)
        changed = serving(model("big", "config", version(1, NEXT)))
        assert broken_off.sync(changed).failed["big"].reason == "InsufficientSpace"
    assert not downloads(broken_off)
