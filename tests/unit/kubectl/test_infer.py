"""Requests and answers in the protocol's binary form, and what is printed of them."""

import json
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import serialize_byte_tensor

from triton_operator.kubectl.connection import Answer
from triton_operator.kubectl.errors import PluginError
from triton_operator.kubectl.infer import build_body, read_answer, tell
from triton_operator.kubectl.signature import Signature, Tensor

SIGNATURE = Signature(
    inputs=(Tensor("X", "FP32", (-1, 2)), Tensor("TEXT", "BYTES", (-1, 1))),
    outputs=(Tensor("Y", "FP32", (-1, 2)), Tensor("CLASS", "FP32", (-1, 9), labelled=True)),
    batches=True,
    sequences=False,
)
ARRAYS = {
    "X": np.array([[1, 2]], np.float32),
    "TEXT": np.array([[b"hello"]], np.object_),
}


def header(body: bytes, length: int | None) -> Any:
    return json.loads(body[:length])


def answer(**outputs: tuple[str, "np.ndarray[Any, Any]"]) -> Answer:
    """Return an answer of Triton in the binary form."""
    described, binary = [], b""
    for name, (datatype, array) in outputs.items():
        text = datatype == "BYTES"
        data = serialize_byte_tensor(array).item() if text else array.tobytes()
        parameters = {"binary_data_size": len(data)}
        described.append(
            {
                "name": name,
                "datatype": datatype,
                "shape": list(array.shape),
                "parameters": parameters,
            }
        )
        binary += data
    head = json.dumps({"model_name": "m", "outputs": described}).encode()
    return Answer(200, {"inference-header-content-length": str(len(head))}, head + binary)


def test_a_request_holds_the_inputs_and_asks_for_classes():
    body, length = build_body(SIGNATURE, ARRAYS)

    said = header(body, length)
    assert [(each["name"], each["datatype"], each["shape"]) for each in said["inputs"]] == [
        ("X", "FP32", [1, 2]),
        ("TEXT", "BYTES", [1, 1]),
    ]
    assert np.frombuffer(body[length : (length or 0) + 8], np.float32).tolist() == [1, 2]
    plain, labelled = said["outputs"]
    assert "classification" not in plain["parameters"]
    assert labelled["parameters"]["classification"] == 5


def test_a_sequence_begins_and_ends_with_its_one_request():
    sequences = Signature(SIGNATURE.inputs, SIGNATURE.outputs, batches=True, sequences=True)

    parameters = header(*build_body(sequences, ARRAYS))["parameters"]

    assert parameters["sequence_id"] > 0
    assert parameters["sequence_start"]
    assert parameters["sequence_end"]


def test_an_answer_in_the_order_of_the_metadata():
    classes = np.array([[b"0.9:1:dog", b"0.1:0:cat"]], np.object_)
    results = read_answer(
        SIGNATURE,
        answer(CLASS=("BYTES", classes), Y=("FP32", np.array([[3, 4]], np.float32))),
    )

    assert list(results) == ["Y", "CLASS"]
    assert tell(ARRAYS, SIGNATURE, results, [12.34]) == (
        "→ X  FP32 [1, 2]  1 2\n"
        "→ TEXT  BYTES [1, 1]  'hello'\n"
        "← Y  FP32 [1, 2]  3 4\n"
        "← CLASS\n"
        "    0.9  1  dog\n"
        "    0.1  0  cat\n"
        "12.3 ms, through the API server"
    )


def test_scores_without_labels_are_ranked():
    scores = np.linspace(0, 1, 11, dtype=np.float32).reshape(1, 11)
    signature = Signature((), (Tensor("Y", "FP32", (-1, 11)),), batches=True, sequences=False)

    text = tell({}, signature, {"Y": ("FP32", scores)}, [3.0, 1.0, 2.0])

    assert text.splitlines() == [
        "← Y  FP32 [1, 11]  0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 …",
        "    1  10",
        "    0.9  9",
        "    0.8  8",
        "    0.7  7",
        "    0.6  6",
        "3 requests, one after the other through the API server: median 2.0 ms, 1.0 to 3.0 ms",
    ]


@pytest.mark.parametrize("body", [b"", b"no JSON", b"{}", b'{"outputs": 1}'])
def test_an_answer_that_is_none(body: bytes):
    with pytest.raises(PluginError, match="the answer cannot be read"):
        read_answer(SIGNATURE, Answer(200, {}, body))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error": "no version 9"}', "no version 9"),
        (b'{"kind": "Status", "message": "pods is forbidden"}', "pods is forbidden"),
        (b"<html>", "<html>"),
        (b"", "HTTP 502"),
    ],
)
def test_what_a_refusal_says(body: bytes, error: str):
    refusal = Answer(502, {}, body)

    assert not refusal.ok
    assert refusal.error == error
