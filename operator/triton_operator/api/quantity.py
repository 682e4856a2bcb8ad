"""Kubernetes quantities as numbers."""

from decimal import Decimal, InvalidOperation

_FACTORS = {
    "m": Decimal("0.001"),
    "": Decimal(1),
    **{unit: Decimal(1000) ** (i + 1) for i, unit in enumerate(("k", "M", "G", "T", "P", "E"))},
    **{unit: Decimal(1024) ** (i + 1) for i, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"))},
    "Ei": Decimal(1024) ** 6,
}


def parse_quantity(quantity: str) -> Decimal:
    """Return a quantity as a number.

    Raises
    ------
    ValueError
        It is no quantity.

    """
    unit = quantity.lstrip("0123456789.")
    number = quantity.removesuffix(unit) if unit else quantity
    if unit not in _FACTORS or not number.strip("."):
        raise ValueError(f"{quantity!r} is no quantity")
    try:
        return Decimal(number) * _FACTORS[unit]
    except InvalidOperation as error:
        raise ValueError(f"{quantity!r} is no quantity") from error


def quantity_bytes(quantity: str) -> int:
    """Return a quantity of memory in bytes, rounded down."""
    return int(parse_quantity(quantity))
