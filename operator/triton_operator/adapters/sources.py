"""Where artifacts are read from: claims mounted into the Job, and HTTP servers.

fsspec, and aiohttp under it, are imported when the first HTTP source is read: a Job that has
nothing to download does not wait for them.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from triton_operator.adapters.claims import ClaimSources
from triton_operator.errors import InvalidSpecError
from triton_operator.repository.layout import check_name
from triton_operator.repository.sources import (
    InvalidSourceError,
    Sink,
    SourceFile,
    SourceNotFoundError,
    SourceRefusedError,
    Sources,
    SourceUnreachableError,
    SyncError,
    public_uri,
)

CHUNK_BYTES = 4 << 20
_PROGRESS_BYTES = 8 << 20
"""What an attempt must have brought to count as progress and give back the spent attempts."""
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _GONE, _RANGE = 401, 403, 404, 410, 416
_PARTIAL = 206
_SERVER_ERROR = 500
_TRY_LATER = {408, 425, 429}


class SchemeSources:
    """Gives every uri to the source of its scheme."""

    def __init__(self, by_scheme: Mapping[str, Sources]) -> None:
        self._by_scheme = by_scheme

    def list_files(self, uri: str) -> tuple[SourceFile, ...]:
        """Return the files that a uri names."""
        return self._source(uri).list_files(uri)

    def fetch(self, file: SourceFile, sink: Sink) -> None:
        """Write a file's whole content into the sink."""
        self._source(file.uri).fetch(file, sink)

    def _source(self, uri: str) -> Sources:
        scheme = uri.partition("://")[0]
        try:
            return self._by_scheme[scheme]
        except KeyError:
            known = ", ".join(f"{each}://" for each in self._by_scheme)
            raise InvalidSourceError(
                f"{public_uri(uri)}: this release reads {known}; put the artifact there"
            ) from None


def open_sources(claims: Mapping[str, Path], *, allow_http: bool = False) -> SchemeSources:
    """Return everything that this release can read.

    Args:
        claims: Where each claim is mounted, by name.
        allow_http: Read unencrypted ``http://`` too; for tests.

    """
    http = HttpSources(allow_http=allow_http)
    by_scheme: dict[str, Sources] = {"pvc": ClaimSources(claims), "https": http}
    return SchemeSources(by_scheme | ({"http": http} if allow_http else {}))


class HttpSources:
    """``https://``: one file per uri, streamed, resumed where it broke off."""

    def __init__(
        self,
        *,
        allow_http: bool = False,
        attempts: int = 4,
        backoff_seconds: float = 1.0,
        timeout_seconds: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare without importing or connecting.

        Args:
            allow_http: Accept unencrypted answers; for tests.
            attempts: Tries without progress before the source counts as unreachable.
            backoff_seconds: Wait before the second try, doubled before each further one.
            timeout_seconds: Longest silence of a server; there is no limit for the whole file.
            sleep: Waits.

        """
        self._allow_http = allow_http
        self._attempts = attempts
        self._backoff_seconds = backoff_seconds
        self._timeout_seconds = timeout_seconds
        self._sleep = sleep
        self._filesystem: Any = None

    def list_files(self, uri: str) -> tuple[SourceFile, ...]:
        """Return the one file of a uri; HTTP knows no folders."""
        try:
            parts = urlsplit(uri)
            name = unquote(parts.path.rpartition("/")[2])
            named = bool(parts.hostname) and parts.port != 0
        except ValueError as error:
            raise InvalidSourceError(f"{public_uri(uri)} is not a valid uri: {error}") from error
        if not named:
            raise InvalidSourceError(f"{public_uri(uri)} names no server")
        if not name:
            raise InvalidSourceError(
                f"{public_uri(uri)} is a folder, which HTTP cannot list: name a file, "
                "or put the folder on a claim"
            )
        try:
            return (SourceFile(uri, check_name(name)),)
        except InvalidSpecError as error:
            raise InvalidSourceError(f"{public_uri(uri)}: {error}") from error

    def fetch(self, file: SourceFile, sink: Sink) -> None:
        """Download the file; what has arrived is kept over a broken connection."""
        download = _Download(file.uri, sink, self._open)
        failures = 0
        furthest = 0
        while True:
            try:
                download.go_on()
            except SourceUnreachableError:
                progressed = sink.position >= furthest + _PROGRESS_BYTES
                furthest = max(furthest, sink.position)
                failures = 1 if progressed else failures + 1
                if failures >= self._attempts:
                    raise
                self._sleep(self._backoff_seconds * 2 ** (failures - 1))
            else:
                return

    def _open(self, uri: str, headers: Mapping[str, str]) -> "_Answer":
        try:
            # size=1 and block_size=0: no HEAD request, and a plain stream of the body
            stream = self._http().open(uri, block_size=0, size=1, headers=headers)
        except Exception as error:
            raise _http_error(error, uri) from error
        answer = _Answer(stream, uri)
        schemes = {hop.url.scheme for hop in (*stream.r.history, stream.r)}
        if "http" in schemes and not self._allow_http:
            answer.close()
            raise InvalidSourceError(
                f"{public_uri(uri)} redirects to unencrypted http: name a source with https"
            )
        return answer

    def _http(self) -> Any:
        if self._filesystem is None:
            from aiohttp import ClientTimeout  # noqa: PLC0415 - see the module docstring
            from fsspec.implementations.http import HTTPFileSystem  # noqa: PLC0415

            timeout = ClientTimeout(
                total=None, sock_connect=self._timeout_seconds, sock_read=self._timeout_seconds
            )
            # trust_env: clusters reach the outside through HTTPS_PROXY
            self._filesystem = HTTPFileSystem(
                client_kwargs={"timeout": timeout, "trust_env": True}, skip_instance_cache=True
            )
        return self._filesystem


class _Stream(Protocol):
    """The part of fsspec's ``HTTPStreamFile`` that we use; ``r`` is aiohttp's response."""

    r: Any

    def read(self, num: int) -> bytes: ...

    def close(self) -> None: ...


class _Answer:
    """The body of one HTTP answer."""

    def __init__(self, stream: _Stream, uri: str) -> None:
        self._stream = stream
        self._uri = uri
        self.length: int | None = stream.r.content_length
        headers = stream.r.headers
        partial = stream.r.status == _PARTIAL
        self.range: str | None = headers.get("Content-Range", "") if partial else None
        tag = headers.get("ETag", "")
        self.validator: str | None = tag if tag.startswith('"') else None
        """What makes a resumed download safe: a strong entity tag."""

    def __enter__(self) -> "_Answer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back."""
        self._stream.close()

    def read(self) -> bytes:
        """Return the next bytes, none at the end."""
        try:
            return self._stream.read(CHUNK_BYTES)
        except Exception as error:
            raise _http_error(error, self._uri) from error


class _Download:
    """One file on its way, over as many connections as it takes."""

    def __init__(
        self, uri: str, sink: Sink, connect: Callable[[str, Mapping[str, str]], _Answer]
    ) -> None:
        self._uri = uri
        self._sink = sink
        self._connect = connect
        self._validator: str | None = None

    def go_on(self) -> None:
        """Fetch what is missing, to the end.

        Raises:
            SourceUnreachableError: it broke off; what arrived is still good.

        """
        headers = {"Accept-Encoding": "identity"}  # else sizes and ranges mean something else
        start = self._sink.position
        if start and self._validator:
            headers |= {"Range": f"bytes={start}-", "If-Range": self._validator}
        with self._connect(self._uri, headers) as answer:
            if answer.range is None:
                if start:  # it cannot be resumed, or has changed since
                    self._sink.restart()
            elif not answer.range.startswith(f"bytes {start}-"):
                raise SourceUnreachableError(f"{public_uri(self._uri)} sent another range")
            self._validator = answer.validator
            if answer.length is not None:
                self._sink.expect(self._sink.position + answer.length)
            while chunk := answer.read():
                self._sink.write(chunk)


def _http_error(error: Exception, uri: str) -> SyncError:
    """Return what to report for an exception of fsspec or aiohttp."""
    from aiohttp import InvalidURL, TooManyRedirects  # noqa: PLC0415 - see the module docstring

    shown = public_uri(uri)
    if isinstance(error, InvalidURL | TooManyRedirects):
        return InvalidSourceError(f"{shown} cannot be followed: {type(error).__name__}")
    status = _NOT_FOUND if isinstance(error, FileNotFoundError) else getattr(error, "status", None)
    if status in {_NOT_FOUND, _GONE}:
        return SourceNotFoundError(f"{shown} answers HTTP {status}: correct the uri")
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        return SourceRefusedError(f"{shown} answers HTTP {status}: give credentials that may read")
    if isinstance(status, int) and status < _SERVER_ERROR and status not in {*_TRY_LATER, _RANGE}:
        return SourceRefusedError(f"{shown} answers HTTP {status}: correct the uri")
    detail = f"answers HTTP {status}" if status else f"fails: {str(error) or type(error).__name__}"
    return SourceUnreachableError(f"{shown} {detail}; it is tried again")
