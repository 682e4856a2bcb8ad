"""Triton's ``onnxruntime`` backend for machines that have none: a python-based backend.

Triton takes a folder of its backend directory that holds a ``model.py`` and no shared library as a
backend that the python backend runs. With this file in ``backends/onnxruntime/`` a model that says
``backend: onnxruntime`` (or ``platform: onnxruntime_onnx``, or nothing but a ``model.onnx``) is
really executed by ONNX Runtime, from the same ``config.pbtxt`` that a stock Triton image takes.

It completes a configuration by the rules of the original backend: tensors are added where the
configuration names none, and a graph whose tensors all have a variable first dimension is taken as
batching (``max_batch_size`` 4 and dynamic batching, unless the configuration says otherwise).
Each instance uses one thread by default; the parameters ``intra_op_thread_count`` and
``inter_op_thread_count`` are those of the original.
"""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

DEFAULT_FILENAME = "model.onnx"
DEFAULT_MAX_BATCH_SIZE = 4

TRITON_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
GRAPH_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def model_file(version_folder, filename):
    """The ONNX file of a version; a folder of that name holds a graph with external weights."""
    path = Path(version_folder) / (filename or DEFAULT_FILENAME)
    if path.is_dir():
        path = path / DEFAULT_FILENAME
    if not path.is_file():
        raise pb_utils.TritonModelException(f"onnxruntime: no file '{path}'")
    return path


def stub_version_folder():
    """The version folder of the model that this process was started for.

    Completion gets a configuration but no path, so it is read from the stub's own command line,
    whose first argument is ``<model>/<version>/<file>``.
    """
    arguments = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    return Path(arguments[1].decode()).parent


def open_session(path, config):
    """A CPU session on the file, set up as the configuration asks."""
    options = ort.SessionOptions()
    parameters = config.get("parameters", {})

    def count(key):
        return int(parameters.get(key, {}).get("string_value") or 1)

    options.intra_op_num_threads = count("intra_op_thread_count")
    options.inter_op_num_threads = count("inter_op_thread_count")
    level = config.get("optimization", {}).get("graph", {}).get("level", 0)
    if level in GRAPH_LEVELS:
        options.graph_optimization_level = GRAPH_LEVELS[level]
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise pb_utils.TritonModelException(
            f"onnxruntime: cannot load '{path}': {error}"
        ) from error


def graph_dims(node):
    """Dimensions of a graph's tensor, -1 where they are variable or named."""
    return [dim if isinstance(dim, int) and dim > 0 else -1 for dim in node.shape]


def triton_type(node):
    """The tensor's type as a configuration writes it."""
    try:
        return TRITON_TYPES[node.type]
    except KeyError:
        raise pb_utils.TritonModelException(
            f"onnxruntime: tensor '{node.name}' has the unsupported type {node.type}"
        ) from None


def describe(node, batching):
    """The entry for ``input`` or ``output`` that Triton would have been given by hand.

    A configuration knows no empty dims. The original writes a reshape for a tensor that has none
    but the batch's; completion in Python may not, so this backend reshapes by itself.
    """
    dims = graph_dims(node)[1:] if batching else graph_dims(node)
    return {"name": node.name, "data_type": triton_type(node), "dims": dims or [1]}


def configured_dims(tensor):
    """Dims of a configured tensor as the graph sees them."""
    dims = tensor["reshape"].get("shape", []) if "reshape" in tensor else tensor["dims"]
    return [int(dim) for dim in dims]


def require_agreement(kind, name, batching, configured, nodes):
    """Refuses a configuration whose tensors are not the graph's, as the original does at load."""
    by_name = {node.name: node for node in nodes}
    for tensor in configured:
        node = by_name.get(tensor["name"])
        if node is None:
            raise pb_utils.TritonModelException(
                f"onnxruntime: model '{name}': unexpected {kind} '{tensor['name']}', "
                f"the graph has {sorted(by_name)}"
            )
        if tensor["data_type"] != triton_type(node):
            raise pb_utils.TritonModelException(
                f"onnxruntime: model '{name}': {kind} '{node.name}' is {triton_type(node)} "
                f"in the graph and {tensor['data_type']} in the configuration"
            )
        actual = graph_dims(node)
        dims = [-1] * batching + configured_dims(tensor)
        if dims[-1:] == [1] and len(dims) == len(actual) + 1:
            dims.pop()  # what describe() makes of a tensor without dims
        # A variable dimension on either side agrees with any size; that is what it is for.
        if len(dims) != len(actual) or any(
            -1 not in pair and pair[0] != pair[1] for pair in zip(dims, actual, strict=True)
        ):
            raise pb_utils.TritonModelException(
                f"onnxruntime: model '{name}': {kind} '{node.name}' has dims {actual} in the graph "
                f"and {dims} in the configuration (batch dimension included)"
            )


class TritonPythonModel:
    """One instance of one model version."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        """Fills what the configuration left out from the graph; refuses what contradicts it."""
        config = auto_complete_model_config.as_dict()
        path = model_file(stub_version_folder(), config.get("default_model_filename"))
        session = open_session(path, config)
        inputs, outputs = session.get_inputs(), session.get_outputs()

        can_batch = all(graph_dims(node)[:1] == [-1] for node in [*inputs, *outputs])
        configured = config.get("input", []) + config.get("output", [])
        max_batch_size = config.get("max_batch_size", 0)
        if max_batch_size > 0 and not can_batch:
            raise pb_utils.TritonModelException(
                f"onnxruntime: model '{config['name']}' has max_batch_size {max_batch_size}, "
                "but not every tensor of the graph has a variable first dimension"
            )
        # With all dims written by hand and no batch size, the first dim is written too: as it is.
        if max_batch_size == 0 and can_batch and not configured:
            max_batch_size = DEFAULT_MAX_BATCH_SIZE
            auto_complete_model_config.set_max_batch_size(max_batch_size)
        if max_batch_size > 1 and not (
            "dynamic_batching" in config or "sequence_batching" in config
        ):
            auto_complete_model_config.set_dynamic_batching()

        batching = max_batch_size > 0
        if not config.get("input"):
            for node in inputs:
                auto_complete_model_config.add_input(describe(node, batching))
        if not config.get("output"):
            for node in outputs:
                auto_complete_model_config.add_output(describe(node, batching))
        return auto_complete_model_config

    def initialize(self, args):
        """Opens the graph of this version."""
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        self._batching = config.get("max_batch_size", 0) > 0
        self._session = open_session(
            model_file(folder, config.get("default_model_filename")), config
        )
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        name = args["model_name"]
        require_agreement("input", name, self._batching, config["input"], inputs)
        require_agreement("output", name, self._batching, config["output"], outputs)
        self._inputs = {node.name: len(node.shape) for node in inputs}
        self._ranks = {
            tensor["name"]: len(configured_dims(tensor)) + self._batching
            for tensor in config["output"]
        }
        self._outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests):
        """One run per set of requests whose tensors can be stacked; one response per request."""
        responses = [None] * len(requests)
        batches = defaultdict(list)
        for index, request in enumerate(requests):
            try:
                feed = self._feed(request)
            except Exception as error:  # one bad request must not fail its neighbours
                responses[index] = failure(error)
                continue
            wanted = tuple(n for n in self._outputs if n in request.requested_output_names())
            # A model without a batch dimension runs request by request: nothing can be stacked.
            shapes = tuple((n, a.shape[1:], a.dtype.str) for n, a in feed.items())
            batches[(wanted, shapes) if self._batching else index].append((index, feed, wanted))

        for members in batches.values():
            self._run(members, responses)
        return responses

    def _feed(self, request):
        tensors = {}
        for name, rank in self._inputs.items():
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is not None:  # an optional input that this request leaves out
                array = tensor.as_numpy()
                if array.ndim == rank + 1:  # see describe()
                    array = array.reshape(array.shape[:-1])
                tensors[name] = decoded(array) if array.dtype == np.object_ else array
        return tensors

    def _run(self, members, responses):
        wanted = list(members[0][2]) or self._outputs
        try:
            feeds = [feed for _, feed, _ in members]
            stacked = feeds[0]
            if len(feeds) > 1:
                stacked = {name: np.concatenate([feed[name] for feed in feeds]) for name in stacked}
            results = [
                self._shaped(name, result)
                for name, result in zip(wanted, self._session.run(wanted, stacked), strict=True)
            ]
        except Exception as error:  # becomes the answer of every request in the run
            for index, _, _ in members:
                responses[index] = failure(error)
            return
        start = 0
        for index, feed, _ in members:
            size = len(next(iter(feed.values()))) if self._batching else 0
            rows = slice(start, start + size) if self._batching else ...
            start += size
            responses[index] = pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(name, np.ascontiguousarray(result[rows]))
                    for name, result in zip(wanted, results, strict=True)
                ]
            )

    def _shaped(self, name, result):
        array = encoded(result)
        if array.ndim == self._ranks[name] - 1:  # see describe()
            array = array[..., np.newaxis]
        return array


def failure(error):
    """The answer to a request that could not be executed."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"onnxruntime: {error}"))


def decoded(array):
    """Triton's strings are bytes, ONNX Runtime's are text."""
    text = [item.decode() if isinstance(item, bytes) else item for item in array.ravel()]
    return np.array(text, dtype=object).reshape(array.shape)


def encoded(array):
    """A result as Triton takes it: strings as bytes."""
    array = np.asarray(array)
    if array.dtype != np.object_:
        return array
    return np.array([str(item).encode() for item in array.ravel()], dtype=object).reshape(
        array.shape
    )
