"""Killing a process at any change that it makes to files.

Python itself reports the changes: each of its own functions that makes one raises an audit event,
whoever calls it. Writes and flushes, which have none, are caught in ``io`` and ``os``.
"""

import atexit
import io
import json
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from functools import cache
from typing import Any

CHANGES = {
    "open to write", "write", "torn write", "fsync", "os.rename", "os.link", "os.symlink",
    "os.mkdir", "os.rmdir", "os.remove", "os.chmod", "os.utime", "os.truncate",
}  # fmt: skip
"""Every change that is a point to die at."""
_KILLED = 77
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

Work = Callable[[], object]
"""Is pickled: it is done in another process."""


def record_changes(work: Work) -> list[str]:
    """Do the work in a child to its end; return the changes that it made, in their order."""
    ended, changes = _do(work, None)
    assert ended == 0
    return changes


def die_before(step: int, work: Work) -> None:
    """Do the work in a child that dies before its n-th change, counted from 0."""
    ended, _ = _do(work, step)
    assert ended == _KILLED


# ---- the parent of the children -----------------------------------------------------------------


def _do(work: Work, step: int | None) -> tuple[int, list[str]]:
    """Return the exit status of a child, and the changes that it had made if it was not killed."""
    parent = _start_parent()
    assert parent.stdin is not None
    assert parent.stdout is not None
    pickle.dump((work, step), parent.stdin)
    parent.stdin.flush()
    ended, changes = pickle.load(parent.stdout)
    return ended, changes


@cache
def _start_parent() -> "subprocess.Popen[bytes]":
    """Start a process that is small: to fork one as big as pytest takes longer than the work."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen(
        [sys.executable, "-m", __name__],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    atexit.register(parent.communicate)  # no more work: it ends
    return parent


def _serve() -> None:
    """Fork a child for every work that is read, and tell how it ended."""
    while True:
        try:
            work, step = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        read, write = os.pipe()
        child = os.fork()
        if not child:
            _work_and_end(work, step, write)
        os.close(write)
        with os.fdopen(read) as pipe:
            text = pipe.read()
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        pickle.dump((ended, json.loads(text or "[]")), sys.stdout.buffer)
        sys.stdout.flush()


def _work_and_end(work: Work, step: int | None, told: int) -> None:
    """End this process before the n-th change of its work, or after the work."""
    changes: list[str] = []

    def count(change: str) -> None:
        if len(changes) == step:
            os._exit(_KILLED)
        changes.append(change)

    try:
        _on_every_change(count)
        work()
        os.write(told, json.dumps(changes).encode())
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _on_every_change(tell: Callable[[str], None]) -> None:
    """Have a function called before every change that this process makes to files, for ever."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            tell("open to write")
        elif event in CHANGES:
            tell(event)

    class Torn(io.FileIO):
        """A file whose writes may end in the middle."""

        def write(self, data: Any) -> int:
            tell("write")
            half = len(data) // 2
            if not half:
                return super().write(data)
            written = super().write(memoryview(data)[:half])
            tell("torn write")
            return written + super().write(memoryview(data)[half:])

    def torn_open(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if "b" in mode and set(mode) & set("wxa+"):
            return io.BufferedWriter(Torn(file, mode.replace("b", "")))
        assert "r" in mode, "text is written where no test can tear it"
        return real_open(file, mode, *arguments, **options)

    def torn_pwrite(descriptor: int, data: Any, offset: int) -> int:
        tell("write")
        half = len(data) // 2
        if not half:
            return real_pwrite(descriptor, data, offset)
        real_pwrite(descriptor, data[:half], offset)
        tell("torn write")
        return half + real_pwrite(descriptor, data[half:], offset + half)

    real_open, real_pwrite = io.open, os.pwrite
    os.pwrite = torn_pwrite
    io.open = torn_open  # type: ignore[assignment]
    io.FileIO = Torn  # type: ignore[misc]
    os.fsync = lambda _: tell("fsync")
    sys.addaudithook(hook)


if __name__ == "__main__":
    _serve()
