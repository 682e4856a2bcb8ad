"""A page or two over HTTP, served from within the event loop that does all the work."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

_GRACE_SECONDS = 1.0

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serve(pages: Mapping[str, Answer], port: int, host: str = "") -> AsyncIterator[int]:
    """Answer by path until the block ends, on all addresses or on one; gives the port."""
    app = web.Application()
    for path, answer in pages.items():
        app.router.add_get(path, answer)
    runner = web.AppRunner(
        app, handle_signals=False, access_log=None, shutdown_timeout=_GRACE_SECONDS
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host or None, port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
