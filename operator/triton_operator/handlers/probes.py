"""What the kubelet asks: does this process go on (``/healthz``), is it of use (``/readyz``)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

_GRACE_SECONDS = 1.0

Check = Callable[[], list[str]]
"""Returns what is wrong, in words."""


@asynccontextmanager
async def serve_probes(port: int, *, alive: Check, ready: Check) -> AsyncIterator[None]:
    """Answer probes from within the event loop that does all the work, until the block ends."""
    app = web.Application()
    app.router.add_get("/healthz", _answer_with(alive))
    app.router.add_get("/readyz", _answer_with(ready))
    runner = web.AppRunner(
        app, handle_signals=False, access_log=None, shutdown_timeout=_GRACE_SECONDS
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()


def _answer_with(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        wrong = check()
        return web.Response(text="\n".join(wrong) or "ok", status=503 if wrong else 200)

    return answer
