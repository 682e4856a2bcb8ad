"""The samples' CPU forms: they answer over HTTP and gRPC what onnxruntime answers itself."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml
from PIL import Image

from tests.cluster.support import triton
from tests.cluster.support.kube import MANAGER, Object, difference
from tests.cluster.support.shell import run
from tests.cluster.support.world import World

SAMPLES = Path(__file__).parents[2] / "model_repository"
WEIGHTS = SAMPLES / "weights"

pytestmark = pytest.mark.cluster

Array = np.ndarray[Any, Any]
Apply = Callable[[str], None]


@pytest.fixture(scope="module", autouse=True)
def _seeded(world: World) -> None:
    run(
        *(sys.executable, str(SAMPLES / "seed.py"), "--namespace", world.namespace),
        seconds=240,
    )


@pytest.fixture(scope="module")
def apply(world: World) -> Apply:
    return lambda sample: world.apply(*manifests(sample))


def manifests(sample: str) -> list[Object]:
    return [
        leaves_quickly(manifest)
        for path in sorted((SAMPLES / sample / "cpu").glob("*.yaml"))
        for manifest in yaml.safe_load_all(path.read_text())
    ]


def leaves_quickly(manifest: Object) -> Object:
    """Return the object with pods that need no time to end, for the test's sake."""
    spec = manifest["spec"]
    if manifest["kind"] == "TritonServer":
        spec["drainSeconds"] = 1
    elif "server" in spec:
        spec["server"]["drainSeconds"] = 1
    return manifest


def photo(name: str) -> Array:
    """Return the bytes of a picture as a batch of one."""
    return np.frombuffer((SAMPLES / "images" / name).read_bytes(), np.uint8)[None]


def onnx(model: str, inputs: Array) -> Array:
    """Return what onnxruntime itself answers."""
    session = onnxruntime.InferenceSession(str(WEIGHTS / model / "1" / "model.onnx"))
    (output,) = session.run(None, {session.get_inputs()[0].name: inputs})
    return np.asarray(output)


def inline_code(sample: str, model: str) -> dict[str, Any]:
    """Return the names that a sample's inline model.py defines."""
    for manifest in yaml.safe_load_all((SAMPLES / sample / "cpu" / "models.yaml").read_text()):
        if manifest["metadata"]["name"] == model:
            code = manifest["spec"]["versions"][0]["files"]["model.py"]
            # The module of Triton's own process is not needed by its plain functions.
            code = code.replace("import triton_python_backend_utils as pb_utils\n", "")
            namespace: dict[str, Any] = {}
            exec(compile(code, f"{model}.py", "exec"), namespace)
            return namespace
    raise AssertionError(f"{sample} has no model {model}")


PROTOCOLS = pytest.mark.parametrize("protocol", ["http", "grpc"])


class TestResnet50:
    """Nothing but a file and a name, on a server of its own; asked for by version."""

    @pytest.fixture(scope="class", autouse=True)
    @staticmethod
    def _applied(world: World, apply: Apply) -> None:
        apply("resnet50")
        world.wait_ready("resnet50", seconds=60)

    @PROTOCOLS
    @pytest.mark.parametrize("version", ["", "1"])
    def test_answers_as_onnxruntime_does(self, world: World, protocol: str, version: str) -> None:
        images = np.random.default_rng(3).random((2, 3, 224, 224), np.float32)
        host = world.service("resnet50")

        found = triton.infer(
            protocol, host, "resnet50", {"input": images}, "output", version=version
        )

        np.testing.assert_allclose(found, onnx("resnet50", images), rtol=1e-3, atol=1e-4)

    def test_has_no_other_version(self, world: World) -> None:
        host = world.service("resnet50")

        assert triton.answers(host, "resnet50", 1)
        assert not triton.answers(host, "resnet50", 2)


class TestImageClassifier:
    """JPEG bytes through an ensemble of two models on a shared server."""

    @pytest.fixture(scope="class", autouse=True)
    @staticmethod
    def _applied(world: World, apply: Apply) -> None:
        apply("image-classifier")
        world.wait_ready("preprocessor", "classifier", "ensemble-model", seconds=60)

    @PROTOCOLS
    def test_answers_as_its_steps_do_by_hand(self, world: World, protocol: str) -> None:
        raw = photo("landscape.jpg")
        preprocess = inline_code("image-classifier", "preprocessor")["preprocess"]
        wanted = onnx("classifier", preprocess(raw[0])[None].astype(np.float32))
        host = world.service("image-classifier")

        found = triton.infer(protocol, host, "ensemble_model", {"RAW_IMAGE": raw}, "output__0")

        assert found.shape == (1, 5)
        np.testing.assert_allclose(found, wanted, rtol=1e-2, atol=1e-2)

    def test_members_answer_on_their_own(self, world: World) -> None:
        images = np.random.default_rng(4).random((1, 3, 224, 224), np.float32)
        host = world.service("image-classifier")

        found = triton.infer("http", host, "classifier", {"input__0": images}, "output__0")

        np.testing.assert_allclose(found, onnx("classifier", images), rtol=1e-3, atol=1e-4)

    def test_a_picture_that_is_none_is_refused_and_says_where(self, world: World) -> None:
        host = world.service("image-classifier")
        raw = np.frombuffer(b"no picture", np.uint8)[None]

        with pytest.raises(Exception, match="preprocessor"):
            triton.infer("http", host, "ensemble_model", {"RAW_IMAGE": raw}, "output__0")


class TestPcbDetector:
    """A detector whose answer has 8.6 MB."""

    @pytest.fixture(scope="class", autouse=True)
    @staticmethod
    def _applied(world: World, apply: Apply) -> None:
        apply("pcb-detector")
        world.wait_ready("pcb-detector", seconds=60)

    @PROTOCOLS
    def test_answers_as_onnxruntime_does(self, world: World, protocol: str) -> None:
        board = Image.open(io.BytesIO(photo("board.jpg").tobytes())).convert("RGB")
        pixels = np.asarray(board.resize((640, 640)), np.float32).transpose(2, 0, 1)[None] / 255
        host = world.service("pcb-detector")

        found = triton.infer(protocol, host, "pcb_detector", {"images": pixels}, "output")

        assert found.shape == (1, 25200, 85)
        np.testing.assert_allclose(found, onnx("pcb_detector", pixels), rtol=1e-3, atol=1e-2)


class TestPcbPipeline:
    """A photograph in, boxes around its defects out."""

    @pytest.fixture(scope="class", autouse=True)
    @staticmethod
    def _applied(world: World, apply: Apply) -> None:
        apply("pcb-pipeline")
        world.wait_ready("preprocessing", "detection", "postprocessing", "pcb-pipeline")

    @PROTOCOLS
    def test_answers_as_its_steps_do_by_hand(self, world: World, protocol: str) -> None:
        raw = photo("board.jpg")
        pixels, placement = inline_code("pcb-pipeline", "preprocessing")["letterbox"](raw[0])
        candidates = onnx("detection", pixels[None])
        boxes = inline_code("pcb-pipeline", "postprocessing")["boxes"]
        wanted = boxes(candidates[0], np.array(placement, np.float32))

        found = triton.infer(
            protocol, world.service("pcb"), "pcb_pipeline", {"IMAGE": raw}, "BOXES"
        )

        assert found.shape == (1, 4, 6), "the board has four defects"
        np.testing.assert_allclose(found[0], wanted, rtol=1e-2, atol=0.5)


def test_what_was_applied_is_what_is_there(world: World, apply: Apply) -> None:
    """After all that the operator did for them, what keeps them in Git sees no difference."""
    samples = sorted(path.parent.name for path in SAMPLES.glob("*/cpu"))
    assert len(samples) > 3
    for sample in samples:
        apply(sample)
        pushed = manifests(sample)
        for each in pushed:
            each["metadata"]["namespace"] = world.namespace
        assert difference(pushed, "--server-side", f"--field-manager={MANAGER}") == ""
