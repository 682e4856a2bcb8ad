import json

import pytest

from triton_operator.repository.outcome import (
    Event,
    Failure,
    Outcome,
    SyncOutcome,
    decode_outcome,
    encode_outcome,
)

GONE = Failure("SourceNotFound", "https://models.example/a does not exist: correct the uri")


def test_an_outcome_survives_the_termination_message() -> None:
    text = encode_outcome("abcd", {"resnet": GONE})
    assert json.loads(text) == {
        "manifest": "abcd",
        "failed": {"resnet": {"reason": GONE.reason, "message": GONE.message}},
    }
    assert decode_outcome(text) == SyncOutcome("abcd", {"resnet": GONE})
    assert decode_outcome(encode_outcome("abcd", {})) == SyncOutcome("abcd")


@pytest.mark.parametrize("count", [1, 3, 10, 30, 100, 1000])
@pytest.mark.parametrize(
    "message", ["short", "x" * 5000, "ü" * 5000, '"\\\n' * 2000, "\udcff" * 99]
)
def test_an_outcome_always_fits_and_is_always_valid(count: int, message: str) -> None:
    failed = {f"model-{number:04}": Failure("WriteFailed", message) for number in range(count)}
    text = encode_outcome("abcd", failed)
    assert len(text.encode()) <= 4096
    outcome = decode_outcome(text)
    assert outcome is not None
    assert len(outcome.failed) + outcome.truncated == count
    assert len(outcome.failed) >= min(count, 20)
    assert all(each.reason == "WriteFailed" for each in outcome.failed.values())


@pytest.mark.parametrize(
    "text",
    ["", "Killed", "[]", "{}", "null", '{"manifest":"a"}', '{"manifest":"a","failed":[]}',
     '{"manifest":"a","failed":{"m":{"reason":1,"message":"x"}}}', '{"manifest":1,"failed":{}}',
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
    assert Outcome(problem="WriteFailed: no").transient


def test_an_event_is_one_line_without_what_it_does_not_know() -> None:
    assert Event("failed", "m", message="two\nlines").to_json() == (
        '{"event": "failed", "object": "m", "message": "two\\nlines"}'
    )
