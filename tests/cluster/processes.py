"""Processes that outlive the command that started them, and that are ended only when they are
certainly ours.

A process id alone proves nothing: it may belong to somebody else by now. So each pid file also
holds the process's start time (field 22 of /proc/PID/stat, in clock ticks since boot) and the
machine's boot id.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Record:
    """What a pid file holds."""

    pid: int
    started: int
    boot: str


def start(state: Path, name: str, command: Sequence[str | Path], **kwargs: Path | dict) -> None:
    """Start a process in a session of its own, its output in log/NAME.log, and note it in
    pid/NAME."""
    for folder in ("log", "pid"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    with (state / "log" / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **kwargs,
        )
    record = Record(process.pid, _start_time(process.pid) or 0, _boot())
    (state / "pid" / name).write_text(json.dumps(asdict(record)))


def running(state: Path, name: str) -> int | None:
    """The id of the process started under this name, while it lives."""
    try:
        record = Record(**json.loads((state / "pid" / name).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    if record.boot != _boot() or _start_time(record.pid) != record.started:
        return None
    return record.pid


def stop(state: Path, names: Iterable[str], *, patience_s: float = 2.0) -> None:
    """Ask the processes of these names to end, insist after `patience_s`, and forget their pid
    files."""
    names = list(names)
    left = {name for name in names if _signal(running(state, name), signal.SIGTERM)}
    deadline = time.monotonic() + patience_s
    while left and time.monotonic() < deadline:
        left = {name for name in left if running(state, name)}
        time.sleep(0.02)
    for name in left:
        _signal(running(state, name), signal.SIGKILL)
    for name in names:
        while running(state, name):
            time.sleep(0.02)
        (state / "pid" / name).unlink(missing_ok=True)


def kill_all(pids: Iterable[int]) -> None:
    """Kill these processes at once; one that is gone already is no matter."""
    for pid in pids:
        _signal(pid, signal.SIGKILL)


def command_lines() -> dict[int, list[str]]:
    """The command line of every living process."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                found[int(folder.name)] = (folder / "cmdline").read_text().split("\0")[:-1]
    return found


def log_tail(state: Path, name: str, lines: int = 12) -> str:
    """The last lines that a process wrote."""
    with contextlib.suppress(OSError):
        return "\n".join(
            (state / "log" / f"{name}.log").read_text(errors="replace").splitlines()[-lines:]
        )
    return "(no log)"


def _signal(pid: int | None, number: signal.Signals) -> bool:
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def _start_time(pid: int) -> int | None:
    """Clock ticks from boot to this process's start; None when it is gone, or dead and not yet
    collected."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the program's name in brackets and may hold anything: read from the last
    # bracket on.
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _boot() -> str:
    return _BOOT_ID.read_text().strip()
