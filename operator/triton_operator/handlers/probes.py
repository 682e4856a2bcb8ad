"""What the kubelet asks: does this process go on (``/healthz``), is it of use (``/readyz``)."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from aiohttp import web

from triton_operator.adapters.http_server import Answer, serve

Check = Callable[[], list[str]]
"""Returns what is wrong, in words."""


def serve_probes(
    port: int, *, alive: Check, ready: Check, host: str = ""
) -> AbstractAsyncContextManager[int]:
    """Answer probes until the block ends; gives the port."""
    return serve({"/healthz": _answer_with(alive), "/readyz": _answer_with(ready)}, port, host)


def _answer_with(check: Check) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        wrong = check()
        return web.Response(text="\n".join(wrong) or "ok", status=503 if wrong else 200)

    return answer
