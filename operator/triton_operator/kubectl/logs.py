"""``kubectl triton logs``: what a server's pods or its last sync Job say."""

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from triton_operator import names
from triton_operator.kubectl.connection import Connection
from triton_operator.kubectl.errors import PluginError
from triton_operator.kubectl.fleet import read_fleet
from triton_operator.observed import COMPONENT_SYNC, Pod

_NEVER = datetime.min.replace(tzinfo=UTC)


async def show_logs(
    connection: Connection, *, name: str, follow: bool, sync: bool, tail: int, previous: bool
) -> None:
    """Print the logs of the server of this name, or that serves this model.

    Parameters
    ----------
    connection
        The cluster.
    name
        Of a model or a server.
    follow
        Go on until all of the containers have ended.
    sync
        Show the last sync Job rather than Triton.
    tail
        How many lines there already are to show of each pod; all of them if negative.
    previous
        Show the containers before the last restart.

    Raises
    ------
    PluginError
        There is no such object, or it has no pod, or none whose container was started again.
    ClusterError
        The API server refused or does not answer any more.

    """
    fleet = await read_fleet(connection, connection.namespace)
    key = fleet.find_server((connection.namespace, name))
    if sync:
        pods, what = await _last_sync_pods(connection, key[1]), "sync Job that is still there"
    else:
        pods, what = fleet.pods.get(key, ()), "pod whose container has started"
        pods = tuple(pod for pod in pods if pod.started_at or pod.restarts)
    if not pods:
        raise PluginError(
            f"TritonServer {key[1]} has no {what}: `kubectl triton status {name}` says why"
        )
    if previous:
        # Of the others there is no such log, and to ask for it would be an error.
        pods = tuple(pod for pod in pods if pod.restarts)
        if not pods:
            raise PluginError(
                f"no container of TritonServer {key[1]} has been started again in its pod, so there"
                " is no log of before: leave --previous out"
            )
    container = names.CONTAINER_SYNC if sync else names.CONTAINER_TRITON
    query: dict[str, str] = {}
    if follow:
        query["follow"] = "true"
    if tail >= 0:
        query["tailLines"] = str(tail)
    if previous:
        query["previous"] = "true"
    streams = (_copy(pod, connection.log(key[0], pod.name, container, **query)) for pod in pods)
    if follow:
        await asyncio.gather(*streams)
    else:
        for stream in streams:  # one after the other: lines of one pod stay together
            await stream


async def _copy(pod: Pod, log: AsyncIterator[str]) -> None:
    async for line in log:
        sys.stdout.write(f"{pod.name}  {line}\n")
        sys.stdout.flush()


async def _last_sync_pods(connection: Connection, server: str) -> tuple[Pod, ...]:
    selector = f"{names.LABEL_SERVER}={server},{names.LABEL_COMPONENT}={COMPONENT_SYNC}"
    bodies = await connection.list_objects("Pod", connection.namespace, selector)
    pods = [Pod.parse(body) for body in bodies]
    last = max(pods, key=lambda pod: pod.created_at or _NEVER, default=None)
    return (last,) if last is not None else ()
