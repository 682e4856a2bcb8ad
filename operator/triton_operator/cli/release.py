"""``triton-operator release``: what has to happen before the operator is uninstalled.

A server on a user's own claim is held by a finalizer, so that its files there are removed before
it goes. Only a running operator can do that; without one its deletion would hang for ever. So the
operator is stopped first, or it would put the finalizer back, and then every server is let go of;
its files stay on the claim.

Exit codes: 0 nothing is held any more; 1 it did not work or not in time, running again may mend it.
"""

import asyncio
import sys
from collections.abc import Iterable
from http import HTTPStatus

from triton_operator import names
from triton_operator.adapters.api_client import KINDS, MERGE_PATCH, KubeApi
from triton_operator.api.meta import ObjectMeta
from triton_operator.errors import ClusterError, OperatorError
from triton_operator.settings import Settings

EXIT_DONE = 0
EXIT_FAILED = 1

_POLL_SECONDS = 0.5
_ENDED = frozenset({"Succeeded", "Failed"})
"""Phases of pods that run nothing any more; evicted ones stay until somebody deletes them."""


def run_release(*, deployment: str, seconds: float) -> int:
    """Stop the operator's Deployment, if one is named, and let go of all servers.

    Parameters
    ----------
    deployment
        ``namespace/name`` of the Deployment that runs the operator, or nothing.
    seconds
        How long all of it may take.

    """
    namespace, slash, name = deployment.partition("/")
    if deployment and not (namespace and slash and name):
        return _fail(f"{deployment!r} is not NAMESPACE/NAME")
    try:
        watched = Settings.from_environment().namespaces
        asyncio.run(_release((namespace, name) if deployment else None, watched, seconds))
    except TimeoutError:
        return _fail(f"not done within {seconds:g} seconds")
    except (OperatorError, ValueError) as error:
        return _fail(str(error))
    return EXIT_DONE


async def _release(
    deployment: tuple[str, str] | None, watched: Iterable[str], seconds: float
) -> None:
    api = await KubeApi.connect()
    try:
        async with asyncio.timeout(seconds):
            if deployment is not None:
                await stop_operator(api, *deployment)
            await release_servers(api, watched)
    finally:
        await api.close()


async def stop_operator(api: KubeApi, namespace: str, name: str) -> None:
    """Scale a Deployment to nothing and wait until none of its pods runs; a missing one is fine.

    Raises
    ------
    ClusterError
        The API server refused.

    """
    try:
        scale = await api.request(
            "PATCH",
            KINDS["Deployment"].path(namespace, name, subresource="scale"),
            body={"spec": {"replicas": 0}},
            content_type=MERGE_PATCH,
            fieldManager=names.FIELD_MANAGER,
        )
    except ClusterError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return
    waiting_for: list[str] = []
    while running := await _running_pods(api, namespace, scale["status"]["selector"]):
        if running != waiting_for:
            _say(f"waiting for {', '.join(running)} in namespace {namespace} to end")
            waiting_for = running
        await asyncio.sleep(_POLL_SECONDS)
    _say(f"Deployment {namespace}/{name} stopped")


async def release_servers(api: KubeApi, watched: Iterable[str]) -> None:
    """Take the finalizer off all servers in the watched namespaces; in all if none is given.

    Raises
    ------
    ClusterError
        The API server refused.

    """
    for namespace in tuple(watched) or ("",):
        # Until a list shows none: a patch is refused if its server changed meanwhile.
        while held := await _held_servers(api, namespace):
            for server in held:
                await _release_server(api, server)


async def _running_pods(api: KubeApi, namespace: str, selector: str) -> list[str]:
    answer = await api.request("GET", KINDS["Pod"].path(namespace), labelSelector=selector)
    return sorted(
        pod["metadata"]["name"]
        for pod in answer["items"]
        if pod.get("status", {}).get("phase") not in _ENDED
    )


async def _held_servers(api: KubeApi, namespace: str) -> list[ObjectMeta]:
    try:
        answer = await api.request("GET", KINDS[names.KIND_SERVER].path(namespace))
    except ClusterError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return []  # Without the CRD there are no servers.
    servers = [ObjectMeta.model_validate(server["metadata"]) for server in answer["items"]]
    return [server for server in servers if names.FINALIZER in server.finalizers]


async def _release_server(api: KubeApi, server: ObjectMeta) -> None:
    rest = [each for each in server.finalizers if each != names.FINALIZER]
    try:
        await api.request(
            "PATCH",
            KINDS[names.KIND_SERVER].path(server.namespace, server.name),
            body={"metadata": {"finalizers": rest, "resourceVersion": server.resource_version}},
            content_type=MERGE_PATCH,
            fieldManager=names.FIELD_MANAGER,
        )
    except ClusterError as error:
        if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            raise
        return
    _say(f"TritonServer {server.namespace}/{server.name} released; its files stay on its claim")


def _say(message: str) -> None:
    sys.stdout.write(f"{message}\n")
    sys.stdout.flush()


def _fail(message: str) -> int:
    sys.stderr.write(f"triton-operator release: {message}\n")
    return EXIT_FAILED
