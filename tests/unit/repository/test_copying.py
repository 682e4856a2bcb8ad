"""How far the copying of a model is told to be, from what happens to its files."""

from tests.unit.repository.claim import Claim, digest, model, serving, version
from triton_operator.repository.copying import REPORT_SECONDS, Copying
from triton_operator.repository.outcome import Event
from triton_operator.repository.sources import SourceFile


class Told:
    """What is told, and the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[Event] = []
        self.copying = Copying(self.events.append, lambda: self.now)

    def progress(self, uri: str, done: int, total: int | None = None, after: float = 0) -> None:
        self.now += after
        self.copying(Event("progress", "m", uri, done, total))

    def copied(self) -> list[tuple[int | None, int | None]]:
        return [(each.bytes, each.total) for each in self.events if each.event == "copied"]


def files(**sizes: int | None) -> list[SourceFile]:
    return [SourceFile(uri, uri, size) for uri, size in sizes.items()]


def test_the_total_is_told_before_the_first_byte() -> None:
    told = Told()
    told.copying.expect("m", files(a=10, b=20))
    assert told.copied() == [(0, 30)]


def test_a_total_that_only_the_answers_tell_is_told_as_soon_as_all_have() -> None:
    told = Told()
    told.copying.expect("m", files(a=None, b=None))
    told.progress("a", 0, 10)
    assert told.copied() == []
    told.copying(Event("fetched", "m", "a", 10))
    told.progress("b", 0, 20)
    assert told.copied() == [(10, 30)]


def test_what_goes_on_is_told_now_and_then() -> None:
    told = Told()
    told.copying.expect("m", files(a=100))
    told.progress("a", 10, 100)
    told.progress("a", 20, 100, after=REPORT_SECONDS)
    told.progress("a", 30, 100)
    told.progress("a", 5, 100, after=REPORT_SECONDS)  # it began anew
    assert told.copied() == [(0, 100), (20, 100), (5, 100)]
    assert [each.event for each in told.events].count("progress") == 4


def test_what_an_earlier_run_left_counts_from_the_start() -> None:
    told = Told()
    told.copying.expect("m", files(a=100))
    told.now += REPORT_SECONDS
    told.copying(Event("fetching", "m", "a", 60, 100))
    assert told.copied() == [(0, 100), (60, 100)]


def test_the_end_of_the_log_tells_it_even_of_a_crowd_of_small_files() -> None:
    told = Told()
    crowd = {f"file{number}": 1 for number in range(1000)}
    told.copying.expect("m", files(**crowd))
    for uri in crowd:
        told.copying(Event("fetching", "m", uri))
        told.copying(Event("fetched", "m", uri, 1))
        last = told.events[-100:]
        assert len(told.events) < 100 or any(each.event == "copied" for each in last)


def test_what_is_there_already_counts_as_done(claim: Claim) -> None:
    claim.sources.artifacts |= {"pvc://c/f/": {"a": b"aaaa", "b": b"bb"}, "pvc://c/a": b"aaaa"}
    claim.sync(serving(model("first", "config", version(1, "pvc://c/a"))))
    claim.events.clear()
    both = model("m", "c", version(1, "pvc://c/f/"), version(2, "pvc://c/a", digest(b"aaaa")))
    claim.sync(serving(both))
    assert [e.event for e in claim.events if e.object == "m"].count("reused") == 1
    assert not claim.events[0].bytes
