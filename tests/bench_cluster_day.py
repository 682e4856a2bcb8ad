"""A day in fast motion on a cluster: an hour takes 20 s, a flash crowd comes in the evening.

    python tests/bench_cluster_day.py [--load day|step] [--out build/bench-cluster-day]

Needs a cluster (KUBECONFIG), kubectl and helm; installs the operator. Requests come at random, at a
rate that follows the day, whether answers have come or not. The model sleeps for its service time.
Kept are every request and, each second, what the server's status says; printed and drawn is what
became of both. Exits with 1 if a request failed. Leaves nothing but the operator in the cluster.
`--plot FILE` draws a record again.
"""

import argparse
import asyncio
import json
import math
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

import aiohttp

_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_ROOT), str(_ROOT / "operator")]

from tests.cluster.support.installation import Installation  # noqa: E402
from tests.cluster.support.kube import proxy  # noqa: E402
from tests.cluster.support.manifests import (  # noqa: E402
    PYTHON,
    model,
    server,
    sleeps,
    version,
)
from tests.cluster.support.triton import HTTP_PORT, number_request  # noqa: E402
from tests.cluster.support.world import World  # noqa: E402

Record = dict[str, Any]

SERVER = "day"
SERVICE_SECONDS = 0.1
CAPACITY = 1 / SERVICE_SECONDS
TARGET_SECONDS = 0.5
HOUR = 20.0
"""Seconds that an hour takes."""
AUTOSCALING = {
    "minReplicas": 1,
    "maxReplicas": 10,
    "targetQueueTimeMilliseconds": round(TARGET_SECONDS * 1000),
    "scaleDown": {
        "stabilizationWindowSeconds": 20,
        "longestWindowSeconds": 60,
        "periodSeconds": 5,
    },
}


def day(at: float) -> float:
    """Return requests per second so many seconds after midnight: quiet nights, busy afternoons,
    and a crowd at eight in the evening."""
    hour = at / HOUR
    rate = 4 + 22 * max(0.0, math.sin(math.pi * (hour - 6) / 16)) ** 1.5 if 6 < hour < 22 else 4
    return rate + (30 if 20 <= hour < 21 else 0)


def step(at: float) -> float:
    """Return the capacity of one pod, three times that from 30 s to 120 s, and the one again."""
    return CAPACITY * (3 if 30 <= at < 120 else 1)


LOADS: dict[str, tuple[Callable[[float], float], float, int]] = {
    "day": (day, 24 * HOUR, 1),
    "step": (step, 190, 2),
}
"""Requests per second, seconds, and the fewest pods."""


def arrivals(rate: Callable[[float], float], seconds: float, seed: int) -> list[float]:
    """Return when requests come: at random, at a rate that changes (thinning)."""
    chance = random.Random(seed)
    most = max(rate(each) for each in range(round(seconds)))
    at, found = 0.0, []
    while (at := at + chance.expovariate(most)) < seconds:
        if chance.random() * most < rate(at):
            found.append(at)
    return found


async def send(host: str, times: list[float], begun: float) -> list[Record]:
    """Send a request at each of the times; return when, how long, and what went wrong."""
    url = f"http://{host}:{HTTP_PORT}/v2/models/{SERVER}/infer"
    body = number_request(SERVICE_SECONDS)
    # A connection for every request, so that the Service spreads them over the pods.
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    limit = aiohttp.ClientTimeout(total=120)

    async def once(session: aiohttp.ClientSession, at: float) -> Record:
        await asyncio.sleep(begun + at - time.monotonic())
        start, error = time.monotonic(), ""
        try:
            async with session.post(url, json=body) as answer:
                text = await answer.text()
                if answer.status != 200:
                    error = f"HTTP {answer.status}: {text[:200]}"
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            error = f"{type(e).__name__}: {e}"
        end = time.monotonic()
        return {"at": start - begun, "seconds": end - start, "error": error}

    async with aiohttp.ClientSession(connector=connector, timeout=limit) as session:
        return await asyncio.gather(*(once(session, at) for at in times))


async def watch(world: World, begun: float, seconds: float) -> list[Record]:
    """Return what the server's status says, each second."""
    found = []
    for second in range(round(seconds)):
        await asyncio.sleep(begun + second - time.monotonic())
        body = await asyncio.to_thread(world.live, "TritonServer", SERVER)
        deployment = await asyncio.to_thread(world.live, "Deployment", SERVER)
        found.append(
            {
                "at": time.monotonic() - begun,
                "desired": deployment["spec"]["replicas"],
                "ready": deployment["status"].get("readyReplicas", 0),
                "autoscaling": body["status"].get("autoscaling", {}),
            }
        )
    return found


def run(world: World, load: str, seed: int) -> Record:
    """Make the server, send the load, return the record."""
    rate, seconds, least = LOADS[load]
    spec = AUTOSCALING | {"minReplicas": least}
    world.apply(
        server(SERVER, autoscaling=spec, drainSeconds=5),
        model(SERVER, version(1, sleeps()), on=SERVER, config={**PYTHON, "maxBatchSize": 1}),
    )
    world.wait_ready(SERVER, seconds=120)
    world.wait_pods(SERVER, least)
    host, times = world.service(SERVER), arrivals(rate, seconds, seed)

    async def both() -> tuple[list[Record], list[Record]]:
        begun = time.monotonic() + 1
        return await asyncio.gather(send(host, times, begun), watch(world, begun, seconds))

    requests, states = asyncio.run(both())
    return {"load": load, "requests": requests, "states": states}


def changes(record: Record) -> list[tuple[float, int, int]]:
    """Return when the number of pods changed, from what and to what."""
    states = record["states"]
    return [
        (now["at"], before["desired"], now["desired"])
        for before, now in pairwise(states)
        if before["desired"] != now["desired"]
    ]


def summary(record: Record) -> str:
    requests, states = record["requests"], record["states"]
    failed = [each for each in requests if each["error"]]
    waits = [each["seconds"] - SERVICE_SECONDS for each in requests if not each["error"]]
    late = sum(each > TARGET_SECONDS for each in waits) / len(waits)
    made = changes(record)
    pods, most = fmean(each["ready"] for each in states), max(each["ready"] for each in states)
    percent = quantiles(waits, n=100)
    lines = [
        f"{record['load']}: {len(requests)} requests in {states[-1]['at']:.0f} s,"
        f" {len(failed)} failed",
        f"wait: median {percent[49]:.2f} s, 95th percentile {percent[94]:.2f} s, largest"
        f" {max(waits):.1f} s; {late:.1%} above the target of {TARGET_SECONDS:g} s",
        f"pods: {pods:.1f} on average, at most {most}; {len(made)} changes:"
        f" {', '.join(f'{at:.0f} s {a}->{b}' for at, a, b in made)}",
        *(f"FAILED {each['at']:.1f} s: {each['error']}" for each in failed[:5]),
    ]
    return "\n".join(lines)


def draw(record: Record, file: Path) -> None:
    """Draw load, wait and pods over time; what was decided is marked."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    states, made = record["states"], changes(record)
    hours = record["load"] == "day"
    scale = HOUR if hours else 1.0
    bin_ = 5.0

    def bins(pick: Callable[[list[float]], float]) -> tuple[list[float], ...]:
        kept: dict[int, list[float]] = {}
        for each in record["requests"]:
            kept.setdefault(int(each["at"] // bin_), []).append(each["seconds"] - SERVICE_SECONDS)
        x = sorted(kept)
        return [(n + 0.5) * bin_ / scale for n in x], [pick(kept[n]) for n in x]

    figure, (top, middle, bottom) = plt.subplots(3, 1, sharex=True, figsize=(9, 7))
    at = [each["at"] / scale for each in states]
    top.plot(*bins(lambda w: len(w) / bin_), color="tab:blue", label="requests that arrive")
    top.step(
        at,
        [each["ready"] * CAPACITY for each in states],
        where="post",
        color="tab:gray",
        label="what the ready pods can answer",
    )
    top.set_ylabel("requests/s")
    middle.plot(*bins(lambda w: quantiles(w, n=20)[-1] if len(w) > 1 else w[0]), label="95 %")
    middle.plot(*bins(lambda w: quantiles(w, n=2)[0] if len(w) > 1 else w[0]), label="median")
    middle.axhline(TARGET_SECONDS, color="tab:red", linewidth=0.8, label="target")
    middle.set_ylabel("wait, seconds")
    bottom.step(at, [each["desired"] for each in states], where="post", label="decided")
    bottom.step(at, [each["ready"] for each in states], where="post", label="ready")
    bottom.plot(
        [each[0] / scale for each in made],
        [each[2] for each in made],
        linestyle="",
        marker=".",
        color="black",
        label="a decision",
    )
    bottom.set_ylabel("pods")
    bottom.set_ylim(bottom=0)
    bottom.set_xlabel(f"hour of the day ({HOUR:g} s each)" if hours else "seconds")
    for axis in (top, middle, bottom):
        axis.grid(visible=True, alpha=0.3)
        axis.legend(loc="upper left", fontsize="small")
        for when, before, after in made:
            color = "tab:green" if after > before else "tab:gray"
            axis.axvline(when / scale, color=color, linewidth=0.4, alpha=0.6)
    figure.tight_layout()
    figure.savefig(file, dpi=80)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--load", choices=LOADS, default="day")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=_ROOT / "build" / "bench-cluster-day")
    parser.add_argument("--plot", type=Path, help="draw this record again, without a cluster")
    options = parser.parse_args()
    # Whoever ends it early leaves nothing behind either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options.out.mkdir(parents=True, exist_ok=True)
    if options.plot is not None:
        record = json.loads(options.plot.read_text())
    else:
        record = measure(options.load, options.seed)
        (options.out / f"{options.load}.json").write_text(json.dumps(record))
    print(summary(record))
    draw(record, options.out / f"{record['load']}.png")
    return 1 if any(each["error"] for each in record["requests"]) else 0


def measure(load: str, seed: int) -> Record:
    with proxy() as kube:
        operator = Installation(kube)
        operator.install()
        operator.refresh()
        name = f"bench-day-{secrets.token_hex(3)}"
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        try:
            return run(World(kube, name), load, seed)
        finally:
            kube.delete("Namespace", "", name)


if __name__ == "__main__":
    sys.exit(main())
