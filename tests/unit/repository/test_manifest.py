import json
from dataclasses import replace

import pytest

from triton_operator.repository.manifest import (
    Generation,
    Link,
    Manifest,
    SourceRef,
    VersionContent,
    generation_hash,
)

ONE = VersionContent(1, SourceRef("https://models.example/a.onnx", "0" * 64))
TWO = VersionContent(2, files={"model.py": "# grüße\n"})
RESNET = Generation("resnet", "aa", "name: 'resnet'", {"labels.txt": "cat\n"}, (ONE, TWO))
BERT = Generation("bert", "bb", "")
LINKS = (Link("resnet50", "resnet", "aa"), Link("bert", "bert", "bb"))
MANIFEST = Manifest("server", (RESNET, BERT), LINKS, keep=(("resnet", "99"), ("bert", "98")))


def test_a_manifest_survives_its_json() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST


def test_the_order_of_assembly_does_not_change_value_text_or_digest() -> None:
    shuffled = Manifest(
        "server",
        (BERT, Generation("resnet", "aa", "name: 'resnet'", {"labels.txt": "cat\n"}, (TWO, ONE))),
        LINKS[::-1],
        keep=(("bert", "98"), ("resnet", "99"), ("bert", "98")),
    )
    assert shuffled == MANIFEST
    assert shuffled.to_json() == MANIFEST.to_json()
    assert shuffled.digest() == MANIFEST.digest()


def test_an_ensemble_that_need_not_stand_any_more_is_reason_for_a_job() -> None:
    standing = replace(MANIFEST, standing=(("whole", "9"), ("outer", "8"), ("whole", "9")))

    assert standing.standing == (("outer", "8"), ("whole", "9"))
    assert standing.digest() != MANIFEST.digest() == replace(MANIFEST, keep=()).digest()
    assert Manifest.from_json(standing.to_json()) == standing
    assert "standing" not in MANIFEST.to_json()


def test_unknown_keys_are_ignored() -> None:
    newer = json.dumps(json.loads(MANIFEST.to_json()) | {"colour": "blue"})
    assert Manifest.from_json(newer) == MANIFEST


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '{"server": 1}', '{"server": "s", "links": [{}]}',
     '{"server": "s", "generations": 3}', '{"server": "s", "keep": [["only-one"]]}'],
)  # fmt: skip
def test_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own error is one too
        Manifest.from_json(text)


@pytest.mark.parametrize(
    ("config", "files", "versions"),
    [
        ("other", {}, (ONE,)),
        ("config", {"labels.txt": ""}, (ONE,)),
        ("config", {}, ()),
        ("config", {}, (ONE, TWO)),
        ("config", {}, (VersionContent(2, ONE.source),)),
        ("config", {}, (VersionContent(1, SourceRef("https://models.example/a.onnx")),)),
    ],
)
def test_whatever_triton_would_serve_differently_has_another_hash(config, files, versions) -> None:
    known = generation_hash("config", {}, (ONE,))
    assert len(known) == 16
    assert generation_hash(config, files, versions) != known


def test_the_hash_of_known_content_never_changes() -> None:
    # A different value here would reload every model of every server after an upgrade.
    assert generation_hash("config", {"b": "2", "a": "1"}, (TWO, ONE)) == "cded12709a73cce6"
