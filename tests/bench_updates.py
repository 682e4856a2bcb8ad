"""Many updates of one model under load, every fifth of them broken: what fails, and what it costs.

    python tests/bench_updates.py [--updates 50] [--replicas 2]

Needs a cluster (KUBECONFIG) and kubectl; installs the operator where there is none. Prints requests
and failures, how many broken updates were told as such, and the resident memory of tritonserver in
each pod before and after. Exits with 1 if a request failed. Leaves nothing behind.
"""

import argparse
import secrets
import sys
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_ROOT), str(_ROOT / "operator")]

from tests.cluster.support.installation import Installation  # noqa: E402
from tests.cluster.support.kube import proxy  # noqa: E402
from tests.cluster.support.load import Load  # noqa: E402
from tests.cluster.support.manifests import adds, fails, model, server, version  # noqa: E402
from tests.cluster.support.waiting import wait_for  # noqa: E402
from tests.cluster.support.world import World  # noqa: E402

_SERVER, _MODEL = "often", "changing"
_EVERY = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--replicas", type=int, default=2)
    options = parser.parse_args()
    with proxy() as kube:
        operator = Installation(kube)
        if not operator.pods():
            operator.install()
        name = f"bench-updates-{secrets.token_hex(3)}"
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        try:
            return run(World(kube, name), options.updates, options.replicas)
        finally:
            kube.delete("Namespace", "", name)


def run(world: World, updates: int, replicas: int) -> int:
    world.apply(
        server(_SERVER, replicas=replicas, drainSeconds=2),
        model(_MODEL, version(1, adds(0)), on=_SERVER),
    )
    world.wait_ready(_MODEL, seconds=180)
    world.wait_pods(_SERVER, replicas)
    before, told, begun = memory(world), 0, time.monotonic()
    with Load(world.service(_SERVER), _MODEL, most_seconds=3600) as load:
        wait_for("requests are answered", lambda: len(load.requests()) > 20, 10)
        for number in range(1, updates + 1):
            told += update(world, number)
    took = time.monotonic() - begun
    print(f"{updates} updates in {took:.0f} s on {replicas} pods; {load.summary()}")
    print(f"broken updates: {updates // _EVERY}, told as BlockedByFailedLoad: {told}")
    for pod, mebibytes in memory(world).items():
        print(f"{pod}: {before.get(pod, 0):.0f} MiB before, {mebibytes:.0f} MiB after")
    for failure in load.failed()[:5]:
        print("FAILED:", failure)
    return 0 if not load.failed() and told == updates // _EVERY else 1


def update(world: World, number: int) -> bool:
    """Make one update and wait for its end; return whether it was told that it is broken."""
    broken = number % _EVERY == 0
    code = fails(f"update {number} is broken") if broken else adds(number)
    world.apply(model(_MODEL, version(1, code), on=_SERVER))
    if not broken:
        world.wait_ready(_MODEL)
        return False
    found = world.wait_condition(
        "TritonModel", _MODEL, "Loaded", "False", reason="BlockedByFailedLoad"
    )
    return f"update {number} is broken" in found["message"]


def memory(world: World) -> dict[str, float]:
    """Return the resident memory of tritonserver, in MiB, by pod."""
    script = "awk '/^VmRSS/ {print $2}' /proc/1/status"
    return {pod.name: int(world.sh(pod.name, script)) / 1024 for pod in world.pods(_SERVER)}


if __name__ == "__main__":
    sys.exit(main())
