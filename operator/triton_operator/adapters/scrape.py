"""`triton_operator.ports.PodScraper` over Triton's HTTP and metrics ports."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from triton_operator.adapters.metrics import parse_metrics, parse_statistics
from triton_operator.adapters.pod_http import AnswerError, PodReader
from triton_operator.autoscaling.samples import ModelShape, PodSample
from triton_operator.autoscaling.shapes import ShapeKey, Shapes, parse_shape
from triton_operator.desired.service import HTTP_PORT, METRICS_PORT
from triton_operator.observed import Pod, Served
from triton_operator.ports import FailureReason, ScrapeFailure

if TYPE_CHECKING:
    from triton_operator.adapters.telemetry import PrometheusTelemetry

_DEADLINE_SECONDS = 2.0
_PARALLEL = 64

_NEVER = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_IMPLEMENTED)
"""Statistics closed by an argument, or not built in. Other refusals pass: a model was unloaded
while the answer was made."""


class TritonScraper:
    """Asks pods how busy they are, a bounded number of pods at a time.

    Scrapes of several servers may run side by side and share that number.
    """

    def __init__(
        self,
        http: PodReader,
        *,
        telemetry: "PrometheusTelemetry | None" = None,
        deadline_seconds: float = _DEADLINE_SECONDS,
        parallel: int = _PARALLEL,
        http_port: int = HTTP_PORT,
        metrics_port: int = METRICS_PORT,
    ) -> None:
        self._http = http
        self._telemetry = telemetry
        self._deadline = deadline_seconds
        self._parallel = parallel
        self._slots = asyncio.Semaphore(parallel)
        self._http_port = http_port
        self._metrics_port = metrics_port

    def longest_seconds(self, pods: int) -> float:
        """Return how long it may take to ask so many pods for all, where none of them answers."""
        rounds = 2 * pods / self._parallel  # a scrape and the shapes, each until its deadline
        return (rounds + 1) * self._deadline

    async def scrape(self, pods: Iterable[Pod]) -> dict[Pod, PodSample | ScrapeFailure]:
        """Ask all pods for their counters and statistics."""
        asked = tuple(pods)
        return dict(zip(asked, await asyncio.gather(*map(self._scrape, asked)), strict=True))

    async def _scrape(self, pod: Pod) -> PodSample | ScrapeFailure:
        begun = time.monotonic()
        try:
            async with self._slots, asyncio.timeout(self._deadline):
                page = await self._http.get(pod, self._metrics_port, "/metrics")
                at = asyncio.get_running_loop().time()
                statistics = await self._statistics(pod)
            return PodSample(
                uid=pod.uid,
                started=_seconds(pod.started_at),
                at=at,
                series=parse_metrics(page.decode()),
                batches=parse_statistics(statistics) if statistics is not None else {},
            )
        except AnswerError as error:
            return error.failure
        except TimeoutError:
            return ScrapeFailure(FailureReason.TIMEOUT, f"no answer in {self._deadline:g} s")
        except ValueError as error:
            return ScrapeFailure(FailureReason.MALFORMED, str(error))
        finally:
            if self._telemetry is not None:
                self._telemetry.scraped(time.monotonic() - begun)

    async def _statistics(self, pod: Pod) -> bytes | None:
        """Return the answer, or None where this server will never tell."""
        try:
            return await self._http.get(pod, self._http_port, "/v2/models/stats")
        except AnswerError as error:
            if error.status in _NEVER:
                return None
            raise

    async def shapes(self, pods: Mapping[Pod, Served], known: Shapes) -> dict[ShapeKey, ModelShape]:
        """Ask for the config of every ready model whose shape is not known."""
        found: dict[ShapeKey, ModelShape] = {}
        for each in await asyncio.gather(*(self._shapes(*pod, known) for pod in pods.items())):
            found |= each
        return found

    async def _shapes(self, pod: Pod, served: Served, known: Shapes) -> dict[ShapeKey, ModelShape]:
        found: dict[ShapeKey, ModelShape] = {}
        unknown: list[ShapeKey] = []
        for name, model in served.items():
            key = ShapeKey(pod.uid, pod.started_at, name, model.config_hash)
            if (shape := known.get(key)) is not None:
                found[key] = shape
            elif model.ready_versions:
                unknown.append(key)
        if not unknown:
            return found
        try:
            async with self._slots, asyncio.timeout(self._deadline):
                for key in unknown:
                    path = f"/v2/models/{quote(key.model, safe='')}/config"
                    try:
                        found[key] = parse_shape(
                            json.loads(await self._http.get(pod, self._http_port, path))
                        )
                    except (AnswerError, ValueError, RecursionError):
                        continue  # asked for again in the next call
        except TimeoutError:
            pass
        return found


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp() if time else 0.0
