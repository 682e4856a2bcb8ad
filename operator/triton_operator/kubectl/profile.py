"""``kubectl triton profile``: measures a model with perf_analyzer, as a Job in the cluster."""

import asyncio
import secrets
import sys
from dataclasses import dataclass, replace
from http import HTTPStatus

from triton_operator.adapters.api_client import KINDS
from triton_operator.errors import ClusterError
from triton_operator.kubectl.connection import Connection
from triton_operator.kubectl.console import open_console
from triton_operator.kubectl.errors import PluginError
from triton_operator.kubectl.fleet import read_fleet, serving
from triton_operator.kubectl.measurements import build_measurements
from triton_operator.kubectl.profile_job import CONTAINER, MARK, Measurement, build_profile_job
from triton_operator.observed import Body, reason_and_message

_JOB_LABEL = "batch.kubernetes.io/job-name"
_POLL_SECONDS = 0.5
_GRACE_SECONDS = 30
"""How much longer than it may take its pod is waited for."""
_COMPLAINTS = ("error", "failed")
_HOPELESS = ("ErrImage", "ImagePullBackOff", "InvalidImageName", "CreateContainer")
"""Beginnings of the reasons why a container waits for good."""


@dataclass(frozen=True, slots=True)
class _Pod:
    """The Job's pod."""

    name: str
    started: bool
    waiting: str
    """Why it does not start, in the kubelet's or the scheduler's words."""
    ended: str | None
    """How it failed; empty if it did not, None while it runs."""

    @classmethod
    def parse(cls, body: Body) -> "_Pod":
        status = body.get("status") or {}
        containers = status.get("containerStatuses") or ()
        state: Body = next((each.get("state") or {} for each in containers), {})
        waiting, ended = state.get("waiting") or {}, state.get("terminated")
        scheduled = (c for c in status.get("conditions") or () if c["type"] == "PodScheduled")
        placed = next((each.get("message", "") for each in scheduled), "")
        return cls(
            name=body["metadata"]["name"],
            started="running" in state or ended is not None,
            waiting=reason_and_message(waiting) or placed,
            ended=_failure(ended) if ended is not None else None,
        )


def _failure(ended: Body) -> str:
    code = ended.get("exitCode", 0)
    return f"{ended.get('reason', 'Error')}, exit code {code}" if code else ""


async def profile_model(connection: Connection, name: str, wanted: Measurement) -> None:
    """Measure a model and print the table; the Job goes in any case.

    Parameters
    ----------
    connection
        The cluster.
    name
        Of the TritonModel.
    wanted
        What to measure; where the model is served is filled in.

    Raises
    ------
    PluginError
        There is no such model, or perf_analyzer could not be run.
    ClusterError
        The API server refused or does not answer any more.

    """
    namespace = connection.namespace
    fleet = await read_fleet(connection, namespace)
    model = fleet.find_model((namespace, name))
    # Without a version perf_analyzer takes it from two answers, perhaps of two pods, and gives up.
    version = wanted.version or str(max(model.status.versions, default=""))
    wanted = replace(
        wanted, namespace=namespace, service=serving(model), model=model.folder, version=version
    )
    job = f"profile-{name}-{secrets.token_hex(3)}"
    body = build_profile_job(job, wanted)
    await connection.api.request("POST", KINDS["Job"].path(namespace), body=body)
    try:
        # The cluster ends the Job in time, but no pod of a node that is gone, nor its log.
        async with asyncio.timeout(wanted.seconds + _GRACE_SECONDS):
            pod = await _wait_for_start(connection, job)
            said, measured = await _follow(connection, pod)
            failure = await _wait_for_end(connection, job)
    except TimeoutError as error:
        raise PluginError("perf_analyzer took longer than --timeout, and did not end") from error
    finally:
        await _delete(connection, job)
    if measured:
        try:
            open_console().print(build_measurements(measured))
        except (ValueError, TypeError) as error:
            raise PluginError(f"what perf_analyzer measured cannot be read: {error}") from error
    if failure or not measured:
        told = f"perf_analyzer ended early ({failure or 'no table'}): {said or 'it said nothing'}"
        raise PluginError(told)


async def _delete(connection: Connection, job: str) -> None:
    path = KINDS["Job"].path(connection.namespace, job)
    try:
        await connection.api.request("DELETE", path, propagationPolicy="Background")
    except ClusterError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise


async def _wait_for_start(connection: Connection, job: str) -> str:
    """Return the name of the Job's pod once its container has started."""
    told = "no pod was made"
    while True:
        for pod in await _read_pods(connection, job):
            if pod.started:
                return pod.name
            if pod.waiting.startswith(_HOPELESS):
                raise PluginError(
                    f"perf_analyzer cannot start: {pod.waiting}; --image names another image"
                )
            told = pod.waiting or told
        if await _has_failed(connection, job):
            raise PluginError(f"perf_analyzer did not start in time: {told}")
        await asyncio.sleep(_POLL_SECONDS)


async def _follow(connection: Connection, pod: str) -> tuple[str, list[str]]:
    """Show what perf_analyzer says; return its complaint, and the lines of its table."""
    complaint = last = ""
    measured: list[str] | None = None
    async for line in connection.log(connection.namespace, pod, CONTAINER, follow="true"):
        if measured is not None:
            measured.append(line)
        elif line == MARK:
            measured = []
        else:
            sys.stderr.write(f"{line}\n")
            last = line.strip() or last
            # Hundreds of lines on its arguments may come after it.
            if not complaint and last.lower().startswith(_COMPLAINTS):
                complaint = last
    return complaint or last, measured or []


async def _wait_for_end(connection: Connection, job: str) -> str:
    """Return how the container failed; empty if it did not."""
    while True:
        pods = await _read_pods(connection, job)
        if not pods:
            return "its pod is gone: it took longer than --timeout, or somebody deleted it"
        if pods[0].ended is not None:
            return pods[0].ended
        await asyncio.sleep(_POLL_SECONDS)


async def _read_pods(connection: Connection, job: str) -> list[_Pod]:
    selector = f"{_JOB_LABEL}={job}"
    bodies = await connection.list_objects("Pod", connection.namespace, selector)
    return [_Pod.parse(body) for body in bodies]


async def _has_failed(connection: Connection, job: str) -> bool:
    path = KINDS["Job"].path(connection.namespace, job)
    body = await connection.api.request("GET", path)
    conditions = (body.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Failed" and each["status"] == "True" for each in conditions)
