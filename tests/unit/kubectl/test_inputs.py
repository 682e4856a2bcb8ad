"""What ``kubectl triton infer`` sends: arrays that fit the model, or a word on why not."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tritonclient.utils import triton_to_np_dtype

from triton_operator.kubectl.arrays import build_array, choose_shape, find_top, fits, make_random
from triton_operator.kubectl.errors import PluginError, UnusableError
from triton_operator.kubectl.pictures import arrange, find_layout, read_picture
from triton_operator.kubectl.request import build_inputs
from triton_operator.kubectl.scaling import Scaling
from triton_operator.kubectl.signature import Signature, Tensor, parse_signature

NUMBERS = [f"{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)]
DATATYPES = ["BOOL", *NUMBERS, "FP16", "BF16", "FP32", "FP64", "BYTES"]
SCORES = Tensor("SCORES", "FP32", (-1, 4))


def inputs(signature: Signature, *given: str, data: str = "", **more: Any) -> dict[str, Any]:
    options = {"shapes": (), "scaling": Scaling.UNIT, "seed": 1} | more
    return build_inputs(signature, given, data, **options)


def takes(*tensors: Tensor, batches: bool = True) -> Signature:
    return Signature(tensors, (), batches=batches, sequences=False)


def test_the_metadata_of_a_model():
    metadata = {
        "name": "m",
        "inputs": [{"name": "IMAGE", "datatype": "FP32", "shape": ["-1", "3", "224", "224"]}],
        "outputs": [{"name": "SCORES", "datatype": "FP32", "shape": [-1, 1000]}],
    }
    config = {
        "max_batch_size": 8,
        "input": [{"name": "IMAGE", "format": "FORMAT_NCHW", "optional": True}],
        "output": [{"name": "SCORES", "label_filename": "labels.txt"}],
        "sequence_batching": {},
    }

    assert parse_signature(metadata, config) == Signature(
        inputs=(Tensor("IMAGE", "FP32", (-1, 3, 224, 224), "NCHW", optional=True),),
        outputs=(Tensor("SCORES", "FP32", (-1, 1000), labelled=True),),
        batches=True,
        sequences=True,
    )


def test_metadata_that_is_none():
    with pytest.raises(ValueError, match="cannot read the model's metadata"):
        parse_signature({"inputs": [{"datatype": "FP32"}]}, {})


@pytest.mark.parametrize("datatype", DATATYPES)
@given(shape=st.lists(st.integers(0, 4), max_size=3), seed=st.integers(0, 9))
def test_random_values_have_type_and_shape(datatype: str, shape: list[int], seed: int):
    array = make_random(Tensor("X", datatype, ()), shape, np.random.default_rng(seed))

    assert array.dtype == np.dtype(triton_to_np_dtype(datatype))
    assert list(array.shape) == shape
    if datatype == "BYTES":
        assert all(isinstance(each, bytes) for each in array.flat)
    else:
        assert all(0 <= each <= 255 for each in array.flat)


def test_random_values_are_the_same_for_the_same_seed():
    signature = takes(Tensor("X", "FP32", (-1, 8)))

    assert np.array_equal(inputs(signature, seed=3)["X"], inputs(signature, seed=3)["X"])
    assert not np.array_equal(inputs(signature, seed=3)["X"], inputs(signature, seed=4)["X"])


@pytest.mark.parametrize(
    ("given_shape", "batch", "shape"),
    [(None, 1, [1, 3, 1]), ([3, 480], 1, [1, 3, 480]), ([2, 3, 480], 1, [2, 3, 480])],
)
def test_shapes_of_random_values(given_shape: list[int] | None, batch: int, shape: list[int]):
    assert choose_shape(Tensor("X", "FP32", (-1, 3, -1)), given_shape, batch=batch) == shape


def test_a_shape_that_does_not_fit():
    with pytest.raises(ValueError, match=r"X: \[1, 4, 480\] does not fit \[-1, 3, -1\]"):
        choose_shape(Tensor("X", "FP32", (-1, 3, -1)), [4, 480], batch=1)


@pytest.mark.parametrize(
    ("value", "shape", "batches", "expected"),
    [
        (7, (-1, 2), True, [[7, 7]]),
        ([1, 2], (-1, 2), True, [[1, 2]]),
        ([[1, 2], [3, 4]], (-1, 2), True, [[1, 2], [3, 4]]),
        ([1, 2, 3, 4], (-1, 2), True, [[1, 2], [3, 4]]),
        ([1, 2, 3, 4], (2, 2), False, [[1, 2], [3, 4]]),
        ([1, 2, 3], (-1,), False, [1, 2, 3]),
        ([[[1], [2]]], (-1, -1, 1), True, [[[1], [2]]]),
        ([1, 2], (-1, -1, 1), True, [[[1], [2]]]),
    ],
)
def test_values_take_the_shape_of_the_model(
    value: Any, shape: tuple[int, ...], batches: bool, expected: Any
):
    array = build_array(Tensor("X", "INT32", shape), value, batches=batches)

    assert array.dtype == np.int32
    assert array.tolist() == expected
    assert fits(array.shape, shape)


@pytest.mark.parametrize(
    ("datatype", "value", "message"),
    [
        ("FP32", [1, 2, 3], r"X: values of the shape \[3\] do not fit \[-1, 2\]"),
        ("FP32", [[1, 2], [3]], "X: .*inhomogeneous"),
        ("FP32", ["a", "b"], "X: "),
        ("UINT8", [1, 256], "X: "),
        ("UINT8", [1, -1], "X: "),
        ("INT32", [1.5, 2], "X: INT32 cannot hold these values"),
        ("FP99", [1, 2], "X: the type FP99 is not known"),
    ],
)
def test_values_that_do_not_fit(datatype: str, value: Any, message: str):
    with pytest.raises(ValueError, match=message):
        build_array(Tensor("X", datatype, (-1, 2)), value, batches=True)


def test_texts_are_utf8():
    array = build_array(Tensor("X", "BYTES", (-1, 2)), ["ä", "b"], batches=True)

    assert array.tolist() == [["ä".encode(), b"b"]]


def test_the_highest_scores():
    scores = np.array([[0.1, 0.9, 0.2, 0.3, 0.4, 0.5, 0.0]], np.float32)

    assert [index for index, _ in find_top(scores)] == [1, 5, 4, 3, 2]
    assert find_top(scores.astype(np.int32)) == []
    assert find_top(np.zeros((2, 7), np.float32)) == []


# ---- what the user writes ---------------------------------------------------------------------


def test_one_input_needs_no_name():
    assert inputs(takes(SCORES), "[1, 2, 3, 4]")["SCORES"].tolist() == [[1, 2, 3, 4]]
    text = takes(Tensor("TEXT", "BYTES", (-1, 1)))
    assert inputs(text, "what is 1 + 1 = ?")["TEXT"].tolist() == [[b"what is 1 + 1 = ?"]]
    assert inputs(text, "42")["TEXT"].tolist() == [[b"42"]]


def test_what_is_not_given_is_random_and_of_the_same_batch():
    signature = takes(SCORES, Tensor("OTHER", "FP32", (-1, 2)))

    found = inputs(signature, "SCORES=[[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]]")

    assert found["OTHER"].shape == (3, 2)


def test_optional_inputs_are_sent_when_asked_for():
    signature = takes(SCORES, Tensor("MORE", "FP32", (-1, 2), optional=True))

    assert set(inputs(signature)) == {"SCORES"}
    assert set(inputs(signature, "MORE=random")) == {"SCORES", "MORE"}
    assert set(inputs(signature, "MORE=3")) == {"SCORES", "MORE"}


def test_all_inputs_at_once():
    signature = takes(SCORES, Tensor("OTHER", "FP32", (-1, 2)))

    found = inputs(signature, data='{"SCORES": [1, 2, 3, 4], "OTHER": 5}')

    assert found["OTHER"].tolist() == [[5, 5]]


def test_files(tmp_path: Path):
    (tmp_path / "values.json").write_text("[1, 2, 3, 4]")
    (tmp_path / "all.json").write_text('{"SCORES": 5}')

    assert inputs(takes(SCORES), f"SCORES=@{tmp_path}/values.json")["SCORES"].sum() == 10
    assert inputs(takes(SCORES), data=f"@{tmp_path}/all.json")["SCORES"].sum() == 20


@pytest.mark.parametrize(
    ("given_inputs", "more", "message"),
    [
        (["OTHER=1"], {}, "the model has no input OTHER: its inputs are SCORES"),
        (["SCORES=many"], {}, "--input SCORES=many: neither JSON nor @FILE nor random"),
        (["@/nonexistent.json"], {}, "/nonexistent.json: No such file"),
        (["@/nonexistent.png"], {}, "SCORES takes FP32 .*, which is no picture"),
        ([], {"data": "[1]"}, "--data is a JSON object"),
        ([], {"data": "{"}, "--data is no JSON"),
        ([], {"shapes": ["SCORES=a"]}, "--shape SCORES=a: write it as"),
        ([], {"shapes": ["SCORES=5"]}, r"SCORES: \[1, 5\] does not fit"),
    ],
)
def test_what_cannot_be_used_is_told(given_inputs: list[str], more: Any, message: str):
    with pytest.raises(UnusableError, match=message):
        inputs(takes(SCORES), *given_inputs, **more)


def test_several_inputs_need_names():
    signature = takes(SCORES, Tensor("OTHER", "FP32", (-1, 2)))

    with pytest.raises(UnusableError, match=r"say for which input, as NAME=…: .* SCORES, OTHER"):
        inputs(signature, "5")


# ---- pictures ---------------------------------------------------------------------------------


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture of 8 by 4 pixels, red on its left and blue on its right half."""
    image = Image.new("RGB", (8, 4), (255, 0, 0))
    image.paste((0, 0, 255), (4, 0, 8, 4))
    image.save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def read(tensor: Tensor, path: Path, scaling: Scaling = Scaling.UNIT) -> Any:
    return read_picture(tensor, path, batches=True, scaling=scaling)


@pytest.mark.parametrize(
    ("dims", "layout", "expected"),
    [
        ((3, 224, 200), "", ("NCHW", (3, 224, 200))),
        ((224, 200, 3), "", ("NHWC", (3, 224, 200))),
        ((1, 28, 28), "", ("NCHW", (1, 28, 28))),
        ((3, 224, 3), "NHWC", ("NHWC", (3, 3, 224))),
        ((1, 3, -1, -1), "", ("NCHW", (3, -1, -1))),
    ],
)
def test_where_the_channels_are(dims: tuple[int, ...], layout: Any, expected: Any):
    assert find_layout(Tensor("X", "FP32", (), layout), dims) == expected


def test_a_picture_is_resized_and_laid_out(picture: Path):
    first = read(Tensor("X", "FP32", (-1, 3, 2, 4)), picture)
    last = read(Tensor("X", "UINT8", (-1, 2, 4, 3)), picture)

    assert (first.shape, first.dtype) == ((1, 3, 2, 4), np.float32)
    assert first[0, :, 0, 0].tolist() == [1, 0, 0]
    assert (last.shape, last.dtype) == ((1, 2, 4, 3), np.uint8)
    assert last[0, 0, -1].tolist() == [0, 0, 255]


def test_a_picture_keeps_its_size_where_any_will_do(picture: Path):
    assert read(Tensor("X", "FP32", (-1, 3, -1, -1)), picture).shape == (1, 3, 4, 8)


def test_scalings():
    pixels = np.full((1, 1, 3), 255, np.uint8)

    def scaled(scaling: Scaling) -> list[float]:
        return arrange(pixels, "NHWC", "FP32", scaling).reshape(-1).tolist()

    assert scaled(Scaling.UNIT) == [1, 1, 1]
    assert scaled(Scaling.NONE) == [255, 255, 255]
    assert scaled(Scaling.IMAGENET) == pytest.approx([2.2489, 2.4286, 2.64], abs=1e-3)


def test_a_model_that_decodes_pictures_gets_them_as_they_are(picture: Path):
    data = picture.read_bytes()

    assert read(Tensor("X", "BYTES", (-1, 1)), picture).tolist() == [[data]]
    assert read(Tensor("X", "UINT8", (-1, -1)), picture).tobytes() == data


def test_a_file_that_is_no_picture(tmp_path: Path):
    (tmp_path / "x.png").write_text("no picture")

    with pytest.raises(UnusableError, match="is no picture that Pillow can read"):
        read(Tensor("X", "UINT8", (-1, 2, 4, 3)), tmp_path / "x.png")


def test_without_the_library_for_pictures(picture: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "PIL", None)

    with pytest.raises(PluginError, match=r"pip install 'triton-operator\[plugin\]'") as refusal:
        read(Tensor("X", "UINT8", (-1, 2, 4, 3)), picture)
    assert refusal.value.exit_code == 1


def test_json_of_any_shape_is_told_or_taken():
    for text in ("null", "true", "[[]]", '{"a": 1}', "[null]", "1e400"):
        try:
            array = inputs(takes(SCORES), text)["SCORES"]
        except UnusableError:
            continue
        assert fits(array.shape, SCORES.shape), json.loads(text)
