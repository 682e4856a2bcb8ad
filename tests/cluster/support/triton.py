"""What a Triton server answers, asked at a pod or through a Service."""

import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any

import numpy as np
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client

from triton_operator.names import CONFIG_HASH_PARAMETER

HTTP_PORT, GRPC_PORT = 8000, 8001


@dataclass(frozen=True)
class Answer:
    """Status and body of an HTTP answer."""

    status: int
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


def ask(
    host: str,
    path: str,
    body: object = None,
    *,
    method: str | None = None,
    headers: dict[str, str] | None = None,
    seconds: float = 10,
) -> Answer:
    """Send one request over a connection of its own."""
    connection = http.client.HTTPConnection(host, HTTP_PORT, timeout=seconds)
    try:
        text = json.dumps(body) if body is not None else None
        verb = method or ("POST" if body is not None else "GET")
        connection.request(verb, path, body=text, headers=headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode(errors="replace"))
    finally:
        connection.close()


def connects(host: str) -> bool:
    """Return whether a server takes connections at an address."""
    try:
        # Short: where nobody answers yet, the system tries again only after 1, 3 and 7 seconds.
        socket.create_connection((host, HTTP_PORT), timeout=0.3).close()
    except OSError:
        return False
    return True


def config_hash(host: str, model: str) -> str | None:
    """Return the hash of the generation that a server says it serves; None when it serves none."""
    try:
        answer = ask(host, f"/v2/models/{model}/config")
    except OSError:
        return None
    if answer.status != http.HTTPStatus.OK:
        return None
    parameter = answer.json().get("parameters", {}).get(CONFIG_HASH_PARAMETER, {})
    return parameter.get("string_value")


def answers(host: str, model: str, version: int | None = None) -> bool:
    """Return whether a model is ready for requests."""
    path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "")
    try:
        return ask(host, f"{path}/ready", seconds=2).status == http.HTTPStatus.OK
    except OSError:
        return False


def number_request(value: float) -> dict[str, Any]:
    """Return a request with one number, for the models of :mod:`manifests`."""
    tensor = {"name": "IN", "datatype": "FP32", "shape": [1, 1], "data": [value]}
    return {"inputs": [tensor]}


def number(host: str, model: str, value: float = 1.0, version: int | None = None) -> float:
    """Send one number over HTTP; return the number that comes back."""
    path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "")
    answer = ask(host, f"{path}/infer", number_request(value))
    assert answer.status == http.HTTPStatus.OK, f"{path}: HTTP {answer.status}: {answer.text}"
    return float(answer.json()["outputs"][0]["data"][0])


def infer(
    protocol: str,
    host: str,
    model: str,
    inputs: dict[str, "np.ndarray[Any, Any]"],
    output: str,
    *,
    version: str = "",
) -> "np.ndarray[Any, Any]":
    """Send arrays with NVIDIA's client; return one output."""
    module = {"http": http_client, "grpc": grpc_client}[protocol]
    port = {"http": HTTP_PORT, "grpc": GRPC_PORT}[protocol]
    client = module.InferenceServerClient(f"{host}:{port}")
    types = {"float32": "FP32", "uint8": "UINT8"}
    try:
        tensors = []
        for name, array in inputs.items():
            tensor = module.InferInput(name, list(array.shape), types[str(array.dtype)])
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        found = client.infer(model, tensors, model_version=version).as_numpy(output)
        assert found is not None, f"{model} gave no output {output}"
        return found
    finally:
        client.close()
