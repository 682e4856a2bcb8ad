"""What it costs to scrape a thousand pods every five seconds.

    python tests/bench_scraping.py [--pods 1000] [--models 1 10] [--gpus 0 1] [--seconds 60]

A process of its own answers on as many loopback addresses as there are pods with what a real Triton
gave (`tests/unit/adapters/recorded`), repeated for more models and, as builds for GPUs do, a second
time with the GPU's name. Only the scraping process is measured: processor time, memory, and how
long a round over all pods takes.
"""

import argparse
import asyncio
import gc
import multiprocessing
import re
import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_ROOT / "operator")]

from triton_operator.adapters.metrics import parse_metrics, parse_statistics  # noqa: E402
from triton_operator.adapters.pod_http import PodHttp  # noqa: E402
from triton_operator.adapters.scrape import TritonScraper  # noqa: E402
from triton_operator.autoscaling.samples import PodSample  # noqa: E402
from triton_operator.observed import Pod  # noqa: E402

_DATA = _ROOT / "tests" / "unit" / "adapters" / "recorded"
_SPAWN = multiprocessing.get_context("spawn")
_UUID = "GPU-00000000-0000-0000-0000-{:012d}"


@dataclass(frozen=True)
class Answers:
    """What one pod answers."""

    metrics: bytes
    statistics: bytes

    @classmethod
    def of(cls, models: int, gpus: int, pod: int = 0) -> "Answers":
        """Repeat what was recorded of one model with traffic."""
        recorded = (_DATA / "metrics.txt").read_text().splitlines()
        body = (_DATA / "statistics.json").read_text()
        entry = re.search(r'\{"name":"batched","version":"2".*?"memory_usage":\[\]\}', body)
        assert entry is not None
        page = []
        for line in recorded:
            if 'model="' not in line:
                page.append(line)
            elif 'model="batched"' in line and 'version="2"' in line:
                for n in range(models):
                    named = line.replace('"batched"', f'"model-{n}"')
                    twin = named.replace("{", f'{{gpu_uuid="{_UUID.format(pod)}",', 1)
                    page += [named, twin] if gpus else [named]
        entries = [entry[0].replace('"batched"', f'"model-{n}"') for n in range(models)]
        return cls(
            "\n".join([*page, ""]).encode(), f'{{"model_stats":[{",".join(entries)}]}}'.encode()
        )


class Server(asyncio.Protocol):
    """Just enough of HTTP to answer what Triton answers."""

    def __init__(self, models: int, gpus: int) -> None:
        self._answers = partial(Answers.of, models, gpus)
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(b"\r\n\r\n"):
            return
        answers = _cached(self._answers, self._transport.get_extra_info("sockname")[0])
        metrics = self._received.startswith(b"GET /metrics ")
        body = answers.metrics if metrics else answers.statistics
        kind = b"text/plain; charset=utf-8" if metrics else b"application/json"
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n" % (kind, len(body))
            + b"\r\n"
            + body
        )
        if b"\r\nConnection: close\r\n" in self._received:
            self._transport.close()
        self._received = b""


_KEPT: dict[str, Answers] = {}


def _cached(make: "partial[Answers]", address: str) -> Answers:
    if address not in _KEPT:
        a, b, c = (int(part) for part in address.split(".")[1:])
        _KEPT[address] = make((a * 256 + b) * 256 + c)
    return _KEPT[address]


def serve(pipe: Connection, models: int, gpus: int) -> None:
    """Answer on every loopback address, on one port for all questions."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Server(models, gpus), "0.0.0.0", 0, backlog=4096)
        pipe.send(server.sockets[0].getsockname()[1])
        await loop.run_in_executor(None, pipe.recv)

    asyncio.run(run())


def address(n: int) -> str:
    """The loopback address of a pod."""
    return f"127.1.{n // 250}.{n % 250 + 1}"


async def measure(port: int, pods: int, seconds: float, interval: float) -> tuple[str, ...]:
    """Scrape in rounds for so many seconds; return the cells of a row."""
    loop = asyncio.get_running_loop()
    known = [
        Pod(name=f"pod-{n}", uid=f"uid-{n}", ip=address(n), started_at="2026-01-01T00:00:00Z")
        for n in range(pods)
    ]
    before = _resident()
    async with PodHttp() as http:
        scraper = TritonScraper(http, http_port=port, metrics_port=port)
        await scraper.scrape(known)  # the first fills caches
        gc.collect()
        rounds, failures = [], 0
        begin, used = loop.time(), time.process_time()
        while (start := loop.time()) < begin + seconds:
            found = await scraper.scrape(known)
            rounds.append(loop.time() - start)
            failures += sum(not isinstance(each, PodSample) for each in found.values())
            await asyncio.sleep(max(0.0, start + interval - loop.time()))
        wall, used = loop.time() - begin, time.process_time() - used
    rounds.sort()
    return (
        f"{used / wall:.1%}",
        f"{used / len(rounds) / pods * 1e6:.0f} µs",
        f"{statistics.median(rounds):.2f} s",
        f"{rounds[max(0, -(-len(rounds) * 99 // 100) - 1)]:.2f} s",
        f"{before:.0f} → {_resident():.0f} MiB",
        f"{_most_resident():.0f} MiB",
        str(failures),
    )


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _most_resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def parsing(models: int, gpus: int) -> tuple[str, ...]:
    """Return processor time for parsing one pod's answers, ours and prometheus-client's."""
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415

    answers = Answers.of(models, gpus)
    page = answers.metrics.decode()

    def cost(parse: object) -> str:
        assert callable(parse)
        best = float("inf")
        for _ in range(20):
            start = time.process_time()
            parse()
            best = min(best, time.process_time() - start)
        return f"{best * 1e6:.0f} µs"

    return (
        f"{len(page) / 1024:.0f} KiB",
        cost(lambda: parse_metrics(page)),
        cost(lambda: list(text_string_to_metric_families(page))),
        f"{len(answers.statistics) / 1024:.0f} KiB",
        cost(lambda: parse_statistics(answers.statistics)),
    )


def bench(models: int, gpus: int, options: argparse.Namespace) -> tuple[str, ...]:
    """One row: a fresh process scrapes, another one serves."""
    ours, theirs = _SPAWN.Pipe()
    server = _SPAWN.Process(target=serve, args=(theirs, models, gpus), daemon=True)
    server.start()
    try:
        return asyncio.run(measure(ours.recv(), options.pods, options.seconds, options.interval))
    finally:
        ours.send(None)
        server.join(10)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    print(flush=True)


def main() -> None:
    """Print one table for parsing and one for scraping."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--models", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--gpus", type=int, nargs="+", default=[0, 1], choices=[0, 1])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--interval", type=float, default=5)
    options = parser.parse_args()
    cases = [(models, gpus) for models in options.models for gpus in options.gpus]

    def named(models: int, gpus: int) -> tuple[str, str]:
        return str(models), "yes" if gpus else "no"

    _table(
        ("models", "GPU", "page", "ours", "prometheus-client", "statistics", "ours"),
        [
            (*named(models, gpus), *parsing(models, gpus))
            for models in (1, 10, 50)
            for gpus in (0, 1)
        ],
    )
    print(f"{options.pods} pods every {options.interval:g} s, {options.seconds:g} s:", flush=True)
    rows = []
    for case in cases:
        with ProcessPoolExecutor(1, _SPAWN) as fresh:
            rows.append((*named(*case), *fresh.submit(bench, *case, options).result()))
    _table(("models", "GPU", "core", "per pod", "median", "p99", "memory", "most", "failed"), rows)


if __name__ == "__main__":
    main()
