"""Pictures as inputs: decoded, resized and laid out as the model has it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.utils import triton_to_np_dtype

from triton_operator.kubectl.arrays import Array, choose_shape
from triton_operator.kubectl.errors import PluginError, UnusableError
from triton_operator.kubectl.scaling import Scaling
from triton_operator.kubectl.signature import Layout, Tensor

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_CHANNELS = (1, 3, 4)
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_MEAN = np.array((0.485, 0.456, 0.406), np.float32)
_DEVIATION = np.array((0.229, 0.224, 0.225), np.float32)


def read_picture(tensor: Tensor, path: Path, *, batches: bool, scaling: Scaling) -> Array:
    """Return a picture as an input of the model; an encoded one where it takes bytes.

    Raises
    ------
    UnusableError
        The file is no picture, or the input cannot take one.
    PluginError
        The library for pictures is not installed.

    """
    dims = tensor.shape[1:] if batches else tensor.shape
    if tensor.datatype == "BYTES" or (tensor.datatype == "UINT8" and len(dims) == 1):
        return _encoded(tensor, path, batches=batches)
    layout, (channels, height, width) = find_layout(tensor, dims)
    pixels = _decode(path, channels, height, width)
    array = arrange(pixels, layout, tensor.datatype, scaling)
    missing = len(tensor.shape) - array.ndim
    return array.reshape((1,) * missing + array.shape)


def find_layout(tensor: Tensor, dims: Sequence[int]) -> tuple[Layout, tuple[int, int, int]]:
    """Return the layout of a picture, and its channels, height and width; -1 where any will do.

    The config says it, or else the place of the dimension that can only be that of the channels.

    Raises
    ------
    UnusableError
        The input has no place for a picture.

    """
    core = tuple(dims[-3:])
    if len(core) == 3 and all(size == 1 for size in dims[:-3]):  # noqa: PLR2004 - a picture
        first = tensor.layout == "NCHW" or (not tensor.layout and core[0] in _CHANNELS)
        last = tensor.layout == "NHWC" or (not tensor.layout and core[2] in _CHANNELS)
        if first and core[0] in _CHANNELS:
            return "NCHW", (core[0], core[1], core[2])
        if last and core[2] in _CHANNELS:
            return "NHWC", (core[2], core[0], core[1])
    raise UnusableError(
        f"{tensor.name} takes {tensor.datatype} {list(tensor.shape)}, which is no picture: give its"
        f" values as a file, {tensor.name}=@FILE.json"
    )


def arrange(pixels: Array, layout: Layout, datatype: str, scaling: Scaling) -> Array:
    """Return pixels (height, width, channels; 0 to 255) in a layout, type and scale."""
    array: Array = pixels
    dtype = np.dtype(triton_to_np_dtype(datatype))
    if np.issubdtype(dtype, np.floating):
        array = array.astype(np.float32)
        if scaling is not Scaling.NONE:
            array = array / np.float32(255)
        if scaling is Scaling.IMAGENET and array.shape[2] == len(_MEAN):
            array = (array - _MEAN) / _DEVIATION
    if layout == "NCHW":
        array = array.transpose(2, 0, 1)
    return np.ascontiguousarray(array.astype(dtype))


def _encoded(tensor: Tensor, path: Path, *, batches: bool) -> Array:
    data = _read(path)
    if tensor.datatype == "BYTES":
        array = np.empty(choose_shape(tensor, None, batch=1 if batches else None), np.object_)
        array.fill(data)
        return array
    values = np.frombuffer(data, np.uint8)
    return values.reshape(1, -1) if batches else values


def _decode(path: Path, channels: int, height: int, width: int) -> Array:
    try:
        from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - optional
    except ImportError as error:
        raise PluginError(
            "pictures need the library Pillow: pip install 'triton-operator[plugin]'"
        ) from error
    try:
        with Image.open(path) as opened:
            picture: Any = opened.convert(_MODES[channels])
            size = (width if width > 0 else picture.width, height if height > 0 else picture.height)
            picture = picture.resize(size, Image.Resampling.BILINEAR)
    except UnidentifiedImageError as error:
        raise UnusableError(f"{path} is no picture that Pillow can read") from error
    except OSError as error:
        raise UnusableError(f"{path}: {error.strerror or error}") from error
    return np.asarray(picture).reshape(size[1], size[0], channels)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnusableError(f"{path}: {error.strerror or error}") from error
