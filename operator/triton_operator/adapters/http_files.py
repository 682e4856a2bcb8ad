"""``https://`` and ``http://``: one file per uri."""

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from triton_operator.adapters.credentials import Secrets
from triton_operator.adapters.web import Answer, Web
from triton_operator.repository.manifest import SourceRef
from triton_operator.repository.sources import (
    InvalidSourceError,
    SourceChangedError,
    SourceFile,
    SourceUnreachableError,
    file_name,
    public_uri,
)

KEYS = ("Authorization", "username", "password")
_OK, _PARTIAL, _RANGE = 200, 206, 416
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class HttpSources:
    """Files of web servers, in parts where a server gives parts of one known state."""

    def __init__(self, web: Web, secrets: Secrets) -> None:
        self._web = web
        self._secrets = secrets

    def list_files(self, source: SourceRef) -> tuple[SourceFile, ...]:
        """Return the one file of a uri; HTTP knows no folders.

        Its first byte is asked for, since signed addresses seldom allow ``HEAD``.
        """
        uri, shown = source.uri, public_uri(source.uri)
        try:
            parts = urlsplit(uri)
            named = bool(parts.hostname) and parts.port != 0
        except ValueError as error:
            raise InvalidSourceError(f"{shown} is not a valid uri: {error}") from error
        if not named:
            raise InvalidSourceError(f"{shown} names no server")
        if not parts.path.rpartition("/")[2]:
            raise InvalidSourceError(
                f"{shown} is a folder, which HTTP cannot list: name a file, or put the folder "
                "into an object store or on a claim"
            )
        name = file_name(uri)
        headers = {"Range": "bytes=0-0", **self._authorization(uri, source.secret)}
        with self._web.get(_without_user(uri), headers, accept=frozenset({_RANGE})) as answer:
            validator, whole = _validator(answer), _CONTENT_RANGE.fullmatch(_range_of(answer))
            size = int(whole[3]) if whole else _length(answer)
            ranges = whole is not None and bool(validator)
        secret = source.secret
        return (SourceFile(uri, name, size, validator, ranges=ranges, secret=secret),)

    @contextmanager
    def read(self, file: SourceFile, start: int, stop: int | None) -> Iterator[Iterator[bytes]]:
        """Open a part of the file, or the whole one."""
        headers = self._authorization(file.uri, file.secret)
        if stop is not None:
            headers |= {"Range": f"bytes={start}-{stop - 1}", "If-Range": file.validator}
        with self._web.get(_without_user(file.uri), headers) as answer:
            shown = public_uri(file.uri)
            if _validator(answer) != file.validator or (stop is not None and answer.status == _OK):
                raise SourceChangedError(f"{shown} changed while it was fetched; it is tried again")
            if stop is not None and not _range_of(answer).startswith(f"bytes {start}-{stop - 1}/"):
                raise SourceUnreachableError(f"{shown} sent another part; it is tried again")
            yield answer.chunks()

    def _authorization(self, uri: str, secret: str | None) -> dict[str, str]:
        parts = urlsplit(uri)
        if parts.username is not None:
            return _basic(unquote(parts.username), unquote(parts.password or ""))
        values = self._secrets.read(secret, KEYS, public_uri(uri))
        if not values:
            return {}
        if parts.scheme == "http":
            raise InvalidSourceError(
                f"{public_uri(uri)}: credentials are not sent unencrypted: use https, or remove "
                "secretRef"
            )
        self._secrets.check_receiver(secret, uri, public_uri(uri))
        if "Authorization" in values:
            return {"Authorization": values["Authorization"]}
        return _basic(values.get("username", ""), values.get("password", ""))


def _basic(user: str, password: str) -> dict[str, str]:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def _without_user(uri: str) -> str:
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


def _validator(answer: Answer) -> str:
    """Return what proves that two answers are of one state: a strong entity tag, else a date."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")


def _range_of(answer: Answer) -> str:
    return answer.headers.get("Content-Range", "") if answer.status == _PARTIAL else ""


def _length(answer: Answer) -> int | None:
    if answer.status != _OK:
        return None
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None
