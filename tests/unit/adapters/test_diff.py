"""Whether a live object holds what a manifest says."""

from typing import Any

import pytest

from tests.unit.desired.servers import CASES
from triton_operator.adapters.diff import covers, digest, owner_uid


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({"a": 1, "theirs": 2}, {"a": 1}),
        ({"spec": {"x": [{"name": "a", "default": True}]}}, {"spec": {"x": [{"name": "a"}]}}),
        ({"memory": "1Gi"}, {"memory": "1024Mi"}),
        ({"cpu": "1"}, {"cpu": "1000m"}),
        ({"cpu": "1"}, {"cpu": 1}),
        ({"gpu": "1"}, {"gpu": "1.0"}),
        ({}, {"replicas": 0}),
        ({}, {"headless": False, "text": "", "none": None, "list": []}),
        ({"list": None}, {"list": []}),
        ({"emptyDir": {}}, {"emptyDir": {}}),
        ({}, {"emptyDir": {}}),
    ],
)
def test_what_others_added_or_wrote_in_their_way_does_not_matter(live: Any, wanted: Any) -> None:
    assert covers(live, wanted)


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({}, {"a": 1}),
        ({"a": 2}, {"a": 1}),
        ({"a": "1Gi"}, {"a": "2Gi"}),
        ({"a": None}, {"a": {"b": 1}}),
        ({"a": "text"}, {"a": {"b": 1}}),
        ({"a": [1, 2]}, {"a": [1]}),
        ({"a": [1]}, {"a": [1, 2]}),
        ({"a": {"0": 1}}, {"a": [1]}),
        ({"a": [2, 1]}, {"a": [1, 2]}),
        ({"a": [1]}, {"a": []}),
        ({"replicas": 3}, {"replicas": 0}),
        ({"a": True}, {"a": False}),
        ({"a": "x"}, {"a": ""}),
        ({"a": None}, {"a": "None"}),
    ],
)
def test_what_differs_is_seen(live: Any, wanted: Any) -> None:
    assert not covers(live, wanted)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name[:30])
def test_every_object_covers_itself_and_no_other(case: Any) -> None:
    objects = case.objects()
    for i, wanted in enumerate(objects):
        for j, live in enumerate(objects):
            assert covers(live, wanted) is (i == j)


def test_the_digest_depends_on_content_and_not_on_order() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_the_owner_is_the_one_that_controls() -> None:
    watching = {"uid": "1"}
    owning = {"uid": "2", "controller": True}

    assert owner_uid({"metadata": {"ownerReferences": [watching, owning]}}) == "2"
    assert owner_uid({"metadata": {"ownerReferences": [watching]}}) is None
    assert owner_uid({"metadata": {}}) is None
