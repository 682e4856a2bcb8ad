"""The few calls to the API server that this package makes, without a client library.

A watch is one long answer to a GET: a line of JSON for each change. `watch` lists, follows the
changes, and starts over when the connection ends, so a reader sees every object's present state,
some more than once.
"""

import base64
import http.client
import json
import ssl
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.cluster.shell import run

_TIMEOUT_S = 10.0
_WATCH_TIMEOUT_S = 300
_PAUSE_S = 0.2

Object = dict[str, Any]


class ApiError(Exception):
    """The API server refused; `status` is the HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text[:500]}")
        self.status = status


@dataclass(frozen=True)
class Api:
    """A server's address and the TLS settings that prove who we are."""

    host: str
    port: int
    tls: ssl.SSLContext

    def call(
        self, method: str, path: str, body: object = None, *, content: str = "application/json"
    ) -> Object:
        """One request; the parsed answer. Raise ApiError for a refusal, OSError for no answer."""
        connection = self._connect(_TIMEOUT_S)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, body=text, headers={"Content-Type": content})
            answer = connection.getresponse()
            data = answer.read().decode(errors="replace")
        finally:
            connection.close()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise ApiError(answer.status, data)
        return json.loads(data) if data.startswith("{") else {"text": data}

    def answers(self) -> bool:
        """Whether the server says that it is ready."""
        try:
            self.call("GET", "/readyz")
        except (OSError, ApiError, http.client.HTTPException):
            return False
        return True

    def apply(self, path: str, manifest: Object) -> Object:
        """Server-side apply of one object at its path."""
        query = "?fieldManager=test-cluster&force=true"
        return self.call("PATCH", path + query, manifest, content="application/apply-patch+yaml")

    def watch(self, path: str) -> Iterator[Object]:
        """Every object under a collection's path, now and at each change, for ever; deleted ones
        are not reported."""
        while True:
            try:
                listed = self.call("GET", path)
                yield from listed["items"]
                yield from self._follow(path, listed["metadata"]["resourceVersion"])
            except (OSError, ApiError, http.client.HTTPException, ValueError):
                time.sleep(_PAUSE_S)

    def _follow(self, path: str, version: str) -> Iterator[Object]:
        connection = self._connect(_WATCH_TIMEOUT_S + _TIMEOUT_S)
        query = f"?watch=true&resourceVersion={version}&timeoutSeconds={_WATCH_TIMEOUT_S}"
        try:
            connection.request("GET", path + query)
            answer = connection.getresponse()
            while line := answer.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                if event["type"] != "DELETED":
                    yield event["object"]
        finally:
            connection.close()

    def _connect(self, timeout_s: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            self.host, self.port, timeout=timeout_s, context=self.tls
        )


def connect(kubeconfig: Path, *, kubectl: Path | str = "kubectl") -> Api:
    """The API server of a kubeconfig's current context, which must hold its certificates inside."""
    text = kubeconfig.read_text()
    if not text.startswith("{"):
        view = ["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]
        text = run([kubectl, "--kubeconfig", kubeconfig, *view])
    config = json.loads(text)
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    address = urlsplit(cluster["server"])
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    tls = ssl.create_default_context(cadata=authority)
    # The ssl module reads a client's certificate only from a file.
    with tempfile.NamedTemporaryFile() as pem:
        pem.write(base64.b64decode(user["client-certificate-data"]))
        pem.write(base64.b64decode(user["client-key-data"]))
        pem.flush()
        tls.load_cert_chain(pem.name)
    return Api(address.hostname or "", address.port or 443, tls)
