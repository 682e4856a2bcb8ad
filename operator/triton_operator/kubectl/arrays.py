"""Arrays for a model's inputs: made at random, or of what the user gives."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import triton_to_np_dtype

from triton_operator.kubectl.signature import Tensor

Array = NDArray[Any]

_SMALL = 100
"""Random integers stay below it, as many are indices of something."""
_WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")
_SHOWN_VALUES = 8
TOP = 5
"""So many classes of an answer are shown."""


def make_random(tensor: Tensor, shape: Sequence[int], random: np.random.Generator) -> Array:
    """Return random values: fractions of 1, small integers, words.

    Raises
    ------
    ValueError
        The datatype is not known.

    """
    dtype = _dtype(tensor)
    if dtype == np.object_:
        words = [word.encode() for word in _WORDS]
        return np.array(random.choice(np.array(words, np.object_), size=shape), np.object_)
    if dtype == np.bool_:
        return random.integers(0, 2, size=shape).astype(np.bool_)
    if np.issubdtype(dtype, np.integer):
        return random.integers(0, 256 if dtype == np.uint8 else _SMALL, size=shape).astype(dtype)
    return random.random(size=shape).astype(dtype)


def choose_shape(tensor: Tensor, given: Sequence[int] | None, *, batch: int | None) -> list[int]:
    """Return a shape for random values: the user's, or the model's with 1 where any size will do.

    Parameters
    ----------
    tensor
        What it is for.
    given
        The user's; with or without the batch.
    batch
        Size of the batch; None where the model has none.

    Raises
    ------
    ValueError
        The user's shape does not fit the model's.

    """
    if given is None:
        shape = [size if size >= 0 else 1 for size in tensor.shape]
        return [batch, *shape[1:]] if batch is not None else shape
    wanted = list(given)
    if batch is not None and len(wanted) == len(tensor.shape) - 1:
        wanted = [batch, *wanted]
    if not fits(wanted, tensor.shape):
        raise ValueError(f"{tensor.name}: {wanted} does not fit {list(tensor.shape)}")
    return wanted


def build_array(tensor: Tensor, value: Any, *, batches: bool) -> Array:
    """Return what JSON holds as an array of the model's type and shape.

    One number or text fills the whole tensor. As many values as the shape asks for may be in one
    flat list. The dimension of the batch may be left out.

    Raises
    ------
    ValueError
        The values do not fit.

    """
    dtype = _dtype(tensor)
    if not isinstance(value, list):
        shape = choose_shape(tensor, None, batch=1 if batches else None)
        return np.full(shape, _convert(tensor, [value], dtype)[0], dtype)
    array = _convert(tensor, value, dtype)
    known = [size for size in tensor.shape if size >= 0]
    for shape in (
        list(array.shape),
        *([[1, *array.shape]] if batches else []),
        # A flat list, where the model leaves one size at most open.
        *([_fill(tensor.shape, array.size)] if array.ndim == 1 and known else []),
    ):
        if fits(shape, tensor.shape):
            return array.reshape(shape)
    raise ValueError(
        f"{tensor.name}: values of the shape {list(array.shape)} do not fit {list(tensor.shape)}"
    )


def fits(shape: Sequence[int], pattern: Sequence[int]) -> bool:
    """Return whether a shape is one of a pattern, in which -1 stands for any size."""
    return len(shape) == len(pattern) and all(
        wanted in (-1, size) for size, wanted in zip(shape, pattern, strict=True)
    )


def tell_array(name: str, datatype: str, array: Array) -> str:
    """Return one line: name, type, shape and the first values."""
    flat = array.reshape(-1)
    values = " ".join(_text(each) for each in flat[:_SHOWN_VALUES])
    more = " …" if flat.size > _SHOWN_VALUES else ""
    return f"{name}  {datatype} {list(array.shape)}  {values}{more}"


def find_top(array: Array) -> list[tuple[int, float]]:
    """Return the highest scores with their indices; empty for what is no list of scores."""
    flat = array.squeeze()
    if flat.ndim != 1 or flat.size <= TOP or not np.issubdtype(flat.dtype, np.floating):
        return []
    best = np.argsort(-flat, kind="stable")[:TOP]
    return [(int(index), float(flat[index])) for index in best]


def _fill(pattern: Sequence[int], size: int) -> list[int]:
    """Return the shape of so many values with the open sizes filled in: 1, the last the rest."""
    known = int(np.prod([each for each in pattern if each >= 0]))
    open_ = [index for index, each in enumerate(pattern) if each < 0]
    shape = [max(1, each) for each in pattern]
    if known and size % known == 0:
        if open_:
            shape[open_[-1]] = size // known
        return shape if open_ or size == known else []
    return []


def _convert(tensor: Tensor, values: list[Any], dtype: Any) -> Array:
    try:
        raw = np.array(values, np.object_ if dtype == np.object_ else None)
        if dtype == np.object_:
            texts = np.empty(raw.size, np.object_)
            texts[:] = [str(each).encode() for each in raw.reshape(-1)]
            return texts.reshape(raw.shape)
        array = raw.astype(dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{tensor.name}: {error}") from error
    exact = np.issubdtype(dtype, np.floating) or np.array_equal(array, raw)
    if raw.dtype.kind not in "biuf" or not exact:
        raise ValueError(f"{tensor.name}: {tensor.datatype} cannot hold these values")
    return array


def _dtype(tensor: Tensor) -> Any:
    dtype = triton_to_np_dtype(tensor.datatype)
    if dtype is None:
        raise ValueError(f"{tensor.name}: the type {tensor.datatype} is not known")
    return np.dtype(dtype)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return repr(value.decode(errors="replace"))
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
