"""The Secrets that sources name, mounted into the sync Job: read by key, shown nowhere.

Who writes a model may name any Secret of the namespace and any host, so it is the Secret that says
whom its values may be sent to: by its endpoint, if it has one, and by its key ``hosts``.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from triton_operator.errors import InvalidSpecError
from triton_operator.repository.layout import check_name
from triton_operator.repository.sources import SourceRefusedError

HOSTS = "hosts"
"""The key of a Secret that names hosts, as ``host`` or ``host:port``, apart by blanks or commas."""
_PORTS = {"http": 80, "https": 443}
_SHORTEST_SECRET = 6
"""Shorter values are not blotted out of messages: they would hit innocent words."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """Credentials by the name of their Secret."""

    root: Path | None = None
    """Folder with one folder per Secret, and a file per key in it."""
    default: str | None = None
    """The Secret of sources that name none."""
    foreign_ca: bool = False
    """Whether certificates are trusted that are not public: a proxy may make such, and read all."""

    def name_for(self, secret: str | None) -> str | None:
        """Return the Secret that a source's credentials come from, None without any."""
        return secret or self.default

    def read(self, secret: str | None, keys: tuple[str, ...], uri: str) -> Mapping[str, str]:
        """Return the values of these keys, of those that there are; nothing without a Secret.

        The default Secret need not have any: it may be for sources of another scheme.

        Raises:
            SourceRefusedError: the Secret is not there, has none of the keys, or does not name a
                proxy that could read its values.

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
        if found and self.foreign_ca:
            for proxy in _proxies():
                self.check_receiver(secret, proxy, uri)
        return found

    def check_receiver(self, secret: str | None, address: str, uri: str) -> None:
        """Refuse to send a Secret's values to an address that somebody else than it names.

        Raises:
            SourceRefusedError: the Secret's key ``hosts`` does not name the address's host.

        """
        name = self.name_for(secret)
        if name is None:
            return
        try:
            named = self._path(name, HOSTS).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, InvalidSpecError):
            named = ""
        place = _place(address)
        if place is None or place not in _places(named, urlsplit(address).scheme):
            host, port = place or ("nobody", None)
            raise SourceRefusedError(
                f"{uri}: Secret {name!r} is not for {host}:{port}, which would see its values: name"
                f" that host in the Secret's key {HOSTS!r}, or correct the address"
            )

    def _path(self, name: str, key: str) -> Path:
        if self.root is None:
            raise FileNotFoundError(key)
        return self.root / check_name(name) / key


def _place(address: str) -> tuple[str, int | None] | None:
    """Return host and port of an address, None if it has none."""
    try:
        parts = urlsplit(address)
        return (parts.hostname, parts.port or _PORTS.get(parts.scheme)) if parts.hostname else None
    except ValueError:
        return None


def _places(text: str, scheme: str) -> set[tuple[str, int | None]]:
    """Return what the entries of ``hosts`` stand for in addresses of a scheme."""
    found = (_place(f"{scheme}://{entry}") for entry in text.replace(",", " ").split())
    return {each for each in found if each is not None}


def _proxies() -> Iterator[str]:
    """Yield the addresses of all proxies of this process."""
    for scheme, proxy in getproxies_environment().items():
        if scheme != "no":
            yield proxy if "://" in proxy else f"http://{proxy}"


def blot_out(text: str, values: Mapping[str, str]) -> str:
    """Return a text without any of these values, and without the query of any uri in it."""
    for value in values.values():
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    head, *queries = text.split("?")
    rest = (query.partition(" ")[2] for query in queries)
    return " ".join((head, *rest)).replace(os.linesep, " ").strip()
