"""What a model takes and gives, by its own metadata and config."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Layout = Literal["", "NCHW", "NHWC"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output."""

    name: str
    datatype: str
    """As in the protocol: ``FP32``, ``BYTES``."""
    shape: tuple[int, ...]
    """Of a whole request, the batch included; -1 where any size will do."""
    layout: Layout = ""
    """What the config says of an image."""
    optional: bool = False
    labelled: bool = False
    """Whether the server has a name for each index of it."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One model."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    batches: bool
    """Whether the first dimension of every tensor is the batch."""
    sequences: bool
    """Whether requests belong to sequences."""

    def input(self, name: str) -> Tensor | None:
        """Return the input of a name; the only one there is for an empty name."""
        if not name and len(self.inputs) == 1:
            return self.inputs[0]
        return next((each for each in self.inputs if each.name == name), None)


def parse_signature(metadata: Mapping[str, Any], config: Mapping[str, Any]) -> Signature:
    """Return what Triton answers at ``/v2/models/M`` and ``/v2/models/M/config``.

    Raises ``ValueError`` where that is not Triton's.
    """
    try:
        inputs = {each["name"]: each for each in config.get("input", ())}
        outputs = {each["name"]: each for each in config.get("output", ())}
        return Signature(
            inputs=tuple(
                _parse(each, inputs.get(each["name"], {})) for each in metadata.get("inputs", ())
            ),
            outputs=tuple(
                _parse(each, outputs.get(each["name"], {})) for each in metadata.get("outputs", ())
            ),
            batches=int(config.get("max_batch_size", 0)) > 0,
            sequences="sequence_batching" in config,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"cannot read the model's metadata: {error!r}"[:200]) from error


def _parse(metadata: Mapping[str, Any], config: Mapping[str, Any]) -> Tensor:
    layouts: dict[str, Layout] = {"FORMAT_NCHW": "NCHW", "FORMAT_NHWC": "NHWC"}
    return Tensor(
        name=str(metadata["name"]),
        datatype=str(metadata["datatype"]),
        shape=tuple(int(size) for size in metadata["shape"]),
        layout=layouts.get(str(config.get("format", "")), ""),
        optional=bool(config.get("optional", False)),
        labelled=bool(config.get("label_filename")),
    )
