"""Whether a live object already holds what a manifest says."""

import hashlib
import json
from typing import Any

from triton_operator.api.quantity import parse_quantity
from triton_operator.desired.metadata import Manifest
from triton_operator.observed import Body


def digest(manifest: Manifest) -> str:
    """Return a short hash of a manifest's content."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]


def covers(live: Any, wanted: Any) -> bool:
    """Return whether ``live`` has every field of ``wanted``; what others added does not matter."""
    if not wanted and not isinstance(wanted, dict):
        # Kubernetes leaves out what is the zero value of its type.
        return not live
    match wanted:
        case dict() if not wanted:
            return True
        case dict():
            return isinstance(live, dict) and all(
                covers(live.get(key), value) for key, value in wanted.items()
            )
        case list():
            same_length = isinstance(live, list) and len(live) == len(wanted)
            return same_length and all(covers(a, b) for a, b in zip(live, wanted, strict=True))
        case _:
            return bool(live == wanted) or _same_quantity(live, wanted)


def owner_uid(body: Body | Manifest) -> str | None:
    """Return the uid of the object that controls another."""
    reference = _controller(body)
    return str(reference["uid"]) if reference is not None else None


def owner_name(body: Body | Manifest) -> tuple[str, str] | None:
    """Return the kind and the name of the object that controls another."""
    reference = _controller(body)
    return (reference["kind"], reference["name"]) if reference is not None else None


def _controller(body: Body | Manifest) -> Body | None:
    references = body["metadata"].get("ownerReferences") or ()
    return next((each for each in references if each.get("controller")), None)


def _same_quantity(left: Any, right: Any) -> bool:
    """Return whether two values are the same quantity, such as 1000m and 1."""
    try:
        return parse_quantity(str(left)) == parse_quantity(str(right))
    except ValueError:
        return False
