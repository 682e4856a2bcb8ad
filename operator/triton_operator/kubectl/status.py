"""``kubectl triton status``: servers, their models and pods, and what is wrong with them."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from urllib.parse import quote

import yaml
from rich.console import Console

from triton_operator.adapters.pod_http import AnswerError
from triton_operator.desired.service import HTTP_PORT
from triton_operator.kubectl.connection import Connection
from triton_operator.kubectl.console import open_console
from triton_operator.kubectl.fleet import Fleet, read_fleet
from triton_operator.kubectl.top import ProxiedPods
from triton_operator.kubectl.tree import build_tree
from triton_operator.kubectl.view import Hashes, ServerView, view_fleet, view_server
from triton_operator.observed import Pod
from triton_operator.ports import Key
from triton_operator.repository.config_pbtxt import hash_of

_ASKED_AT_ONCE = 16


async def show_status(
    connection: Connection, *, name: str, every_namespace: bool, ask: bool, output: str
) -> None:
    """Print the servers of a namespace, or the one of this name or that serves this model.

    Raises
    ------
    PluginError
        There is nothing of this name.
    ClusterError
        The API server refused or did not answer.

    """
    fleet = await read_fleet(connection, "" if every_namespace else connection.namespace)
    if name:
        key = (connection.namespace, name)
        servers: tuple[Key, ...] = (fleet.find_server(key),)
        only = fleet.models.get(key) if key not in fleet.servers else None
        hashes = await _ask_pods(connection, fleet, servers) if ask else None
        views: tuple[ServerView, ...] = (view_server(fleet, servers[0], hashes, only=only),)
    else:
        hashes = await _ask_pods(connection, fleet, fleet.server_keys()) if ask else None
        views = view_fleet(fleet, hashes)
    match output:
        case "json":
            sys.stdout.write(f"{json.dumps(_document(views), indent=2)}\n")
        case "yaml":
            sys.stdout.write(yaml.safe_dump(_document(views), sort_keys=False))
        case _:
            _print(views, "all namespaces" if every_namespace else connection.namespace)


def _document(views: tuple[ServerView, ...]) -> dict[str, object]:
    return {"servers": [view.manifest() for view in views]}


def _print(views: tuple[ServerView, ...], where: str) -> None:
    console = open_console()
    for view in views:
        console.print(build_tree(view, now=datetime.now(UTC)))
    if not views:
        Console(stderr=True).print(f"no TritonModels and no TritonServers in {where}")


async def _ask_pods(connection: Connection, fleet: Fleet, servers: tuple[Key, ...]) -> Hashes:
    """Return what each ready pod says it serves; silent pods are left out."""
    limit = asyncio.Semaphore(_ASKED_AT_ONCE)
    asked = [(key, pod) for key in servers for pod in fleet.pods.get(key, ()) if pod.ready]

    async def ask(key: Key, pod: Pod) -> dict[str, str] | None:
        served = {}
        for model in fleet.models_of(key):
            path = f"/v2/models/{quote(model.folder, safe='')}/config"
            try:
                async with limit:
                    body = await ProxiedPods(connection, key[0]).get(pod, HTTP_PORT, path)
                served[model.folder] = hash_of(json.loads(body)) or ""
            except AnswerError as error:
                if error.status is None:
                    return None
            except ValueError:
                return None
        return served

    answers = zip(asked, await asyncio.gather(*(ask(*each) for each in asked)), strict=True)
    return {(key, pod.name): found for (key, pod), found in answers if found is not None}
