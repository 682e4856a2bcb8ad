"""``kubectl triton infer``: asks a model through the API server, by the model's own metadata."""

import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from triton_operator.errors import ClusterError
from triton_operator.kubectl.arrays import TOP, Array, find_top, tell_array
from triton_operator.kubectl.connection import Answer, Connection, proxy_path
from triton_operator.kubectl.errors import PluginError
from triton_operator.kubectl.fleet import read_fleet, serving
from triton_operator.kubectl.request import build_inputs
from triton_operator.kubectl.scaling import Scaling
from triton_operator.kubectl.signature import Signature, parse_signature

_LENGTH = "Inference-Header-Content-Length"


async def ask_model(
    connection: Connection,
    *,
    name: str,
    version: str,
    inputs: Sequence[str],
    data: str,
    shapes: Sequence[str],
    scaling: Scaling,
    seed: int | None,
    repeat: int,
    seconds: float,
    as_json: bool,
) -> None:
    """Send a request, or the same one several times, and print the last answer and the times.

    Raises
    ------
    PluginError
        There is no such model, the input does not fit it, or it gave no answer.
    ClusterError
        The API server refused or did not answer.

    """
    fleet = await read_fleet(connection, connection.namespace)
    model = fleet.find_model((connection.namespace, name))
    root = f"/v2/models/{quote(model.folder, safe='')}"
    if version:
        root += f"/versions/{quote(version, safe='')}"
    server = _Server(connection, serving(model), name, seconds)
    signature = await _read_signature(server, root)
    arrays = build_inputs(signature, inputs, data, shapes=shapes, scaling=scaling, seed=seed)
    body, length = build_body(signature, arrays)
    times = []
    for _ in range(repeat):
        begun = time.perf_counter()
        answer = await server.post(f"{root}/infer", body, length)
        times.append((time.perf_counter() - begun) * 1000)
    results = read_answer(signature, answer)
    if as_json:
        sys.stdout.write(f"{json.dumps(_document(results, times))}\n")
    else:
        sys.stdout.write(f"{tell(arrays, signature, results, times)}\n")


class _Server:
    """The Service in front of the pods that serve a model."""

    def __init__(self, connection: Connection, service: str, model: str, seconds: float) -> None:
        self._connection = connection
        self._service = service
        self._model = model
        self._seconds = seconds

    async def get(self, path: str) -> Any:
        """Return an answer that is JSON; raises ``ValueError`` for another one."""
        return json.loads((await self._send("GET", path)).body)

    async def post(self, path: str, body: bytes, length: int | None) -> Answer:
        """Send a request in the protocol's binary form."""
        headers = {_LENGTH: str(length)} if length is not None else {}
        return await self._send("POST", path, body, headers)

    async def _send(
        self, method: str, path: str, body: bytes | None = None, headers: Any = None
    ) -> Answer:
        url = proxy_path("Service", self._connection.namespace, self._service, "http", path)
        hint = f"`kubectl triton status {self._model}` says more"
        try:
            answer = await self._connection.send(
                method, url, body=body, headers=headers, seconds=self._seconds
            )
        except ClusterError as error:
            if error.status is None or error.is_refusal:
                raise
            raise PluginError(
                f"no pod of {self._service} answers: {error.message}; {hint}"
            ) from error
        if not answer.ok:
            raise PluginError(f"Triton refused: {answer.error}; {hint}")
        return answer


async def _read_signature(server: _Server, root: str) -> Signature:
    try:
        return parse_signature(await server.get(root), await server.get(f"{root}/config"))
    except ValueError as error:
        raise PluginError(f"the answer is not Triton's: {error}") from error


def build_body(signature: Signature, arrays: Mapping[str, Array]) -> tuple[bytes, int | None]:
    """Return a request in the protocol's binary form, and the length of its JSON header."""
    inputs = []
    for tensor in signature.inputs:
        if tensor.name in arrays:
            array = arrays[tensor.name]
            sent = InferInput(tensor.name, list(array.shape), tensor.datatype)
            inputs.append(sent.set_data_from_numpy(array))
    outputs = [
        InferRequestedOutput(each.name, class_count=TOP if each.labelled else 0)
        for each in signature.outputs
    ]
    # A sequence of one request: it leaves nothing behind on the server.
    sequence = {"sequence_id": time.time_ns() & 0x7FFFFFFF, "sequence_start": True}
    extra = {**sequence, "sequence_end": True} if signature.sequences else {}
    body, length = InferenceServerClient.generate_request_body(inputs, outputs, **extra)
    return bytes(body), length


def read_answer(signature: Signature, answer: Answer) -> dict[str, tuple[str, Array]]:
    """Return type and values of each output.

    Raises
    ------
    PluginError
        The answer is not Triton's.

    """
    length = answer.headers.get(_LENGTH.lower())
    try:
        result = InferenceServerClient.parse_response_body(
            answer.body, header_length=int(length) if length else None
        )
        types = {each["name"]: each["datatype"] for each in result.get_response()["outputs"]}
        found = {name: (kind, result.as_numpy(name)) for name, kind in types.items()}
    except (ValueError, KeyError, TypeError, InferenceServerException) as error:
        raise PluginError(f"the answer cannot be read: {error}") from error
    # Triton answers in an order of its own.
    return {each.name: found[each.name] for each in signature.outputs if each.name in found}


def tell(
    arrays: Mapping[str, Array],
    signature: Signature,
    results: Mapping[str, tuple[str, Array]],
    times: Sequence[float],
) -> str:
    """Return what was sent, what came back and how long it took (milliseconds), for people."""
    types = {each.name: each.datatype for each in signature.inputs}
    lines = [f"→ {tell_array(name, types[name], array)}" for name, array in arrays.items()]
    labelled = {each.name for each in signature.outputs if each.labelled}
    for name, (datatype, array) in results.items():
        if name in labelled:
            lines += [f"← {name}", *(_class(each) for each in array.reshape(-1))]
            continue
        lines.append(f"← {tell_array(name, datatype, array)}")
        lines += [f"    {score:.6g}  {index}" for index, score in find_top(array)]
    return "\n".join((*lines, _tell_times(times)))


def _class(entry: bytes) -> str:
    """Return a line for what Triton says of a class: ``score:index:label``."""
    score, index, *label = entry.decode(errors="replace").split(":", 2)
    return f"    {float(score):.6g}  {index}  {''.join(label)}".rstrip()


def _tell_times(times: Sequence[float]) -> str:
    if len(times) == 1:
        return f"{times[0]:.1f} ms, through the API server"
    return (
        f"{len(times)} requests, one after the other through the API server: median"
        f" {statistics.median(times):.1f} ms, {min(times):.1f} to {max(times):.1f} ms"
    )


def _document(
    results: Mapping[str, tuple[str, Array]], times: Sequence[float]
) -> dict[str, object]:
    return {
        "outputs": [
            {
                "name": name,
                "datatype": datatype,
                "shape": list(array.shape),
                "data": [_plain(each) for each in array.reshape(-1)],
            }
            for name, (datatype, array) in results.items()
        ],
        "milliseconds": [round(each, 3) for each in times],
    }


def _plain(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value.item()
