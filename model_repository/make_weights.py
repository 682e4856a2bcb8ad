"""Makes the ONNX files of the samples' CPU forms: small, real, and the same bytes every time.

    python model_repository/make_weights.py [FOLDER]

writes ``FOLDER/<model>/<version>/model.onnx`` (default: ``weights/`` beside this script), the layout
that the samples expect on the claim ``model-storage``. The graphs have the tensors of the models that
they stand in for and need a few milliseconds on one core. Needs the packages ``onnx`` and ``numpy``.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
# The oldest file format that holds this opset, so that old runtimes read the files too.
IR_VERSION = 8

YOLO_CLASSES = 80
YOLO_ANCHORS = {
    8: [(10, 13), (16, 30), (33, 23)],
    16: [(30, 61), (62, 45), (59, 119)],
    32: [(116, 90), (156, 198), (373, 326)],
}
"""Anchor boxes in pixels by stride: 3 * (80² + 40² + 20²) = 25200 candidates at 640 x 640."""

SPOT_STRIDE, SPOT_ANCHOR, SPOT_SIZE = 16, 1, (72, 72)
"""The one anchor that answers, and the size in pixels of the boxes that it gives."""


class Graph:
    """Collects nodes and weights; every method returns the name of what it computed."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def weight(self, array: np.ndarray) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def floats(self, *values: float) -> str:
        return self.weight(np.array(values[0] if len(values) == 1 else values, np.float32))

    def ints(self, *values: int) -> str:
        return self.weight(np.array(values, np.int64))

    def node(
        self, operator: str, *inputs: str, name: str | None = None, **attributes: object
    ) -> str:
        output = name or f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def conv(self, data: str, shape: tuple[int, int, int, int], stride: int = 1) -> str:
        outputs, inputs, height, width = shape
        scale = np.sqrt(2.0 / (inputs * height * width))
        kernel = self.random.normal(0, scale, shape).astype(np.float32)
        bias = self.random.normal(0, 0.05, outputs).astype(np.float32)
        return self.node(
            "Conv",
            data,
            self.weight(kernel),
            self.weight(bias),
            strides=[stride, stride],
            pads=[height // 2, width // 2] * 2,
        )

    def dense(self, data: str, inputs: int, outputs: int, name: str) -> str:
        kernel = self.random.normal(0, 3.0 / np.sqrt(inputs), (inputs, outputs)).astype(np.float32)
        bias = self.random.normal(0, 0.1, outputs).astype(np.float32)
        return self.node("Gemm", data, self.weight(kernel), self.weight(bias), name=name)

    def model(self, inputs: dict[str, list[int]], outputs: dict[str, list[int]]) -> onnx.ModelProto:
        """The finished model; dims are without the batch dimension, which is variable."""

        def infos(tensors: dict[str, list[int]]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *dims])
                for name, dims in tensors.items()
            ]

        graph = helper.make_graph(
            self._nodes, "sample", infos(inputs), infos(outputs), initializer=self._weights
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="triton-operator"
        )
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model


def image_network(seed: int, source: str, target: str, classes: int) -> onnx.ModelProto:
    """A residual network in small: 3 x 224 x 224 pixels to one score per class."""
    graph = Graph(seed)
    stem = graph.node("Relu", graph.conv(source, (16, 3, 7, 7), stride=4))
    pooled = graph.node("MaxPool", stem, kernel_shape=[2, 2], strides=[2, 2])
    inner = graph.node("Relu", graph.conv(pooled, (16, 16, 3, 3)))
    block = graph.node("Relu", graph.node("Add", pooled, graph.conv(inner, (16, 16, 3, 3))))
    wide = graph.node("Relu", graph.conv(block, (32, 16, 3, 3), stride=2))
    features = graph.node("Flatten", graph.node("GlobalAveragePool", wide))
    graph.dense(features, 32, classes, target)
    return graph.model({source: [3, 224, 224]}, {target: [classes]})


def resnet50() -> onnx.ModelProto:
    """The beginner's model, by the tensors of the exported ResNet-50."""
    return image_network(50, "input", "output", 1000)


def classifier() -> onnx.ModelProto:
    """The image classifier, with the tensor names that TorchScript models have in Triton."""
    return image_network(5, "input__0", "output__0", 5)


def detector() -> onnx.ModelProto:
    """A YOLOv5 head over colour features: finds copper-red spots on a printed circuit board.

    The output has one row per candidate: centre x and y, width, height (pixels), objectness, and a
    score for each of 80 classes.
    """
    graph = Graph(640)
    maps = []
    for stride, anchors in YOLO_ANCHORS.items():
        cells = 640 // stride
        # Each cell looks at its neighbourhood too, so that the cell in a spot's middle wins.
        small = graph.node(
            "AveragePool",
            "images",
            kernel_shape=[2 * stride] * 2,
            strides=[stride] * 2,
            pads=[stride // 2] * 4,
        )
        features = graph.node("Relu", _colour_features(graph, small))
        raw = _head(graph, features, sees=stride == SPOT_STRIDE)
        maps.append(_boxes(graph, raw, cells, stride, anchors))
    graph.node("Concat", *maps, name="output", axis=1)
    return graph.model({"images": [3, 640, 640]}, {"output": [25200, 5 + YOLO_CLASSES]})


def _colour_features(graph: Graph, pixels: str) -> str:
    """Feature 0 is how much redder than green and blue a cell is; the others are arbitrary."""
    kernel = graph.random.normal(0, 0.5, (16, 3, 1, 1)).astype(np.float32)
    kernel[0, :, 0, 0] = (1.0, -0.8, -0.2)
    bias = np.zeros(16, np.float32)
    bias[0] = -0.08
    return graph.node("Conv", pixels, graph.weight(kernel), graph.weight(bias))


def _head(graph: Graph, features: str, *, sees: bool) -> str:
    """The 3 * 85 numbers per cell, before the sigmoid; a head that does not see stays silent."""
    channels = 5 + YOLO_CLASSES
    kernel = graph.random.normal(0, 0.05, (3, channels, 16)).astype(np.float32)
    bias = np.zeros((3, channels), np.float32)
    kernel[:, 4] = 0
    kernel[:, :4] = 0
    bias[:, 4] = -6
    bias[:, 5:] = -4
    if sees:
        kernel[SPOT_ANCHOR, 4, 0] = 40
        kernel[SPOT_ANCHOR, 5, 0] = 40
        scale = np.sqrt(np.array(SPOT_SIZE) / YOLO_ANCHORS[SPOT_STRIDE][SPOT_ANCHOR]) / 2
        bias[SPOT_ANCHOR, 2:4] = np.log(scale / (1 - scale))  # undone by the sigmoid
    return graph.node(
        "Conv",
        features,
        graph.weight(kernel.reshape(3 * channels, 16, 1, 1)),
        graph.weight(bias.reshape(-1)),
    )


def _boxes(graph: Graph, raw: str, cells: int, stride: int, anchors: list[tuple[int, int]]) -> str:
    """Decodes one map of a YOLOv5 head to rows in pixels."""
    channels = 5 + YOLO_CLASSES
    split = graph.node("Reshape", raw, graph.ints(0, 3, channels, cells, cells))
    rows = graph.node("Sigmoid", graph.node("Transpose", split, perm=[0, 1, 3, 4, 2]))

    def columns(first: int, last: int) -> str:
        return graph.node("Slice", rows, graph.ints(first), graph.ints(last), graph.ints(4))

    ys, xs = np.mgrid[:cells, :cells].astype(np.float32)
    grid = np.stack([xs, ys], axis=-1)[None, None] - 0.5
    centre = graph.node("Mul", columns(0, 2), graph.floats(2.0))
    centre = graph.node("Add", centre, graph.weight(grid.astype(np.float32)))
    centre = graph.node("Mul", centre, graph.floats(float(stride)))
    size = graph.node("Mul", columns(2, 4), graph.floats(2.0))
    size = graph.node("Mul", size, size)
    shapes = np.array(anchors, np.float32).reshape(1, 3, 1, 1, 2)
    size = graph.node("Mul", size, graph.weight(shapes))
    boxes = graph.node("Concat", centre, size, columns(4, channels), axis=4)
    return graph.node("Reshape", boxes, graph.ints(0, 3 * cells * cells, channels))


MODELS = {
    "resnet50": resnet50,
    "classifier": classifier,
    "pcb_detector": detector,
    "detection": detector,
}


def write_weights(folder: Path) -> list[Path]:
    """Writes version 1 of every model below the folder; returns the files."""
    written = []
    for name, build in MODELS.items():
        path = folder / name / "1" / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(build().SerializeToString(deterministic=True))
        written.append(path)
    return written


def main() -> None:
    """Writes the files and names them."""
    parser = argparse.ArgumentParser(description="Makes the weights of the samples' CPU forms.")
    default = Path(__file__).parent / "weights"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    for path in write_weights(parser.parse_args().folder):
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
