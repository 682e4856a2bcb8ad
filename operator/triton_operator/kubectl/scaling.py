"""What becomes of the values of a picture."""

from enum import StrEnum


class Scaling(StrEnum):
    """What becomes of the values of a picture, 0 to 255, in inputs of floating-point numbers."""

    UNIT = "unit"
    """0 to 1."""
    NONE = "none"
    """As they are."""
    IMAGENET = "imagenet"
    """0 to 1, less ImageNet's mean, by its deviation."""
