"""Runs the samples' inline Python, with a stand-in for what Triton gives to it."""

from typing import Any

import numpy as np

from tests.unit.samples.sample_files import FOLDER, inline_code


class Tensor:
    def __init__(self, name: str, array: Any) -> None:
        self.name, self.array = name, array

    def as_numpy(self) -> Any:
        return self.array


class Response:
    def __init__(self, output_tensors: Any = (), error: Any = None) -> None:
        self.tensors = {each.name: each.array for each in output_tensors}
        self.error = error


def model(sample: str, form: str, name: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(compile(inline_code(sample, form, name), f"{name}/model.py", "exec"), namespace)
    return namespace


def answer(namespace: dict[str, Any], **tensors: Any) -> Response:
    return namespace["TritonPythonModel"]().execute([tensors])[0]


def photo(name: str) -> Any:
    return np.frombuffer((FOLDER / "images" / name).read_bytes(), np.uint8)
