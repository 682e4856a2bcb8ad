"""The ONNX files of the CPU forms: the same every time, and of the shapes that the samples say."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.unit.samples.python_models import answer, model, photo
from tests.unit.samples.sample_files import FOLDER, FORMS, config_of

WANTED = {
    version.source.uri.removeprefix("pvc://model-storage/"): each
    for form in FORMS
    if form.form == "cpu"
    for each in form.models.values()
    for version in each.spec.versions
    if version.source is not None
}
TYPES = {"tensor(float)": "TYPE_FP32"}


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    script("make_weights").write_weights(folder)
    return folder


def test_there_is_a_small_file_for_every_source_and_no_other(weights: Path) -> None:
    made = {path.relative_to(weights).as_posix(): path for path in weights.glob("*/*/*")}
    assert set(made) == set(WANTED)
    assert all(path.stat().st_size < 1_000_000 for path in made.values())


def test_the_files_are_the_same_every_time(weights: Path, tmp_path: Path) -> None:
    for path in script("make_weights").write_weights(tmp_path):
        assert path.read_bytes() == (weights / path.relative_to(tmp_path)).read_bytes()


def open_session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path))


@pytest.mark.parametrize("name", sorted(WANTED))
def test_a_file_takes_and_gives_what_the_sample_says(weights: Path, name: str) -> None:
    session = open_session(weights / name)
    config = config_of(WANTED[name])
    # The beginner's model says nothing; the guides say what it is.
    config.setdefault(
        "input", [{"name": "input", "data_type": "TYPE_FP32", "dims": ["3", "224", "224"]}]
    )
    config.setdefault("output", [{"name": "output", "data_type": "TYPE_FP32", "dims": ["1000"]}])

    def shapes(tensors: list[dict[str, Any]]) -> dict[str, Any]:
        return {t["name"]: (t["data_type"], [int(dim) for dim in t["dims"]]) for t in tensors}

    def graph(nodes: list[Any]) -> dict[str, Any]:
        return {node.name: (TYPES[node.type], list(node.shape[1:])) for node in nodes}

    assert graph(session.get_inputs()) == shapes(config["input"])
    assert graph(session.get_outputs()) == shapes(config["output"])

    source, target = config["input"][0], config["output"][0]
    batch = np.random.default_rng(1).random((2, *map(int, source["dims"])), np.float32)
    (result,) = session.run(None, {source["name"]: batch})
    assert result.shape == (2, *map(int, target["dims"]))
    assert np.isfinite(result).all()
    assert not np.array_equal(result[0], result[1])


def test_the_photos_are_small_jpegs_that_the_script_makes() -> None:
    images = script("make_images")
    for name, build in (("landscape", images.landscape), ("board", images.board)):
        path = FOLDER / "images" / f"{name}.jpg"
        assert path.stat().st_size < 30_000
        committed = np.asarray(images.Image.open(path).convert("RGB"), np.int16)
        assert np.abs(committed - np.asarray(build(), np.int16)).mean() < 4  # JPEG is lossy


def test_the_pipeline_finds_the_four_defects_of_the_board(weights: Path) -> None:
    preprocessing = model("pcb-pipeline", "cpu", "preprocessing")
    postprocessing = model("pcb-pipeline", "cpu", "postprocessing")

    prepared = answer(preprocessing, IMAGE=photo("board.jpg")[None]).tensors
    session = open_session(weights / "detection/1/model.onnx")
    (output,) = session.run(None, {"images": prepared["images"]})
    answered = answer(postprocessing, output=output, placement=prepared["placement"])

    boxes = answered.tensors["BOXES"][0]
    centres = sorted(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in boxes)
    defects = sorted((x, y) for x, y, _ in script("make_images").DEFECTS)
    assert np.allclose(centres, defects, atol=20)
