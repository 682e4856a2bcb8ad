"""Kubernetes objects as plain JSON, and what their fields have in common."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

Body = Mapping[str, Any]
"""A Kubernetes object as plain JSON."""


def parse_time(value: str | None) -> datetime | None:
    """Return a time as the API writes it; None for an empty one."""
    return datetime.fromisoformat(value) if value else None


def parse_number(value: str | None) -> int:
    """Return a number in an annotation; 0 for anything else."""
    return int(value) if value and value.isdecimal() else 0


def reason_and_message(value: Mapping[str, Any]) -> str:
    """Return ``Reason: message`` of a condition or state; either may be missing."""
    return ": ".join(filter(None, (value.get("reason", ""), value.get("message", ""))))
