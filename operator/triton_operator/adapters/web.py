"""HTTP: one connection pool for all sources, with proxies, a CA bundle and careful redirects.

urllib3 is imported when the first request is made: a Job that has nothing to download does not
wait for it.
"""

import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from triton_operator.repository.sources import (
    InvalidSourceError,
    SourceNotFoundError,
    SourceRefusedError,
    SourceUnreachableError,
    SyncError,
    public_uri,
)

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

CHUNK_BYTES = 4 << 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 10
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _GONE = 401, 403, 404, 410
_CLIENT_ERROR, _SERVER_ERROR = 400, 500
_TRY_LATER = frozenset({408, 425, 429})
_OTHER_NAME, _OTHER_TIME = frozenset({62, 64}), frozenset({9, 10})
"""Codes of OpenSSL: host name or address mismatch; not yet valid, and expired."""
_BUNDLE = "repository.sync.caBundle"


class Web:
    """Makes requests; errors come as :class:`SyncError`, without anything secret in them."""

    def __init__(self, *, ca_bundle: Path | None = None, timeout_seconds: float = 30.0) -> None:
        """Prepare without connecting.

        Args:
            ca_bundle: Certificates to trust besides the system's, PEM.
            timeout_seconds: Longest silence of a server; there is no limit for the whole file.

        """
        self._ca_bundle = ca_bundle
        self._timeout_seconds = timeout_seconds
        self._pools: dict[str, PoolManager] = {}
        self._lock = threading.Lock()

    @contextmanager
    def get(
        self, uri: str, headers: Mapping[str, str], accept: frozenset[int] = frozenset()
    ) -> Iterator["Answer"]:
        """Open an answer, redirects followed; the ``Authorization`` stays with its host.

        Args:
            uri: What to get.
            headers: To send.
            accept: Statuses above 400 that are no errors here.

        Raises:
            SyncError: there is none, or it is an error.

        """
        shown = public_uri(uri)
        hops: list[Mapping[str, str]] = []
        headers = {"Accept-Encoding": "identity", **headers}  # else sizes and ranges mean others
        for _ in range(_MAX_REDIRECTS):
            response = self._request(uri, headers, shown)
            try:
                if response.status not in _REDIRECTS:
                    if response.status >= _CLIENT_ERROR and response.status not in accept:
                        raise _status_error(response.status, shown)
                    yield Answer(response, shown, tuple(hops))
                    return
                hops.append(response.headers)
                uri, headers = _follow(uri, response.headers.get("Location", ""), headers, shown)
            finally:
                # What has not been read to its end cannot be used again, and may have none.
                response.close()
                response.release_conn()
        raise InvalidSourceError(f"{shown} redirects in a circle: correct the uri")

    def _request(self, uri: str, headers: Mapping[str, str], shown: str) -> "BaseHTTPResponse":
        import urllib3  # noqa: PLC0415 - see the module docstring

        try:
            return self._pool(uri).request(
                "GET", uri, headers=headers, redirect=False, retries=False,
                preload_content=False, decode_content=False,
            )  # fmt: skip
        except (urllib3.exceptions.LocationValueError, UnicodeError) as error:
            raise InvalidSourceError(
                f"{shown} is not a valid uri: {type(error).__name__}"
            ) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise connection_error(error, shown) from error

    def _pool(self, uri: str) -> "PoolManager":
        parts = urlsplit(uri)
        proxies = getproxies_environment()
        proxy = proxies.get(parts.scheme) or proxies.get("all", "")
        if proxy and needs_no_proxy(parts.netloc.rpartition("@")[2]):
            proxy = ""
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = self._open_pool(proxy)
            return self._pools[proxy]

    def _open_pool(self, proxy: str) -> "PoolManager":
        import urllib3  # noqa: PLC0415 - see the module docstring

        context = ssl.create_default_context()
        if self._ca_bundle is not None:
            context.load_verify_locations(self._ca_bundle)
        timeout = urllib3.Timeout(connect=self._timeout_seconds, read=self._timeout_seconds)
        if not proxy:
            return urllib3.PoolManager(timeout=timeout, ssl_context=context, maxsize=32)
        address = proxy if "://" in proxy else f"http://{proxy}"
        parts = urlsplit(address)
        user = (
            f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
        )
        return urllib3.ProxyManager(
            address, timeout=timeout, ssl_context=context, maxsize=32,
            proxy_headers=urllib3.make_headers(proxy_basic_auth=user),
        )  # fmt: skip


class Answer:
    """One answer, whose body is still to be read."""

    def __init__(
        self,
        response: "BaseHTTPResponse",
        shown: str,
        hops: tuple[Mapping[str, str], ...],
    ) -> None:
        self._response = response
        self._shown = shown
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.hops = hops
        """Headers of the redirects that led here."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the body; a server that breaks it off is unreachable."""
        import urllib3  # noqa: PLC0415 - see the module docstring

        try:
            while chunk := self._response.read(CHUNK_BYTES):
                yield chunk
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise connection_error(error, self._shown) from error


def needs_no_proxy(host: str) -> bool:
    """Tell whether ``NO_PROXY`` has a host, with or without a port: by name, or by its network.

    What reads buckets knows networks as well, and the standard library does not.
    """
    if proxy_bypass(host):
        return True
    try:
        address = ip_address(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False
    for entry in getproxies_environment().get("no", "").split(","):
        with suppress(ValueError):
            if "/" in entry and address in ip_network(entry.strip(), strict=False):
                return True
    return False


def connection_error(error: Exception, shown: str) -> SyncError:
    """Return what to report when a connection could not be made or broke."""
    import urllib3  # noqa: PLC0415 - see the module docstring

    match error:
        case urllib3.exceptions.ProxyError():
            problem = "cannot be reached through the proxy: correct repository.sync.env"
        case urllib3.exceptions.SSLError():
            problem = _explain_tls(error.args[0] if error.args else None)
        case urllib3.exceptions.NameResolutionError():
            problem = "is on a host whose name cannot be resolved: correct it, or look at DNS"
        case urllib3.exceptions.NewConnectionError():
            problem = "refuses connections"
        case urllib3.exceptions.TimeoutError():
            problem = "did not answer in time: look at network policies and proxies"
        case _:
            problem = "broke the connection off"
    return SourceUnreachableError(f"{shown} {problem}; it is tried again")


def _explain_tls(error: object) -> str:
    """Return what is wrong with a server's TLS, and the mend."""
    match error:
        case ssl.SSLCertVerificationError(verify_code=code, verify_message=said):
            if code in _OTHER_NAME:
                return f"has a certificate of another name ({said}): correct the host of the uri"
            if code in _OTHER_TIME:
                return f"has a certificate that is not valid today ({said}): renew it there"
            return f"has a certificate that is not trusted ({said}): name your CA in {_BUNDLE}"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):
            return "answers without TLS: name the port of its https, or a uri with http://"
        case ssl.SSLError(reason=str(reason)):
            return f"does not agree with us on TLS: {reason}"
    return "does not agree with us on TLS"


def _status_error(status: int, shown: str) -> SyncError:
    if status in {_NOT_FOUND, _GONE}:
        return SourceNotFoundError(f"{shown} answers HTTP {status}: correct the uri")
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        return SourceRefusedError(
            f"{shown} answers HTTP {status}: name a Secret that may read it in secretRef"
        )
    if status < _SERVER_ERROR and status not in _TRY_LATER:
        return SourceRefusedError(f"{shown} answers HTTP {status}: correct the uri")
    return SourceUnreachableError(f"{shown} answers HTTP {status}; it is tried again")


def _follow(
    uri: str, location: str, headers: Mapping[str, str], shown: str
) -> tuple[str, dict[str, str]]:
    """Return where a redirect leads, and the headers that may go there."""
    try:
        target = urljoin(uri, location)
        here, there = urlsplit(uri), urlsplit(target)
        same = (here.scheme, here.hostname, here.port) == (there.scheme, there.hostname, there.port)
    except ValueError:
        raise InvalidSourceError(f"{shown} redirects to no valid uri") from None
    if there.scheme not in {"http", "https"} or not there.hostname:
        raise InvalidSourceError(f"{shown} redirects to what is no web address")
    if here.scheme == "https" and there.scheme == "http":
        raise InvalidSourceError(f"{shown} redirects to unencrypted http: name a source with https")
    kept = {name: value for name, value in headers.items() if same or name != "Authorization"}
    return target, kept
