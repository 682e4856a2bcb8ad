"""Short questions to single pods over HTTP, hardened: what a pod answers is not trusted.

Every question has a connection of its own. Keeping them would save half of the processor time, but
an idle connection, to the metrics port too, makes a pod that leaves burn its whole exit budget.
"""

from ipaddress import ip_address
from types import TracebackType
from typing import Protocol, Self

import aiohttp

from triton_operator.observed import Pod
from triton_operator.ports import FailureReason, ScrapeFailure

MOST_BYTES = 4 * 1024 * 1024
"""Of one answer: Prometheus pages of about a thousand models."""

_OK = 200
_HEADERS = {"Accept-Encoding": "identity", "Connection": "close"}


class AnswerError(Exception):
    """A pod gave no answer, or none that can be used."""

    def __init__(self, reason: FailureReason, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.failure = ScrapeFailure(reason, message)
        self.status = status
        """The HTTP status of a refusal."""


class PodReader(Protocol):
    """A way to ask pods."""

    async def get(self, pod: Pod, port: int, path: str) -> bytes:
        """Return the body of a pod's answer with status 200; raises ``AnswerError``."""


class PodHttp:
    """GET requests to pods by IP: no DNS, proxy, redirect, cookie or compression."""

    def __init__(self, *, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Make the session; needs a running loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # callers have deadlines
            auto_decompress=False,
            headers=_HEADERS,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what is still open."""
        if self._session is not None:
            await self._session.close()

    async def get(self, pod: Pod, port: int, path: str) -> bytes:
        """Return the body of a pod's answer with status 200.

        Waits for as long as the caller lets it. Raises ``AnswerError``.
        """
        if self._session is None:
            raise RuntimeError("PodHttp is used outside of `async with`")
        where = f":{port}{path}"
        try:
            address = ip_address(pod.ip)
            host = f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004
            url = f"http://{host}:{port}{path}"
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status != _OK:
                    raise AnswerError(
                        FailureReason.STATUS, f"{where}: HTTP {response.status}", response.status
                    )
                return await self._read(response, where)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            what = str(error) or type(error).__name__
            raise AnswerError(FailureReason.UNREACHABLE, f"{where}: {what}"[:300]) from error

    async def _read(self, response: aiohttp.ClientResponse, where: str) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._most_bytes:
                raise AnswerError(
                    FailureReason.TOO_LARGE, f"{where}: more than {self._most_bytes} bytes"
                )
        return bytes(body)
