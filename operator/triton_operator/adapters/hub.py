"""``hf://``: files of repositories on the Hugging Face hub, or a mirror of it."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from triton_operator.adapters.credentials import Secrets
from triton_operator.adapters.web import Answer, Web
from triton_operator.errors import InvalidSpecError
from triton_operator.repository.layout import check_path
from triton_operator.repository.manifest import SourceRef
from triton_operator.repository.sources import (
    InvalidSourceError,
    SourceChangedError,
    SourceFile,
    SourceNotFoundError,
    SourceUnreachableError,
)

KEYS = ("HF_TOKEN",)
_HUB = "https://huggingface.co"
_URI = re.compile(
    r"hf://(?P<repository>(?:datasets/|spaces/)?[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?"
    r"(?:/(?P<path>.*))?"
)
_PARTIAL = 206
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')


class HubSources:
    """``hf://<owner>/<repository>[@<revision>][/<path>]``."""

    def __init__(self, web: Web, secrets: Secrets) -> None:
        self._web = web
        self._secrets = secrets
        self._hub = os.environ.get("HF_ENDPOINT", "").rstrip("/") or _HUB

    def list_files(self, source: SourceRef) -> tuple[SourceFile, ...]:
        """Return the file, or all files of the folder."""
        place = _parse(source.uri)
        parent, _, name = place.path.rpartition("/")
        if name:
            entries = self._tree(place, parent, source, recursive=False)
            for entry in entries:
                if entry["path"] == place.path and entry["type"] == "file":
                    return (self._describe(source, source.uri, name, entry),)
        prefix = f"{place.path}/" if place.path else ""
        files = tuple(
            self._describe(source, f"{place.root}/{entry['path']}", path, entry)
            for entry in self._tree(place, place.path, source, recursive=True)
            if entry["type"] == "file"
            and entry["path"].startswith(prefix)
            and (path := entry["path"].removeprefix(prefix)) != ".gitattributes"
        )
        if not files:
            raise SourceNotFoundError(f"{source.uri} has no files: correct the uri")
        return files

    @contextmanager
    def read(self, file: SourceFile, start: int, stop: int | None) -> Iterator[Iterator[bytes]]:
        """Open a part of the file."""
        place = _parse(file.uri)
        kind = place.repository
        uri = f"{self._hub}/{kind}/resolve/{quote(place.revision, safe='')}/{quote(place.path)}"
        headers = self._authorization(file.uri, file.secret)
        if stop is not None:
            headers["Range"] = f"bytes={start}-{stop - 1}"
        with self._web.get(uri, headers) as answer:
            tag = _tag(answer)
            if tag and tag != file.validator:
                raise SourceChangedError(f"{file.uri} changed while it was fetched")
            if stop is not None and answer.status != _PARTIAL and (start, stop) != (0, file.size):
                raise SourceUnreachableError(f"{file.uri} gives no parts; it is tried again")
            yield answer.chunks()

    def _tree(
        self, place: "_Place", path: str, source: SourceRef, *, recursive: bool
    ) -> list[dict[str, Any]]:
        kind = place.repository
        if not kind.startswith(("datasets/", "spaces/")):
            kind = f"models/{kind}"
        address: str | None = (
            f"{self._hub}/api/{kind}/tree/{quote(place.revision, safe='')}/{quote(path)}"
        ).rstrip("/") + f"?recursive={str(recursive).lower()}"
        entries: list[dict[str, Any]] = []
        while address is not None:
            headers = self._authorization(source.uri, source.secret)
            with self._web.get(address, headers) as answer:
                entries += _read_entries(b"".join(answer.chunks()), source.uri)
                following = _NEXT.search(answer.headers.get("Link", ""))
            address = following[1] if following else None
            if address is not None and not address.startswith(f"{self._hub}/"):
                raise InvalidSourceError(f"{source.uri}: the hub continues its list elsewhere")
        return entries

    def _describe(
        self, source: SourceRef, uri: str, path: str, entry: dict[str, Any]
    ) -> SourceFile:
        try:
            path = check_path(path).as_posix()
        except InvalidSpecError as error:
            raise InvalidSourceError(f"{source.uri}: {error}") from error
        large = entry.get("lfs") or {}
        digest = large.get("oid")
        return SourceFile(
            uri, path, entry["size"], digest or entry["oid"], sha256=digest, ranges=True,
            store=self._hub, secret=source.secret,
        )  # fmt: skip

    def _authorization(self, uri: str, secret: str | None) -> dict[str, str]:
        values = self._secrets.read(secret, KEYS, uri)
        if values and self._hub.startswith("http://"):
            raise InvalidSourceError(f"{uri}: the token is not sent unencrypted: mend HF_ENDPOINT")
        if values and self._hub != _HUB:
            self._secrets.check_receiver(secret, self._hub, uri)
        return {"Authorization": f"Bearer {values['HF_TOKEN']}"} if values else {}


@dataclass(frozen=True, slots=True)
class _Place:
    """What a uri names."""

    root: str
    repository: str
    revision: str
    path: str


def _parse(uri: str) -> _Place:
    match = _URI.fullmatch(uri)
    path = (match["path"] or "").rstrip("/") if match else ""
    if match is None:
        raise InvalidSourceError(
            f"{uri} must be hf://<owner>/<repository>[@<revision>]/<path>: correct it"
        )
    try:
        path = check_path(path).as_posix() if path else ""
    except InvalidSpecError as error:
        raise InvalidSourceError(f"{uri}: {error}") from error
    root = uri.removesuffix("/").removesuffix(path).rstrip("/")
    return _Place(root, match["repository"], match["revision"] or "main", path)


def _read_entries(text: bytes, uri: str) -> list[dict[str, Any]]:
    try:
        entries = json.loads(text)
        return [
            {key: each.get(key) for key in ("type", "path", "size", "oid", "lfs")}
            for each in entries
            if isinstance(each["path"], str) and each["type"] in {"file", "directory"}
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SourceUnreachableError(f"{uri}: the hub's answer is no list of files") from error


def _tag(answer: Answer) -> str:
    """Return the hub's own tag of a file: the first answer's, not that of where it redirects."""
    first = answer.hops[0] if answer.hops else answer.headers
    tag: str = first.get("X-Linked-ETag") or first.get("ETag") or ""
    return tag.removeprefix("W/").strip('"')
