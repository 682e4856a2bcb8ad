import json

import pytest

from triton_operator.repository.artifacts import Artifact
from triton_operator.repository.outcome import (
    Event,
    Failure,
    Outcome,
    SyncOutcome,
    decode_outcome,
    encode_outcome,
    read_events,
)

GONE = Failure("SourceNotFound", "https://models.example/a does not exist: correct the uri")


def test_an_outcome_survives_the_termination_message() -> None:
    text = encode_outcome("abcd", Outcome({"resnet": GONE}))
    assert json.loads(text) == {
        "manifest": "abcd",
        "failed": {"resnet": {"reason": GONE.reason, "message": GONE.message}},
    }
    assert decode_outcome(text) == SyncOutcome("abcd", {"resnet": GONE})
    assert decode_outcome(encode_outcome("abcd", Outcome())) == SyncOutcome("abcd")


@pytest.mark.parametrize("count", [1, 3, 10, 30, 100, 1000])
@pytest.mark.parametrize(
    "message", ["short", "x" * 5000, "ü" * 5000, '"\\\n' * 2000, "\udcff" * 99]
)
def test_an_outcome_always_fits_and_is_always_valid(count: int, message: str) -> None:
    failed = {f"model-{number:04}": Failure("WriteFailed", message) for number in range(count)}
    text = encode_outcome("abcd", Outcome(failed))
    assert len(text.encode()) <= 4096
    outcome = decode_outcome(text)
    assert outcome is not None
    assert len(outcome.failed) + outcome.truncated == count
    assert len(outcome.failed) >= min(count, 20)
    assert all(each.reason == "WriteFailed" for each in outcome.failed.values())


def test_artifacts_are_told_where_they_fit_and_left_out_before_any_failure() -> None:
    one = Artifact(1, "pvc://models/a", "ab" * 32, 12)
    few = Outcome({"bert": GONE}, {"resnet": (one,)})
    assert decode_outcome(encode_outcome("abcd", few)) == SyncOutcome(
        "abcd", {"bert": GONE}, artifacts={"resnet": (one,)}
    )
    many = Outcome({"bert": GONE}, {f"model-{number}": (one,) for number in range(64)})
    text = encode_outcome("abcd", many)
    assert len(text.encode()) <= 4096
    assert decode_outcome(text) == SyncOutcome("abcd", {"bert": GONE}, artifacts=None)


def test_a_claim_that_failed_is_told_with_its_reason() -> None:
    problem = Failure("WriteFailed", "the claim is mounted read-only")
    text = encode_outcome("abcd", Outcome(problem=problem))
    assert decode_outcome(text) == SyncOutcome("abcd", problem=problem)


def test_events_are_read_back_from_a_piece_of_a_log() -> None:
    told = [
        Event("copied", "resnet", bytes=5, total=10),
        Event("fetched", "resnet", "pvc://a", 10, seconds=0.5, sha256="ab"),
        Event("artifact", "resnet", "pvc://a", 10, sha256="ab", version=3),
    ]
    lines = [event.to_json() for event in told]
    cut_off, unknown = lines[0][:-9], '{"event": "exploded", "object": "x"}'
    others = ["Traceback: no JSON", "[]", "null", '{"event": "copied", "bytes": "many"}', unknown]
    newer = '{"event": "done", "flavour": "new"}'
    found = list(read_events("\n".join([cut_off, *lines, *others, newer])))
    assert found == [*told, Event("done")]


@pytest.mark.parametrize(
    "text",
    ["", "Killed", "[]", "{}", "null", '{"manifest":"a"}', '{"manifest":"a","failed":[]}',
     '{"manifest":"a","failed":{"m":{"reason":1,"message":"x"}}}', '{"manifest":1,"failed":{}}',
     '{"manifest":"a","failed":{},"artifacts":{"m":[[1]]}}',
     '{"manifest":"a","failed":{},"problem":1}',
     '{"manifest":"a","failed":{"m":{"reason":"x","mess'],
)  # fmt: skip
def test_anything_else_is_no_outcome(text: str) -> None:
    assert decode_outcome(text) is None


@pytest.mark.parametrize(
    ("reason", "transient"),
    [
        ("SourceUnreachable", True),
        ("InsufficientSpace", True),
        ("WriteFailed", True),
        ("SourceNotFound", False),
        ("SourceRefused", False),
        ("ChecksumMismatch", False),
        ("InvalidSource", False),
    ],
)
def test_only_what_may_heal_is_tried_again(reason: str, transient: bool) -> None:
    failed = {"a": GONE, "b": Failure(reason, "")}
    assert Outcome(failed).transient is transient
    assert Outcome(problem=Failure("WriteFailed", "no")).transient


def test_an_event_is_one_line_without_what_it_does_not_know() -> None:
    assert Event("failed", "m", message="two\nlines").to_json() == (
        '{"event": "failed", "object": "m", "message": "two\\nlines"}'
    )


def test_what_was_mended_is_told_and_takes_little_room() -> None:
    few = Outcome(mended=frozenset({"b", "a"}))
    assert decode_outcome(encode_outcome("abcd", few)) == SyncOutcome("abcd", mended=("a", "b"))
    many = Outcome({"x": GONE}, mended=frozenset(f"model-{number}" for number in range(1000)))
    assert decode_outcome(encode_outcome("abcd", many)) == SyncOutcome(
        "abcd", {"x": GONE}, mended=("*",)
    )


def test_the_revision_that_was_published_is_told() -> None:
    text = encode_outcome("abcd", Outcome({"resnet": GONE}, revision="ef01"))
    assert decode_outcome(text) == SyncOutcome("abcd", {"resnet": GONE}, revision="ef01")
    assert decode_outcome('{"manifest": "a", "failed": {}, "revision": 1}') is None
