"""Web servers of this machine that pods of the cluster ask."""

import socket
import threading

from tests.wire import servers


def address_towards(ip: str) -> str:
    """Return this machine's address as a pod sees it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((ip, 1))
        return str(probe.getsockname()[0])


def send_slowly(
    handler: servers.Handler,
    body: bytes,
    released: threading.Event,
    *,
    piece: int = 1,
    pause: float = 1.0,
) -> None:
    """Send so many bytes at a time, with seconds between them, and the rest once it is released.

    Nobody takes that for silence.
    """
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    rest = memoryview(body)
    while rest:
        count = len(rest) if released.wait(pause) else piece
        handler.wfile.write(rest[:count])
        rest = rest[count:]
