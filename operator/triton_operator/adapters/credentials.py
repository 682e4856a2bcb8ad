"""The Secrets that sources name, mounted into the sync Job: read by key, shown nowhere."""

import os
from collections.abc import Mapping
from pathlib import Path

from triton_operator.errors import InvalidSpecError
from triton_operator.repository.layout import check_name
from triton_operator.repository.sources import SourceRefusedError

_SHORTEST_SECRET = 6
"""Shorter values are not blotted out of messages: they would hit innocent words."""


class Secrets:
    """Credentials by the name of their Secret."""

    def __init__(self, root: Path | None = None, default: str | None = None) -> None:
        """Prepare without reading.

        Args:
            root: Folder with one folder per Secret, and a file per key in it.
            default: The Secret of sources that name none.

        """
        self._root = root
        self._default = default

    def name_for(self, secret: str | None) -> str | None:
        """Return the Secret that a source's credentials come from, None without any."""
        return secret or self._default

    def read(self, secret: str | None, keys: tuple[str, ...], uri: str) -> Mapping[str, str]:
        """Return the values of these keys, of those that there are; nothing without a Secret.

        The default Secret need not have any: it may be for sources of another scheme.

        Raises:
            SourceRefusedError: the Secret is not there, or has none of the keys.

        """
        name = self.name_for(secret)
        if name is None:
            return {}
        found = {}
        for key in keys:
            try:
                found[key] = self._path(name, key).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError, InvalidSpecError):
                continue
        if not found and secret is not None:
            raise SourceRefusedError(
                f"{uri}: Secret {name!r} is not in this namespace or has none of the keys "
                f"{', '.join(keys)}: create it, or correct secretRef"
            )
        return found

    def _path(self, name: str, key: str) -> Path:
        if self._root is None:
            raise FileNotFoundError(key)
        return self._root / check_name(name) / key


def blot_out(text: str, values: Mapping[str, str]) -> str:
    """Return a text without any of these values, and without the query of any uri in it."""
    for value in values.values():
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    head, *queries = text.split("?")
    rest = (query.partition(" ")[2] for query in queries)
    return " ".join((head, *rest)).replace(os.linesep, " ").strip()
