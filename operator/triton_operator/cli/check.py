"""``triton-operator check``: whether an installation works; what ``helm test`` runs.

The API server serves our kinds, the operator's pods answer, and a model is admitted or refused by
the rules that the CRDs carry. Nothing is made: the API server is only asked what it would do.

Exit codes: 0 it works; 1 it does not, or not in time.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from triton_operator import names
from triton_operator.adapters.api_client import KINDS, KubeApi
from triton_operator.errors import ClusterError, OperatorError
from triton_operator.settings import Settings

EXIT_WORKS = 0
EXIT_FAILED = 1

_POLL_SECONDS = 1.0
_ANSWER_SECONDS = 5.0

_MODEL: Mapping[str, Any] = {
    "apiVersion": names.API_VERSION,
    "kind": names.KIND_MODEL,
    "metadata": {"generateName": "check-"},
    "spec": {
        "config": {"backend": "python"},
        "versions": [{"version": 1, "files": {"model.py": "# empty"}}],
        "server": {"gpus": 0},
    },
}
_NO_MODEL: Mapping[str, Any] = {
    **_MODEL,
    "spec": {**_MODEL["spec"], "serverRef": {"name": "both"}},
}
"""It names two servers, which a rule of the CRD forbids."""


class _NotWorkingError(Exception):
    """What does not work."""


def run_check(*, namespace: str, deployment: str, seconds: float) -> int:
    """Check the operator that a Deployment runs, again and again until all of it works.

    Parameters
    ----------
    namespace
        Where the Deployment is; a model would be made there.
    deployment
        Its name.
    seconds
        How long all of it may take.

    """
    try:
        asyncio.run(_check(namespace, deployment, Settings.from_environment(), seconds))
    except (_NotWorkingError, OperatorError, ValueError) as error:
        sys.stderr.write(f"triton-operator check: {error}\n")
        return EXIT_FAILED
    return EXIT_WORKS


async def _check(namespace: str, deployment: str, settings: Settings, seconds: float) -> None:
    api = await KubeApi.connect()
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    try:
        for what, step in (
            ("the API server serves the kinds", lambda: kinds_are_served(api)),
            (
                "the operator answers",
                lambda: operator_answers(api, namespace, deployment, settings.probe_port),
            ),
            ("models are admitted by rules", lambda: rules_hold(api, namespace)),
        ):
            await _until_it_works(step, lambda: end - loop.time())
            sys.stdout.write(f"ok: {what}\n")
            sys.stdout.flush()
    finally:
        await api.close()


async def kinds_are_served(api: KubeApi) -> None:
    """Raise unless the API server knows models and servers."""
    answer = await api.request("GET", f"/apis/{names.API_VERSION}")
    served = {each["name"] for each in answer["resources"]}
    if missing := {names.PLURAL_MODEL, names.PLURAL_SERVER} - served:
        raise _NotWorkingError(f"the API server does not serve {', '.join(sorted(missing))}")


async def operator_answers(api: KubeApi, namespace: str, deployment: str, port: int) -> None:
    """Raise unless every pod that a Deployment wants is there and says that it is alive."""
    path = KINDS["Deployment"].path(namespace, deployment, subresource="scale")
    scale = await api.request("GET", path)
    selector = scale["status"]["selector"]
    answer = await api.request("GET", KINDS["Pod"].path(namespace), labelSelector=selector)
    wanted, addresses = scale["spec"].get("replicas", 0), []
    for pod in answer["items"]:
        status = pod.get("status", {})
        if status.get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]:
            addresses.append(status.get("podIP", ""))
    if not wanted or len(addresses) < wanted:
        raise _NotWorkingError(f"{len(addresses)} of {wanted} pods of {deployment} run")
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for address in addresses:
            host = f"[{address}]" if ":" in address else address
            url = f"http://{host}:{port}/healthz"
            try:
                async with session.get(url) as response:
                    if response.status != HTTPStatus.OK:
                        raise _NotWorkingError(f"{url} answers {response.status}")
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise _NotWorkingError(f"{url}: {type(error).__name__} {error}") from error


async def rules_hold(api: KubeApi, namespace: str) -> None:
    """Raise unless a model would be admitted, and one that breaks a rule refused."""
    path = KINDS[names.KIND_MODEL].path(namespace)
    await api.request("POST", path, body=_MODEL, dryRun="All")
    try:
        await api.request("POST", path, body=_NO_MODEL, dryRun="All")
    except ClusterError as error:
        if error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            raise
        return
    raise _NotWorkingError("a model with two servers is admitted: the CRDs lack their rules")


async def _until_it_works(step: Callable[[], Awaitable[None]], left: Callable[[], float]) -> None:
    while True:
        try:
            return await step()
        except (_NotWorkingError, ClusterError):
            if left() <= _POLL_SECONDS:
                raise
        await asyncio.sleep(_POLL_SECONDS)
