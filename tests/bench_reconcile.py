"""How fast the operator makes Deployments of models, and what that costs.

    python tests/bench_reconcile.py [--models 100 300] [--servers 100] [--at-rest 10]

Needs a cluster (KUBECONFIG) and kubectl; installs the operator where there is none. Every model has
a server of its own, or they share so many. No node fits the pods, so nothing but the operator is
measured: from the moment an object is sent to the moment a watch here sees its Deployment (of a
shared server: its own), and until the last model says in its status what it waits for. Requests
are counted in the API server's audit log, which only the local test cluster has. Leaves nothing
behind.
"""

import argparse
import os
import re
import secrets
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_ROOT), str(_ROOT / "operator")]

from tests.cluster.support import installation  # noqa: E402
from tests.cluster.support.audit import AuditLog  # noqa: E402
from tests.cluster.support.installation import Installation  # noqa: E402
from tests.cluster.support.kube import Kube, Object, Seen, Watch, kubectl, path_of, proxy  # noqa: E402
from tests.cluster.support.manifests import SMALL, adds, model, server, version  # noqa: E402
from tests.cluster.support.waiting import holds_for, wait_for  # noqa: E402

_SENDERS = 8
_NOWHERE = {"nodeSelector": {"triton-operator.io/benchmark": "no-node-has-this"}}
_MOST_SECONDS = 300
_IDLE_SECONDS = 30


@dataclass(frozen=True)
class Cost:
    """What the operator's process has used so far."""

    cpu_seconds: float
    rss_mebibytes: float


@dataclass(frozen=True)
class Run:
    """One measurement of so many models at once."""

    models: int
    servers: int
    seconds: list[float]
    """From each server's, or its model's, sending to its Deployment."""
    last: float
    """From the first sending to the last Deployment."""
    told: float
    """From the first sending to the last model's first status."""
    sent: float
    """From the first sending to the last answer to one."""
    cpu: float
    rss: float
    requests: Counter[str]
    idle_writes: int | None


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the operator's reconciliation.")
    parser.add_argument("--models", type=int, nargs="+", default=[100, 300])
    parser.add_argument(
        "--servers", type=int, metavar="COUNT", help="that the models share; else each has its own"
    )
    parser.add_argument("--at-rest", type=int, default=10, metavar="TIMES")
    options = parser.parse_args()
    if not os.environ.get("KUBECONFIG"):
        sys.exit("KUBECONFIG names no cluster: see `python3 -m tests.cluster --help`")
    with proxy() as kube:
        operator = Installation(kube)
        if not operator.pods():
            say("installing the operator")
            operator.install()
        with namespace(kube) as name:
            say(f"{options.at_rest} models, one at a time")
            rest = [at_rest(kube, name, index) for index in range(options.at_rest)]
        print_rest(rest)
        runs = []
        for count in options.models:
            servers = options.servers
            say(f"{count} models at once, on {servers or count} servers")
            # A fresh process, so that memory and CPU are those of this run.
            operator.refresh()
            with namespace(kube) as name:
                runs.append(at_once(kube, operator, name, count, servers))
        print_runs(runs)


def build_model(name: str) -> Object:
    body = model(name, version(1, adds(1)))
    body["spec"]["server"] = {**SMALL, "podTemplate": _NOWHERE}
    return body


def at_rest(kube: Kube, namespace: str, index: int) -> float:
    """Return the seconds from one model to its Deployment, with nothing else going on."""
    name = f"rest-{index}"
    with kube.watch("Deployment", namespace) as deployments:
        start = time.monotonic()
        kube.apply(build_model(name), namespace)
        seen = wait_for("the Deployment", lambda: first_seen(deployments, name), 30, every=0.01)
    wait_quiet(kube, namespace)
    return seen - start


def build_all(models: int, servers: int | None) -> list[Object]:
    """Return so many models, after the servers that they share."""
    names = [f"model-{index}" for index in range(models)]
    if servers is None:
        return [build_model(name) for name in names]
    return [
        *(server(f"server-{index}", podTemplate=_NOWHERE) for index in range(servers)),
        *(
            model(name, version(1, adds(1)), on=f"server-{index % servers}")
            for index, name in enumerate(names)
        ),
    ]


def at_once(
    kube: Kube, operator: Installation, namespace: str, count: int, servers: int | None
) -> Run:
    """Send so many models as fast as the API server takes them, and measure."""
    log = AuditLog() if AuditLog.exists() else None
    before = cost(operator)
    wanted = servers or count
    sent: dict[str, float] = {}

    def send(body: Object) -> float:
        sent[body["metadata"]["name"]] = time.monotonic()
        kube.call("POST", path_of(body["kind"], namespace), body)
        return time.monotonic()

    with (
        kube.watch("Deployment", namespace) as deployments,
        kube.watch("TritonModel", namespace) as models,
    ):
        start = time.monotonic()
        with ThreadPoolExecutor(_SENDERS) as senders:
            answered = max(senders.map(send, build_all(count, servers)))
        wait_for(
            f"{wanted} Deployments",
            lambda: len(first_times(deployments)) >= wanted,
            _MOST_SECONDS,
            seen=lambda: len(first_times(deployments)),
        )
        wait_quiet(kube, namespace)
        made, told = first_times(deployments), first_times(models, said_something)
    after = cost(operator)
    requests = Counter[str]()
    idle: int | None = None
    if log is not None:
        requests = Counter(
            f"{e.verb} {e.resource}" for e in log.entries(namespace) if e.verb != "watch"
        )
        idle_log = AuditLog()
        holds_for("the operator idles", lambda: True, _IDLE_SECONDS)
        idle = len(idle_log.writes(namespace))
    return Run(
        models=count,
        servers=wanted,
        seconds=[at - sent[name] for name, at in made.items()],
        last=max(made.values()) - start,
        told=max(told.values()) - start,
        sent=answered - start,
        cpu=after.cpu_seconds - before.cpu_seconds,
        rss=after.rss_mebibytes,
        requests=requests,
        idle_writes=idle,
    )


def said_something(seen: Seen) -> bool:
    return bool(seen.object.get("status"))


def first_times(watch: Watch, holds: Callable[[Seen], object] = lambda _: True) -> dict[str, float]:
    """Return when each object was first seen as something that holds."""
    times: dict[str, float] = {}
    for each in watch.seen():
        if holds(each):
            times.setdefault(each.name, each.at)
    return times


def first_seen(watch: Watch, name: str) -> float | None:
    return first_times(watch).get(name)


def wait_quiet(kube: Kube, namespace: str) -> None:
    """Wait until all models have a status and no version of one changes any more."""
    last: list[object] = []

    def unchanged() -> bool:
        bodies = kube.all("TritonModel", namespace)
        now = [body["metadata"]["resourceVersion"] for body in bodies]
        same, last[:] = now == last, now
        return same and all(body.get("status") for body in bodies)

    wait_for("the models are settled", unchanged, _MOST_SECONDS, every=2.0)


def cost(operator: Installation) -> Cost:
    """Ask the operator's container what its process has used."""
    (pod,) = operator.pods()
    shown = kubectl(
        *("exec", "--namespace", installation.NAMESPACE, pod, "--"),
        *("cat", "/proc/1/stat", "/proc/1/status"),
    )
    assert shown.returncode == 0, shown.stderr
    # The second field, the program's name, may hold spaces.
    fields = shown.stdout.splitlines()[0].rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    rss = re.search(r"^VmHWM:\s+(\d+) kB", shown.stdout, re.MULTILINE)
    assert rss is not None
    return Cost(ticks / os.sysconf("SC_CLK_TCK"), int(rss[1]) / 1024)


@contextmanager
def namespace(kube: Kube) -> Iterator[str]:
    """Make a namespace; at the end it goes with all that is in it."""
    name = f"bench-{secrets.token_hex(3)}"
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        yield name
    finally:
        kube.delete("Namespace", "", name)
        gone = lambda: kube.get("Namespace", "", name) is None  # noqa: E731
        wait_for(f"namespace {name} is gone", gone, _MOST_SECONDS, every=0.5)


def print_rest(seconds: list[float]) -> None:
    if seconds:
        print(
            f"one at rest: median {statistics.median(seconds):.3f} s,"
            f" worst {max(seconds):.3f} s of {len(seconds)}"
        )


def print_runs(runs: list[Run]) -> None:
    columns = (
        "models  servers  sent in  last    median  p99     all told  CPU     memory"
        "   requests/model  idle writes"
    )
    print(columns)
    for run in runs:
        p99 = sorted(run.seconds)[min(len(run.seconds) - 1, round(0.99 * len(run.seconds)))]
        per_model = f"{run.requests.total() / run.models:.1f}" if run.requests else "unknown"
        idle = "unknown" if run.idle_writes is None else str(run.idle_writes)
        print(
            f"{run.models:<7} {run.servers:<8} {run.sent:<5.2f} s  {run.last:<5.2f} s"
            f" {statistics.median(run.seconds):<5.2f} s {p99:<5.2f} s {run.told:<7.2f} s"
            f" {run.cpu:<5.2f} s"
            f" {run.rss:<4.0f} MiB {per_model:<15} {idle} in {_IDLE_SECONDS} s"
        )
    for run in runs:
        if run.requests:
            each = sorted(run.requests.items(), key=lambda item: -item[1])
            told = ", ".join(f"{what} {count / run.models:.2f}" for what, count in each)
            print(f"requests per model, {run.models} models: {told}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
