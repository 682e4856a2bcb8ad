"""What it costs to scrape a thousand pods every five seconds.

    python tests/bench_scraping.py [--pods 1000] [--models 1 10] [--gpus 0 1] [--seconds 60]
                                   [--servers 50]

A process of its own answers on as many loopback addresses as there are pods with what a real Triton
gave (`tests/unit/adapters/recorded`), repeated for more models and, as builds for GPUs do, a second
time with the GPU's name. Only the scraping process is measured: processor time, memory, and how
long a round over all pods takes. Processor time is dearer on a busy machine: `least` is that of the
cheapest round. Once it scrapes only; once the whole `Scaler` runs, over the real mirror, with
counters that grow, and decides for as many servers as are said.
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
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_ROOT / "operator")]

from kubernetes.aio import client  # noqa: E402

from triton_operator.adapters.api_client import KubeApi  # noqa: E402
from triton_operator.adapters.kube import KubeCluster  # noqa: E402
from triton_operator.adapters.metrics import parse_metrics, parse_statistics  # noqa: E402
from triton_operator.adapters.mirror import Mirror  # noqa: E402
from triton_operator.adapters.pod_http import PodHttp  # noqa: E402
from triton_operator.adapters.scrape import TritonScraper  # noqa: E402
from triton_operator.adapters.telemetry import PrometheusTelemetry  # noqa: E402
from triton_operator.autoscaling.samples import PodSample  # noqa: E402
from triton_operator.observed import Pod, ServedModel, ServedVersion  # noqa: E402
from triton_operator.reconcile.scaler import Scaler  # noqa: E402
from triton_operator.settings import Settings  # noqa: E402

_DATA = _ROOT / "tests" / "unit" / "adapters" / "recorded"
_SPAWN = multiprocessing.get_context("spawn")
_UUID = "GPU-00000000-0000-0000-0000-{:012d}"


@dataclass(frozen=True)
class Answers:
    """What one pod answers."""

    metrics: bytes
    statistics: bytes

    @classmethod
    def of(cls, models: int, gpus: int, pod: int = 0, times: int = 1) -> "Answers":
        """Repeat what was recorded of one model with traffic, its counters so many times over."""
        recorded = (_DATA / "metrics.txt").read_text().splitlines()
        body = (_DATA / "statistics.json").read_text()
        entry = re.search(r'\{"name":"batched","version":"2".*?"memory_usage":\[\]\}', body)
        assert entry is not None
        page = []
        for line in recorded:
            if 'model="' not in line:
                page.append(line)
            elif 'model="batched"' in line and 'version="2"' in line:
                counter, _, value = line.rpartition(" ")
                grown = f"{counter} {int(value) * times}"
                for n in range(models):
                    named = grown.replace('"batched"', f'"model-{n}"')
                    twin = named.replace("{", f'{{gpu_uuid="{_UUID.format(pod)}",', 1)
                    page += [named, twin] if gpus else [named]
        grown = re.sub(
            r'("count"|"ns"|_count"):(\d+)', lambda m: f"{m[1]}:{int(m[2]) * times}", entry[0]
        )
        entries = [grown.replace('"batched"', f'"model-{n}"') for n in range(models)]
        return cls(
            "\n".join([*page, ""]).encode(), f'{{"model_stats":[{",".join(entries)}]}}'.encode()
        )


class Server(asyncio.Protocol):
    """Just enough of HTTP to answer what Triton answers."""

    def __init__(self, answers: "Callable[[str], Answers]") -> None:
        self._answers = answers
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(b"\r\n\r\n"):
            return
        answers = self._answers(self._transport.get_extra_info("sockname")[0])
        kind = b"application/json"
        if self._received.startswith(b"GET /metrics "):
            body, kind = answers.metrics, b"text/plain; charset=utf-8"
        elif self._received.startswith(b"GET /v2/models/stats "):
            body = answers.statistics
        else:
            body = _CONFIG
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n" % (kind, len(body))
            + b"\r\n"
            + body
        )
        if b"\r\nConnection: close\r\n" in self._received:
            self._transport.close()
        self._received = b""


_CONFIG = b'{"max_batch_size":8,"dynamic_batching":{},"instance_group":[{"count":1}]}'


class Pods:
    """What the pods answer: counters that grow every few seconds."""

    def __init__(self, models: int, gpus: int, interval: float) -> None:
        self._make = partial(Answers.of, models, gpus)
        self._gpus = gpus
        self._interval = interval
        self._kept: dict[tuple[int, int], Answers] = {}

    def answer(self, address: str) -> Answers:
        """Return what the pod with an address answers now."""
        times = 1 + int(time.monotonic() / self._interval) % 1_000_000
        a, b, c = (int(part) for part in address.split(".")[1:])
        pod = (a * 256 + b) * 256 + c if self._gpus else 0
        key = (pod, times)
        if key not in self._kept:
            self._kept = {k: v for k, v in self._kept.items() if k[1] == times}
            self._kept[key] = self._make(pod, times)
        return self._kept[key]


def serve(pipe: Connection, models: int, gpus: int, interval: float) -> None:
    """Answer on every loopback address, on one port for all questions."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        pods = Pods(models, gpus, interval)
        server = await loop.create_server(lambda: Server(pods.answer), "0.0.0.0", 0, backlog=4096)
        pipe.send(server.sockets[0].getsockname()[1])
        await loop.run_in_executor(None, pipe.recv)

    asyncio.run(run())


def address(n: int) -> str:
    """The loopback address of a pod."""
    return f"127.1.{n // 250}.{n % 250 + 1}"


Round = Callable[[], Awaitable[int]]
"""One look at all pods; returns how many of them failed."""


@asynccontextmanager
async def scraping(port: int, options: argparse.Namespace, _models: int) -> AsyncIterator[Round]:
    """Only ask."""
    known = [
        Pod(name=f"pod-{n}", uid=f"uid-{n}", ip=address(n), started_at="2026-01-01T00:00:00Z")
        for n in range(options.pods)
    ]
    async with PodHttp() as http:
        scraper = TritonScraper(http, http_port=port, metrics_port=port)

        async def once() -> int:
            found = await scraper.scrape(known)
            return sum(not isinstance(each, PodSample) for each in found.values())

        yield once


@asynccontextmanager
async def deciding(port: int, options: argparse.Namespace, models: int) -> AsyncIterator[Round]:
    """Ask and decide, for all servers."""
    mirror, keys = Mirror(), [("team", f"server-{n}") for n in range(options.servers)]
    for body in objects(options.pods, options.servers):
        mirror.put(body)
    # Reads come from the mirror: no request goes to an API server.
    async with PodHttp() as http, client.ApiClient() as nobody:
        telemetry = PrometheusTelemetry()
        cluster = KubeCluster(KubeApi(nobody), mirror, telemetry)
        scaler = Scaler(
            cluster,
            TritonScraper(http, http_port=port, metrics_port=port),
            Settings(),
            lambda: datetime.now(UTC),
            lambda _: None,
            telemetry=telemetry,
        )
        served = {
            f"model-{n}": ServedModel((ServedVersion("2", "READY"),), "hash") for n in range(models)
        }

        def follow() -> int:
            """Do what a pass does; return the pods that no decision has counted."""
            silent = 0
            for key in keys:
                world = cluster.observe(key)
                assert world.server is not None
                assert world.server.spec is not None
                pods = tuple(world.server_pods())
                answers = dict.fromkeys(pods, served)
                told = scaler.follow(world.server, world.server.spec, answers, acting=True)
                answering = told.status.pods_answering if told.status is not None else "0/0"
                silent += len(pods) - int(answering.split("/")[0])
            return silent

        async def once() -> int:
            await scaler.tick()
            return follow()

        follow()
        await once()  # the first has nothing to compare with
        yield once


def objects(pods: int, servers: int) -> list[dict[str, object]]:
    """Return the servers with their Deployments and pods, as the API server has them."""
    born = "2026-01-01T00:00:00Z"
    found: list[dict[str, object]] = []

    def add(kind: str, name: str, server: int, **rest: object) -> None:
        labels = {
            "triton-operator.io/server": f"server-{server}",
            "app.kubernetes.io/component": "server",
        }
        metadata = {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{kind}-{name}",
            "labels": labels,
            "creationTimestamp": born,
            "generation": 1,
        }
        found.append({"kind": kind, "metadata": metadata, **rest})

    for n in range(servers):
        here = len(range(n, pods, servers))
        scaling = {"maxReplicas": 1000, "targetQueueTimeMilliseconds": 500}
        counts = ("replicas", "updatedReplicas", "readyReplicas")
        status = {"observedGeneration": 1} | dict.fromkeys(counts, here)
        add("TritonServer", f"server-{n}", n, spec={"autoscaling": scaling})
        add("Deployment", f"server-{n}", n, spec={"replicas": here}, status=status)
    for n in range(pods):
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": born}
        container = {"name": "triton", "state": {"running": {"startedAt": born}}}
        status = {"podIP": address(n), "conditions": [ready], "containerStatuses": [container]}
        add("Pod", f"pod-{n}", n % servers, status=status)
    return found


async def measure(
    port: int, kind: str, models: int, options: argparse.Namespace
) -> tuple[str, ...]:
    """Go in rounds for so many seconds; return the cells of a row."""
    loop = asyncio.get_running_loop()
    before = _resident()
    async with _KINDS[kind](port, options, models) as once:
        await once()  # the first fills caches
        gc.collect()
        rounds, costs, failures = [], [], 0
        begin, used = loop.time(), time.process_time()
        while (start := loop.time()) < begin + options.seconds:
            spent = time.process_time()
            failures += await once()
            rounds.append(loop.time() - start)
            costs.append(time.process_time() - spent)
            await asyncio.sleep(max(0.0, start + options.interval - loop.time()))
        wall, used = loop.time() - begin, time.process_time() - used
    rounds.sort()
    return (
        f"{used / wall:.1%}",
        f"{used / len(rounds) / options.pods * 1e6:.0f} µs",
        f"{min(costs) / options.pods * 1e6:.0f} µs",
        f"{statistics.median(rounds):.2f} s",
        f"{rounds[max(0, -(-len(rounds) * 99 // 100) - 1)]:.2f} s",
        f"{before:.0f} → {_resident():.0f} MiB",
        f"{_most_resident():.0f} MiB",
        str(failures),
    )


_KINDS = {"scrape": scraping, "decide": deciding}


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


def bench(kind: str, models: int, gpus: int, options: argparse.Namespace) -> tuple[str, ...]:
    """One row: a fresh process scrapes, another one serves."""
    ours, theirs = _SPAWN.Pipe()
    server = _SPAWN.Process(
        target=serve, args=(theirs, models, gpus, options.interval), daemon=True
    )
    server.start()
    try:
        return asyncio.run(measure(ours.recv(), kind, models, options))
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
    parser.add_argument("--servers", type=int, default=50)
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
    print(
        f"{options.pods} pods of {options.servers} servers every {options.interval:g} s,"
        f" {options.seconds:g} s:",
        flush=True,
    )
    rows = []
    for kind in _KINDS:
        for case in cases:
            with ProcessPoolExecutor(1, _SPAWN) as fresh:
                found = fresh.submit(bench, kind, *case, options).result()
            rows.append((kind, *named(*case), *found))
    _table(
        (
            "",
            "models",
            "GPU",
            "core",
            "per pod",
            "least",
            "median",
            "p99",
            "memory",
            "most",
            "failed",
        ),
        rows,
    )


if __name__ == "__main__":
    main()
