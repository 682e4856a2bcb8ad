"""Names of objects for models that are called something else."""

import hashlib
import re

from triton_operator.api.meta import MAX_OBJECT_NAME

_DIGITS = 6


class Naming:
    """Gives each model a name of its own that an object, and a server, may have."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def object_name(self, model: str) -> str:
        """Return a name made of a model's: the same for the same models in the same order."""
        name = server_name(model)
        if name in self._taken:
            name = _shortened(name, model)
        self._taken.add(name)
        return name


def server_name(text: str) -> str:
    """Return the nearest name that a server may have."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not re.match(r"[a-z]", name):
        name = f"model-{name}".strip("-")
    return name if len(name) <= MAX_OBJECT_NAME else _shortened(name, text)


def _shortened(name: str, text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
    return f"{name[: MAX_OBJECT_NAME - _DIGITS - 1].rstrip('-')}-{digest}"
