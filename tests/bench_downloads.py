"""How fast a sync Job fetches, beside `curl` and `cp` in the same run, and what a kill costs.

    python3 -m tests.cluster servers
    PYTHONPATH=operator .venv/bin/python -m tests.bench_downloads --mebibytes 2048

Every time includes flushing the file to the disk (`sync FILE` after `curl` and `cp`), and the sync
Job's its start, its checksum and the generation. The best of some rounds counts, taken in turns.
With --files it fetches a folder of that many small objects instead.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.wire import servers
from triton_operator.repository.manifest import (
    Generation,
    Link,
    Manifest,
    SourceRef,
    VersionContent,
)

MEBIBYTE = 1 << 20


class Job:
    """One sync Job after another on one claim."""

    def __init__(self, folder: Path, uri: str, parallel: int) -> None:
        self.root = folder / "claim"
        self.root.mkdir()
        source = VersionContent(1, SourceRef(uri, secret="s3" if uri.startswith("s3") else None))
        manifest = Manifest(
            "bench", (Generation("m", "aa", "", {}, (source,)),), (Link("m", "m", "aa"),)
        )
        (folder / "manifest.json").write_text(manifest.to_json())
        self.command = [
            sys.executable, "-m", "triton_operator", "sync",
            f"--manifest={folder / 'manifest.json'}", f"--root={self.root}",
            f"--secrets={folder.parent / 'secrets'}", f"--parallel={parallel}",
        ]  # fmt: skip

    def run(self) -> list[dict]:
        """Run to the end; return the events."""
        done = subprocess.run(self.command, check=True, capture_output=True, text=True)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        failed = [each for each in events if each["event"] == "failed"]
        if failed:
            raise SystemExit(failed[0]["message"])
        return events

    def kill_at(self, size: int) -> None:
        """Run until so many bytes are on the claim, and kill it there."""
        with subprocess.Popen(self.command, stdout=subprocess.DEVNULL) as job:
            while written(self.root) < size:
                if job.poll() is not None:
                    raise SystemExit("the Job ended before it could be killed")
                time.sleep(0.005)
            job.kill()


def written(root: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in root.glob(".staging/*/content"))


def best(rounds: int, ways: dict[str, Callable[[Path], object]], scratch: Path) -> dict[str, float]:
    """Return the best time of each way, in seconds; the ways take turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            folder = Path(tempfile.mkdtemp(dir=scratch))
            started = time.monotonic()
            way(folder)
            times[name].append(time.monotonic() - started)
            shutil.rmtree(folder)
    return {name: min(each) for name, each in times.items()}


def run(*command: object) -> None:
    subprocess.run([str(each) for each in command], check=True, stdout=subprocess.DEVNULL)


def bench_speed(args: argparse.Namespace, scratch: Path, s3: servers.S3, web: str) -> None:
    size = args.mebibytes * MEBIBYTE
    file = s3.root / "bucket" / "big"
    file.parent.mkdir()
    with file.open("wb") as big:
        for _ in range(args.mebibytes):
            big.write(os.urandom(MEBIBYTE))
    signed = s3.sign("bucket/big")

    def curl(folder: Path, *arguments: str) -> None:
        run("curl", "-sf", "-o", folder / "out", *arguments)
        run("sync", folder / "out")

    def copy(folder: Path) -> None:
        run("cp", file, folder / "out")
        run("sync", folder / "out")

    ways: dict[str, Callable[[Path], object]] = {
        "cp": copy,
        "curl http": lambda folder: curl(folder, f"{web}/bucket/big"),
        "sync http": lambda folder: Job(folder, f"{web}/bucket/big", args.parallel).run(),
        "curl s3": lambda folder: curl(folder, signed),
        "sync s3": lambda folder: Job(folder, "s3://bucket/big", args.parallel).run(),
    }
    times = best(args.rounds, ways, scratch)
    print(f"{args.mebibytes} MiB, best of {args.rounds}")
    for name, seconds in times.items():
        beside = times.get(name.replace("sync", "curl"), seconds)
        share = f"{beside / seconds:6.0%} of curl" if name.startswith("sync") else ""
        print(f"  {name:10} {size / MEBIBYTE / seconds:7.0f} MiB/s  {seconds:6.2f} s {share}")
    for name, uri in {"http": f"{web}/bucket/big", "s3": "s3://bucket/big"}.items():
        folder = Path(tempfile.mkdtemp(dir=scratch))
        job = Job(folder, uri, args.parallel)
        job.kill_at(size // 2)
        first = written(job.root)
        events = job.run()
        resumed = next(each for each in events if each["event"] == "fetching")
        again = next(each for each in events if each["event"] == "done")["bytes"]
        print(
            f"  {name}: killed with {first / size:.0%} on the disk, went on at"
            f" {resumed.get('bytes', 0) / size:.0%}; at most {(first + again) / size:.3f} x the"
            " size was sent"
        )
        shutil.rmtree(folder)


def bench_files(args: argparse.Namespace, scratch: Path, s3: servers.S3) -> None:
    folder = s3.root / "bucket" / "many"
    for number in range(args.files):
        path = folder / f"{number // 1000:03}" / f"{number:06}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(1000))
    claim = Path(tempfile.mkdtemp(dir=scratch))
    job = Job(claim, "s3://bucket/many", args.parallel)
    started = time.monotonic()
    job.run()
    seconds = time.monotonic() - started
    found = sum(len(files) for _, _, files in os.walk(claim / "claim/generations/m/aa/1"))
    print(f"{found} objects of 1000 bytes: {seconds:.1f} s, {found / seconds:.0f} per second")
    status = Path(f"/proc/{os.getpid()}/status").read_text()
    print(re.search(r"VmHWM.*", status)[0], "(of the bench itself)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--files", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None, help="where to write; 4 x the size")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        scratch = Path(name)
        with (
            servers.s3(scratch / "s3") as s3,
            servers.nginx(scratch / "nginx", scratch / "s3") as web,
        ):
            s3.write_secret(scratch / "secrets" / "s3")
            (scratch / "claims").mkdir()
            if args.files:
                (s3.root / "bucket").mkdir()
                bench_files(args, scratch, s3)
            else:
                bench_speed(args, scratch, s3, web)


if __name__ == "__main__":
    main()
