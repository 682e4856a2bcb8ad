"""A gateway before a Service: nginx, which keeps connections to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.support.triton import HTTP_PORT
from tests.wire.servers import program, running

HOST = "127.0.0.9"
"""An address of this machine at which nobody else listens, so that the port can be Triton's."""


@contextmanager
def gateway(folder: Path, service: str) -> Iterator[str]:
    """Run it before the address of a Service; yield its own.

    A request whose kept connection turns out to be closed is sent again. nginx does so with a POST
    only when told that it may be.
    """
    paths = " ".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    target = f"server {service}:{HTTP_PORT} max_fails=0;"
    (folder / "nginx.conf").write_text(
        f"user root; daemon off; master_process off; pid {folder}/pid; error_log stderr;\n"
        "events {}\n"
        f"http {{ access_log off; {paths}\n"
        # Listed twice: with one server there is no next one to try.
        f"upstream triton {{ {target} {target} keepalive 8; }}\n"
        f"server {{ listen {HOST}:{HTTP_PORT}; location / {{\n"
        'proxy_pass http://triton; proxy_http_version 1.1; proxy_set_header Connection "";\n'
        "proxy_next_upstream error timeout non_idempotent; } } }\n"
    )
    with running(HOST, HTTP_PORT, program("nginx"), "-e", "stderr", "-c", folder / "nginx.conf"):
        yield HOST
