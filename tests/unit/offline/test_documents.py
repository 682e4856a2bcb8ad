"""Manifests are read as kubectl reads them, and every field is found again in its line."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from triton_operator.offline.documents import Document, UnreadableError, read_documents
from triton_operator.offline.dump import dump

TEXT = """\
# a comment
kind: TritonModel
metadata: {name: a}
spec:
  files:
    a.b/c.py: |
      first
    a: x
  versions:
    - version: 1
      source:
        uri: u
    - {version: 2, files: {m: n}}
  configText: |
    backend: "python"

    max_batch_size: 8
"""


def read(text: str) -> Document:
    (document,) = read_documents("file.yaml", text)
    return document


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("", 2),
        ("metadata.name", 3),
        ("spec.files.a.b/c.py", 6),
        ("spec.files.a", 8),
        ("spec.versions[0].source.uri", 12),
        ("spec.versions[1].files.m", 13),
        ("spec.versions[1].source.uri", 13),
        ("spec.versions[7].version", 9),
        ("spec.config.input[0].dims", 4),
    ],
)
def test_a_field_is_found_in_its_line_and_a_missing_one_where_it_belongs(path, line):
    assert read(TEXT).place(path).line == line


def test_a_line_of_a_text_is_found_in_the_file():
    assert read(TEXT).text_place("spec.configText", 3).line == 17


def test_columns_count_from_one():
    assert read(TEXT).place("spec.versions[1].files.m") == (13, 28)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-01-31", "2024-01-31"),
        ("1e3", 1000.0),
        ("0o17", 15),
        ("=", "="),
        ("yes", True),
        ("'yes'", "yes"),
        ("~", None),
    ],
)
def test_values_are_those_of_kubectl(text, value):
    assert read(f"a: {text}").body == {"a": value}


def test_keys_are_text():
    assert read("1: a\ntrue: b").body == {"1": "a", "true": "b"}


def test_merge_keys_and_aliases_are_followed():
    document = read("base: &b {x: 1, y: 2}\nspec:\n  <<: *b\n  y: 3\n")

    assert document.body["spec"] == {"x": 1, "y": 3}
    assert document.repeated == ()
    assert document.place("spec.x").line == 1


def test_a_key_that_is_given_twice_is_noticed():
    document = read("spec:\n  a: 1\n  b: 2\n  a: 3\n")

    assert document.repeated == ("spec.a",)
    assert document.place("spec.a").line == 4


def test_the_items_of_a_list_are_documents():
    text = "kind: List\nitems:\n- kind: A\n  x: 1\n  x: 2\n- {kind: BList, items: [{kind: B}]}\n"

    documents = read_documents("f", text)

    assert [each.kind for each in documents] == ["A", "B"]
    assert documents[0].repeated == ("x",)
    assert documents[0].place("x").line == 5


def test_empty_documents_are_none():
    assert read_documents("f", "---\n---\n# nothing\n") == ()


def test_json_may_be_indented_with_tabs():
    text = json.dumps({"kind": "A", "spec": {"a": "b\tc"}}, indent="\t")

    assert read(text).body == {"kind": "A", "spec": {"a": "b\tc"}}
    assert read(text).place("spec.a").line == 4


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: b\nc: [1\n", 3, "expected"),
        ("a: b\n--- \n- c\n", 3, "is no object"),
        ("a: b\n\n{{ if }}: x\n", 3, ""),
        ("a: &a {b: *a}", 1, "alias"),
        (LAUGHS, 1, "alias"),
        ("a: !Ref x", 1, "tag"),
        ("? [a]\n: b", 1, "key"),
        ("a: " + "[" * 5000, 1, ""),
        ("a: \x01", 1, ""),
    ],
)
def test_what_is_no_manifest_is_refused_with_its_line(text, line, words):
    with pytest.raises(UnreadableError) as caught:
        read_documents("file.yaml", text)

    assert caught.value.file == "file.yaml"
    assert caught.value.line == line or not words
    assert words in caught.value.message


SPECIAL = " \t\n\na#:-'\"|>y1e.\u2028\x85\ufeffé\x00\r=~%@`{["
TEXTS = st.text(st.sampled_from(SPECIAL), max_size=12) | st.text(
    st.characters(exclude_categories=("Cs",)), max_size=6
)
VALUES = TEXTS | st.integers(-5, 2**63 - 1) | st.floats(allow_nan=False) | st.booleans()


@given(st.dictionaries(TEXTS, VALUES | st.lists(VALUES, max_size=2), max_size=3))
def test_what_is_written_is_read_back(body):
    body = {"kind": "A"} | body

    assert read(dump(body, comments=["a\nb", "\x85\u2028kind: B"])).body == body


@pytest.mark.parametrize("text", ["1e3", "y", "N", "on", "1.5", "0o17", "2024-01-31", "1:30"])
def test_texts_that_look_like_something_else_are_quoted(text):
    assert dump({text: text}) == f"---\n'{text}': '{text}'\n"


def test_programs_are_written_as_blocks():
    text = "def f():  \n\treturn 1\n   \n"

    assert dump({"model.py": text}).startswith("---\nmodel.py: |\n")
    assert yaml.safe_load(dump({"model.py": text})) == {"model.py": text}
