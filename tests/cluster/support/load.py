"""Requests that go on while something happens, and what became of each of them."""

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import numpy as np
import tritonclient.grpc as grpc_client
from tritonclient.utils import InferenceServerException

from tests.cluster.support.triton import GRPC_PORT, HTTP_PORT, Answer, ask, number_request

_PAUSE_SECONDS = 0.02
_MOST_SECONDS = 120.0
_FAILURES = (OSError, http.client.HTTPException, InferenceServerException, grpc.RpcError)


@dataclass(frozen=True)
class Request:
    """One request: when it was sent, how long it took, and the number or the error it got."""

    protocol: str
    at: float
    seconds: float
    value: float | None = None
    error: str = ""


@dataclass
class Load:
    """Several clients that ask one model without a break; a context manager.

    HTTP clients open a connection for every request, gRPC clients keep their channel. Others keep
    an HTTP connection, and send a request again when it was closed; the bare ones do not.
    """

    host: str
    model: str
    http_clients: int = 2
    grpc_clients: int = 1
    version: int | None = None
    value: float = 1.0
    """What is sent."""
    most_seconds: float = _MOST_SECONDS
    pause_seconds: float = _PAUSE_SECONDS
    """Between the requests of one client."""
    keep_alive_clients: int = 0
    bare_clients: int = 0
    _requests: list[Request] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Load":
        kinds = (
            *[self._ask_http] * self.http_clients,
            *[self._ask_grpc] * self.grpc_clients,
            *[self._ask_kept] * self.keep_alive_clients,
            *[self._ask_bare] * self.bare_clients,
        )
        self._threads = [threading.Thread(target=kind, daemon=True) for kind in kinds]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def requests(self) -> tuple[Request, ...]:
        return tuple(self._requests)

    def failed(self) -> list[Request]:
        return [each for each in self.requests() if each.error]

    def values(self) -> Counter[float]:
        """Return the numbers that came back, with how often each did."""
        return Counter(each.value for each in self.requests() if each.value is not None)

    def first(self, value: float) -> Request | None:
        """Return the first request that got a number."""
        return next((each for each in self.requests() if each.value == value), None)

    def summary(self) -> str:
        requests = self.requests()
        by_protocol = Counter(each.protocol for each in requests)
        slowest = max((each.seconds for each in requests), default=0.0)
        counts = ", ".join(f"{count} {name}" for name, count in sorted(by_protocol.items()))
        return f"{counts}, {len(self.failed())} failed, slowest {slowest:.2f} s"

    def _ask_http(self) -> None:
        body = number_request(self.value)
        self._repeat("http", lambda: _number(ask(self.host, self._path, body, seconds=30)))

    def _ask_kept(self) -> None:
        self._keep_alive("http keep-alive", retries=1)

    def _ask_bare(self) -> None:
        self._keep_alive("bare keep-alive", retries=0)

    def _keep_alive(self, protocol: str, retries: int) -> None:
        connection = http.client.HTTPConnection(self.host, HTTP_PORT, timeout=30)
        body = json.dumps(number_request(self.value))

        def once(left: int = retries) -> float:
            try:
                # It connects again after `close`.
                connection.request("POST", self._path, body=body)
                answer = connection.getresponse()
                return _number(Answer(answer.status, answer.read().decode(errors="replace")))
            except (ConnectionError, http.client.HTTPException):
                connection.close()
                if not left:
                    raise
                return once(left - 1)

        self._repeat(protocol, once)
        connection.close()

    @property
    def _path(self) -> str:
        version = f"/versions/{self.version}" if self.version else ""
        return f"/v2/models/{self.model}{version}/infer"

    def _ask_grpc(self) -> None:
        client = grpc_client.InferenceServerClient(f"{self.host}:{GRPC_PORT}")
        tensor = grpc_client.InferInput("IN", [1, 1], "FP32")
        tensor.set_data_from_numpy(np.array([[self.value]], np.float32))

        def once() -> float:
            answer = client.infer(
                self.model, [tensor], model_version=str(self.version or ""), client_timeout=30
            )
            found = answer.as_numpy("OUT")
            return float(found[0][0])

        self._repeat("grpc", once)
        client.close()

    def _repeat(self, protocol: str, once: Callable[[], float]) -> None:
        end = time.monotonic() + self.most_seconds
        # Clients do not come all at once.
        self._stop.wait(random.uniform(0, self.pause_seconds))
        while not self._stop.is_set() and (start := time.monotonic()) < end:
            try:
                value, error = once(), ""
            except _FAILURES as e:
                value, error = None, f"{type(e).__name__}: {e}"
            took = time.monotonic() - start
            self._requests.append(Request(protocol, start, took, value, error))
            self._stop.wait(self.pause_seconds)


def _number(answer: Answer) -> float:
    if answer.status != http.HTTPStatus.OK:
        raise OSError(f"HTTP {answer.status}: {answer.text}")
    return float(answer.json()["outputs"][0]["data"][0])
