"""One request to a model, made of what the user gives and the model's own metadata."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from triton_operator.kubectl.arrays import Array, build_array, choose_shape, make_random
from triton_operator.kubectl.errors import UnusableError
from triton_operator.kubectl.pictures import SUFFIXES, read_picture
from triton_operator.kubectl.scaling import Scaling
from triton_operator.kubectl.signature import Signature, Tensor

_RANDOM = "random"
_NAME = re.compile(r"[\w./-]+")


def build_inputs(
    signature: Signature,
    given: Sequence[str],
    data: str,
    *,
    shapes: Sequence[str],
    scaling: Scaling,
    seed: int | None,
) -> dict[str, Array]:
    """Return an array for each input; those that nothing is said of get random values.

    Parameters
    ----------
    signature
        Of the model.
    given
        ``NAME=WHAT`` each, with ``random``, ``@FILE`` (JSON or a picture), JSON or text. The name
        may be left out where there is one input.
    data
        A JSON object with a value for each input, or ``@FILE`` with one.
    shapes
        ``NAME=3,480,640`` each: shapes of random values.
    scaling
        What becomes of pictures.
    seed
        Of the random values.

    Raises
    ------
    UnusableError
        Something cannot be read, or does not fit the model.
    PluginError
        A picture needs a library that is not installed.

    """
    wanted = _parse_shapes(signature, shapes)
    arrays: dict[str, Array] = {}
    try:
        for name, value in _parse_data(data).items():
            tensor = _find(signature, name)
            arrays[tensor.name] = build_array(tensor, value, batches=signature.batches)
        random = set(wanted)
        for entry in given:
            tensor, what = _parse_input(signature, entry)
            if what == _RANDOM:
                random.add(tensor.name)
            else:
                arrays[tensor.name] = _read(tensor, what, signature.batches, scaling)
        batch = _batch(signature, arrays)
        generator = np.random.default_rng(seed)
        for tensor in signature.inputs:
            if tensor.name in arrays or (tensor.optional and tensor.name not in random):
                continue
            shape = choose_shape(tensor, wanted.get(tensor.name), batch=batch)
            arrays[tensor.name] = make_random(tensor, shape, generator)
    except ValueError as error:
        raise UnusableError(str(error)) from error
    return arrays


def _batch(signature: Signature, arrays: Mapping[str, Array]) -> int | None:
    """Return the batch that all inputs share; None for a model without."""
    if not signature.batches:
        return None
    return next((len(array) for array in arrays.values()), 1)


def _parse_input(signature: Signature, entry: str) -> tuple[Tensor, str]:
    name, equals, what = entry.partition("=")
    known = any(each.name == name for each in signature.inputs)
    # A text may hold a "=" of its own, but after a single word it is rather a name that is wrong.
    if equals and (known or _NAME.fullmatch(name)):
        return _find(signature, name), what
    return _find(signature, ""), entry


def _read(tensor: Tensor, what: str, batches: bool, scaling: Scaling) -> Array:
    if not what.startswith("@"):
        return build_array(tensor, _parse_value(tensor, what), batches=batches)
    path = Path(what[1:])
    if path.suffix.lower() in SUFFIXES:
        return read_picture(tensor, path, batches=batches, scaling=scaling)
    return build_array(tensor, _read_json(path), batches=batches)


def _parse_value(tensor: Tensor, text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        if tensor.datatype == "BYTES":
            return text
        raise UnusableError(
            f"--input {tensor.name}={text}: neither JSON nor @FILE nor {_RANDOM}"
        ) from error
    return text if tensor.datatype == "BYTES" and not isinstance(value, list) else value


def _parse_data(data: str) -> Mapping[str, Any]:
    if not data:
        return {}
    try:
        value = _read_json(Path(data[1:])) if data.startswith("@") else json.loads(data)
    except ValueError as error:
        raise UnusableError(f"--data is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise UnusableError('--data is a JSON object with a value for each input: {"NAME": [1, 2]}')
    return value


def _parse_shapes(signature: Signature, shapes: Sequence[str]) -> dict[str, list[int]]:
    found = {}
    for entry in shapes:
        name, _, sizes = entry.rpartition("=")
        try:
            found[_find(signature, name).name] = [int(size) for size in sizes.split(",")]
        except ValueError as error:
            raise UnusableError(f"--shape {entry}: write it as NAME=3,480,640") from error
    return found


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnusableError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UnusableError(f"{path} is neither JSON nor a picture: {error}") from error


def _find(signature: Signature, name: str) -> Tensor:
    tensor = signature.input(name)
    if tensor is None:
        names = ", ".join(each.name for each in signature.inputs)
        told = f"the model has no input {name}" if name else "say for which input, as NAME=…"
        raise UnusableError(f"{told}: its inputs are {names}")
    return tensor
