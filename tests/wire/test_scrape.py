"""Scraping against servers that answer as Triton was recorded to, and as it should not.

Each pod is a loopback address; the servers listen on all of them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from triton_operator.adapters.pod_http import PodHttp
from triton_operator.adapters.scrape import TritonScraper
from triton_operator.adapters.telemetry import PrometheusTelemetry
from triton_operator.autoscaling.samples import ModelShape, PodSample, Series
from triton_operator.autoscaling.shapes import ShapeKey
from triton_operator.observed import READY, Pod, ServedModel, ServedVersion
from triton_operator.ports import FailureReason, ScrapeFailure

RECORDED = Path(__file__).parents[1] / "unit" / "adapters" / "recorded"
METRICS = (RECORDED / "metrics.txt").read_bytes()
STATISTICS = (RECORDED / "statistics.json").read_bytes()
CONFIG = (RECORDED / "config_batched.json").read_bytes()

DEADLINE = 1.0
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def http(body: bytes, status: str = "200 OK", length: int | None = None, more: str = "") -> Answer:
    """An answer; ``length`` lies about its length."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length_ = len(body) if length is None else length
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: {length_}\r\n{more}\r\n".encode() + body
        )
        await writer.drain()

    return answer


async def never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n# HELP")
    writer.close()


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer that comes and comes, too slowly for any limit but a deadline for all of it."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"# ")
        await writer.drain()
        await asyncio.sleep(0.02)


@dataclass
class Pods:
    """Servers on every loopback address: what they answer, and whom they talk to."""

    port: int = 0
    telemetry: PrometheusTelemetry = field(default_factory=PrometheusTelemetry)
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    """By address and path; other addresses answer as Triton was recorded to."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    open: int = 0
    most_open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                address, path = writer.get_extra_info("sockname")[0], head.split()[1].decode()
                self.asked.append((address, path))
                recorded = {"/metrics": METRICS, "/v2/models/stats": STATISTICS}
                normal = http(recorded.get(path, CONFIG))
                await self.answers.get((address, path), normal)(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side has closed
        finally:
            self.open -= 1
            writer.close()

    async def closed(self) -> None:
        async with asyncio.timeout(5):
            while self.open:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    @asynccontextmanager
    async def scraper(self, **options: int) -> AsyncIterator[TritonScraper]:
        async with PodHttp(most_bytes=options.pop("most_bytes", 1_000_000)) as http:
            yield TritonScraper(
                http,
                telemetry=self.telemetry,
                deadline_seconds=DEADLINE,
                http_port=self.port,
                metrics_port=options.pop("metrics_port", self.port),
                **options,
            )


@pytest.fixture
async def pods() -> AsyncIterator[Pods]:
    pods = Pods()
    server = await asyncio.start_server(pods.serve, "0.0.0.0", 0)
    pods.port = server.sockets[0].getsockname()[1]
    async with server:
        yield pods


def pod(n: int) -> Pod:
    return Pod(name=f"vision-{n}", uid=f"uid-{n}", ip=ip(n), started_at="2026-01-01T00:00:00Z")


def ip(n: int) -> str:
    return f"127.0.1.{n}"


async def test_a_pod_says_what_it_did(pods: Pods) -> None:
    before = time.monotonic()
    async with pods.scraper() as scraper:
        found = await scraper.scrape([pod(1)])

    sample = found[pod(1)]
    assert isinstance(sample, PodSample)
    assert (sample.uid, sample.started) == ("uid-1", 1767225600.0)
    assert before <= sample.at <= time.monotonic()
    assert sample.series[Series("plain", "1")].pending == 16
    assert [batch.size for batch in sample.batches["batched"]] == [1, 4, 7, 8]


async def test_no_pods_are_no_answers(pods: Pods) -> None:
    async with pods.scraper() as scraper:
        assert await scraper.scrape([]) == {}


async def test_no_key_and_no_name_is_needed_and_no_connection_is_left_open(pods: Pods) -> None:
    """An idle connection would make a pod that leaves burn its exit budget."""
    async with pods.scraper() as scraper:
        await scraper.scrape([pod(1), pod(2)])

        await pods.closed()
    assert sorted(pods.asked) == [
        (ip(n), path) for n in (1, 2) for path in ("/metrics", "/v2/models/stats")
    ]


async def test_a_pod_with_an_ipv6_address_is_asked() -> None:
    pods = Pods()
    async with await asyncio.start_server(pods.serve, "::1", 0) as server:
        pods.port = server.sockets[0].getsockname()[1]
        async with pods.scraper() as scraper:
            (found,) = (await scraper.scrape([Pod(name="six", ip="::1")])).values()
    assert isinstance(found, PodSample)
    assert found.series


FAULTS: dict[str, tuple[Answer, FailureReason, str]] = {
    "slow": (never, FailureReason.TIMEOUT, "no answer in 1 s"),
    "dripping": (drip, FailureReason.TIMEOUT, "no answer in 1 s"),
    "reset": (reset, FailureReason.UNREACHABLE, ""),
    "cut": (cut, FailureReason.UNREACHABLE, ""),
    "no HTTP": (http(b"", "nonsense"), FailureReason.UNREACHABLE, ""),
    "unloading": (http(b"{}", "400 Bad Request"), FailureReason.STATUS, "HTTP 400"),
    "broken": (http(b"", "503 Service Unavailable"), FailureReason.STATUS, "HTTP 503"),
    "elsewhere": (
        http(b"", "302 Found", more="Location: http://127.0.2.1/\r\n"),
        FailureReason.STATUS,
        "HTTP 302",
    ),
    "huge": (http(b"x" * 1_000_001), FailureReason.TOO_LARGE, "more than 1000000 bytes"),
    "no page": (http(b"<html>"), FailureReason.MALFORMED, ""),
    "no text": (http(b"\xff\xfe"), FailureReason.MALFORMED, ""),
    "packed": (
        http(b"\x1f\x8b\x08\x00", more="Content-Encoding: gzip\r\n"),
        FailureReason.MALFORMED,
        "",
    ),
}


@pytest.mark.parametrize("path", ["/metrics", "/v2/models/stats"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_told_and_stays_with_its_pod(pods: Pods, fault: str, path: str) -> None:
    answer, reason, message = FAULTS[fault]
    pods.answers[ip(1), path] = answer
    async with pods.scraper() as scraper:
        found = await scraper.scrape([pod(1), pod(2)])

        await pods.closed()
    failure = found[pod(1)]
    assert isinstance(failure, ScrapeFailure)
    assert failure.reason == reason
    assert failure.message
    assert message in failure.message
    assert isinstance(found[pod(2)], PodSample)


async def test_a_malformed_counter_fails_its_pod(pods: Pods) -> None:
    line = b'nv_inference_count{model="m",version="1"} many\n'
    pods.answers[ip(1), "/metrics"] = http(METRICS + line)
    async with pods.scraper() as scraper:
        found = await scraper.scrape([pod(1), pod(2)])

    failure = found[pod(1)]
    assert isinstance(failure, ScrapeFailure)
    assert failure.reason == FailureReason.MALFORMED
    assert "many" in failure.message
    assert isinstance(found[pod(2)], PodSample)
    counted = "triton_operator_scrape_duration_seconds_count"
    assert pods.telemetry.registry.get_sample_value(counted) == 2, "failed ones are counted, too"


async def test_metrics_that_are_switched_off_are_told(pods: Pods) -> None:
    pods.answers[ip(1), "/metrics"] = http(b"", "404 Not Found")
    async with pods.scraper() as scraper:
        found = await scraper.scrape([pod(1)])

    assert found[pod(1)] == ScrapeFailure(FailureReason.STATUS, f":{pods.port}/metrics: HTTP 404")
    assert pods.asked == [(ip(1), "/metrics")]


@pytest.mark.parametrize("status", ["403 Forbidden", "501 Not Implemented"])
async def test_statistics_that_never_come_leave_the_counters(pods: Pods, status: str) -> None:
    pods.answers[ip(1), "/v2/models/stats"] = http(b"{}", status)
    async with pods.scraper() as scraper:
        found = await scraper.scrape([pod(1)])

    sample = found[pod(1)]
    assert isinstance(sample, PodSample)
    assert sample.series[Series("batched", "2")].executions == 15
    assert sample.batches == {}


async def test_nobody_listening_is_a_failure(pods: Pods) -> None:
    async with pods.scraper(metrics_port=1) as scraper:
        found = await scraper.scrape([pod(1)])

    failure = found[pod(1)]
    assert isinstance(failure, ScrapeFailure)
    assert failure.reason == FailureReason.UNREACHABLE


@pytest.mark.parametrize("address", ["", "localhost"])
async def test_only_addresses_are_asked(pods: Pods, address: str) -> None:
    async with pods.scraper() as scraper:
        (failure,) = (await scraper.scrape([Pod(name="new", ip=address)])).values()

    assert isinstance(failure, ScrapeFailure)
    assert failure.reason == FailureReason.UNREACHABLE
    assert pods.asked == []


async def test_stalled_pods_delay_nobody_beyond_their_deadline(pods: Pods) -> None:
    """Their deadline is for both questions together."""
    stalled = [pod(n) for n in range(1, 60, 15)]
    for each in stalled:
        pods.answers[each.ip, "/v2/models/stats"] = never
    asked = [pod(n) for n in range(1, 60)]
    async with pods.scraper(parallel=8) as scraper:
        found = await scraper.scrape(asked)

        await pods.closed()
    failed = [each for each, answer in found.items() if isinstance(answer, ScrapeFailure)]
    assert failed == stalled
    assert list(found) == asked
    others = [answer.at for answer in found.values() if isinstance(answer, PodSample)]
    assert max(others) - min(others) < DEADLINE
    assert 4 < pods.most_open <= 8 * 2  # one closing, one opening


async def test_a_scrape_that_is_cancelled_leaves_nothing_open(pods: Pods) -> None:
    pods.answers[ip(1), "/metrics"] = never
    async with pods.scraper() as scraper:
        task = asyncio.create_task(scraper.scrape([pod(1)]))
        async with asyncio.timeout(5):
            while not pods.asked:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        await pods.closed()


def served(config_hash: str | None, state: str = READY) -> ServedModel:
    return ServedModel((ServedVersion("1", state),), config_hash)


BATCHED = ModelShape(instances=2, max_batch=8)


async def test_shapes_are_asked_for_once_in_a_containers_life(pods: Pods) -> None:
    world = {pod(1): {"m": served("abc"), "other": served(None)}, pod(2): {"m": served("abc")}}
    async with pods.scraper() as scraper:
        first = await scraper.shapes(world, {})
        assert len(pods.asked) == 3
        assert await scraper.shapes(world, first) == first
        assert len(pods.asked) == 3

        changed = await scraper.shapes({pod(1): {"m": served("new")}}, first)
    started = "2026-01-01T00:00:00Z"
    assert first == {
        ShapeKey("uid-1", started, "m", "abc"): BATCHED,
        ShapeKey("uid-1", started, "other", None): BATCHED,
        ShapeKey("uid-2", started, "m", "abc"): BATCHED,
    }
    assert changed == {ShapeKey("uid-1", started, "m", "new"): BATCHED}


async def test_what_is_not_served_has_no_shape_and_is_not_asked_for(pods: Pods) -> None:
    async with pods.scraper() as scraper:
        assert await scraper.shapes({pod(1): {"m": served("abc", "LOADING")}}, {}) == {}
    assert pods.asked == []


@pytest.mark.parametrize(
    "answer", [http(b"[]"), http(b"<"), http(b"", "404 Not Found"), reset, never]
)
async def test_a_shape_that_cannot_be_read_is_asked_for_again(pods: Pods, answer: Answer) -> None:
    world = {pod(1): {"odd": served("x"), "m": served("abc")}, pod(2): {"m": served("abc")}}
    pods.answers[ip(1), "/v2/models/odd/config"] = answer
    async with pods.scraper() as scraper:
        first = await scraper.shapes(world, {})
        assert {key.model for key in first} == {"m"}
        assert any(key.uid == "uid-2" for key in first)

        del pods.answers[ip(1), "/v2/models/odd/config"]
        assert len(await scraper.shapes(world, first)) == 3


async def test_a_models_name_cannot_ask_for_something_else(pods: Pods) -> None:
    async with pods.scraper() as scraper:
        await scraper.shapes({pod(1): {"../x?y#z": served("abc")}}, {})
    assert pods.asked == [(ip(1), "/v2/models/..%2Fx%3Fy%23z/config")]
