"""The Python that the samples carry inline, run without a server."""

import ast
from typing import Any

import numpy as np
import pytest

from tests.unit.samples.python_models import answer, model, photo
from tests.unit.samples.sample_files import FORMS, inline_code

SOURCES = [
    pytest.param(version.files["model.py"], id=f"{form.id}-{name}")
    for form in FORMS
    for name, model in form.models.items()
    for version in model.spec.versions
    if "model.py" in version.files
]


@pytest.mark.parametrize("source", SOURCES)
def test_inline_python_parses_and_has_the_class_that_triton_looks_for(source: str) -> None:
    tree = ast.parse(source)
    assert ast.get_docstring(tree)
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    assert classes == ["TritonPythonModel"]


def test_both_forms_find_boxes_with_the_same_code() -> None:
    assert inline_code("pcb-pipeline", "cpu", "postprocessing") == inline_code(
        "pcb-pipeline", "gpu", "postprocessing"
    )


def padded_photos() -> Any:
    """Two photographs in one batch, the shorter one padded with zeros as clients must."""
    photos = [photo("landscape.jpg"), photo("board.jpg")]
    longest = max(map(len, photos))
    return np.stack([np.pad(each, (0, longest - len(each))) for each in photos])


@pytest.mark.parametrize("form", ["cpu", "gpu"])
def test_padding_changes_nothing_in_a_preprocessed_image(form: str) -> None:
    preprocessor = model("image-classifier", form, "preprocessor")

    alone = answer(preprocessor, RAW_IMAGE=photo("landscape.jpg")[None])
    batch = answer(preprocessor, RAW_IMAGE=padded_photos())

    images = batch.tensors["PREPROCESSED_IMAGE"]
    assert (images.shape, images.dtype) == ((2, 3, 224, 224), np.float32)
    assert np.array_equal(images[0], alone.tensors["PREPROCESSED_IMAGE"][0])


@pytest.mark.parametrize("form", ["cpu", "gpu"])
@pytest.mark.parametrize(
    ("sample", "name", "tensor"),
    [("image-classifier", "preprocessor", "RAW_IMAGE"), ("pcb-pipeline", "preprocessing", "IMAGE")],
)
def test_what_is_no_image_fails_that_request_only(
    form: str, sample: str, name: str, tensor: str
) -> None:
    code = model(sample, form, name)
    requests = [{tensor: np.zeros((1, 64), np.uint8)}, {tensor: photo("board.jpg")[None]}]

    bad, good = code["TritonPythonModel"]().execute(requests)

    assert name in bad.error
    assert good.error is None


@pytest.mark.parametrize("form", ["cpu", "gpu"])
def test_a_photo_is_fitted_into_the_detectors_square(form: str) -> None:
    preprocessing = model("pcb-pipeline", form, "preprocessing")

    tensors = answer(preprocessing, IMAGE=photo("board.jpg")[None]).tensors

    assert tensors["images"].shape == (1, 3, 640, 640)
    assert 0 <= tensors["images"].min() <= tensors["images"].max() <= 1
    # 800 x 560 becomes 640 x 448, with 96 rows of grey above and below.
    assert np.allclose(tensors["placement"], [[0.8, 0, 96]])


def candidates(*rows: tuple[float, ...]) -> Any:
    """An output of the detector: x, y, width, height, objectness, score of class 3."""
    table = np.zeros((1, 25200, 85), np.float32)
    for place, (x, y, width, height, objectness, score) in zip(table[0], rows, strict=False):
        place[:5] = x, y, width, height, objectness
        place[5 + 3] = score
    return table


def test_boxes_are_in_pixels_of_the_photo_and_overlapping_ones_are_dropped() -> None:
    postprocessing = model("pcb-pipeline", "cpu", "postprocessing")
    found = candidates(
        (320, 320, 80, 40, 0.9, 1.0),
        (324, 320, 80, 40, 0.8, 1.0),  # the same thing again
        (100, 200, 16, 16, 0.5, 1.0),
        (500, 500, 16, 16, 0.2, 1.0),  # too unlikely
    )

    boxes = answer(postprocessing, output=found, placement=np.array([[0.8, 0, 96]]))

    expected = [[350, 255, 450, 305, 0.9, 3], [115, 120, 135, 140, 0.5, 3]]
    assert np.allclose(boxes.tensors["BOXES"], [expected])


def test_the_number_of_boxes_is_bounded_and_a_batch_has_one_shape() -> None:
    postprocessing = model("pcb-pipeline", "cpu", "postprocessing")
    many = candidates(*((x * 20, y * 20, 4, 4, 1, 1) for x in range(32) for y in range(32)))
    found = np.concatenate([many, candidates()])
    placement = np.array([[1, 0, 0], [1, 0, 0]])

    boxes = answer(postprocessing, output=found, placement=placement).tensors["BOXES"]

    assert boxes.shape == (2, postprocessing["MAX_BOXES"], 6)
    assert not boxes[1].any()
