"""Killing a process at any change that it makes to files, in a child of this process.

Python itself reports the changes: each of its own functions that makes one raises an audit event,
whoever calls it. Writes and flushes, which have none, are caught in ``io`` and ``os``.
"""

import io
import json
import os
import sys
from collections.abc import Callable
from typing import Any

CHANGES = {
    "open to write", "write", "torn write", "fsync", "os.rename", "os.link", "os.symlink",
    "os.mkdir", "os.rmdir", "os.remove", "os.chmod", "os.utime", "os.truncate",
}  # fmt: skip
"""Every change that is a point to die at."""
_KILLED = 77
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

Work = Callable[[], object]


def record_changes(work: Work) -> list[str]:
    """Do the work in a child to its end; return the changes that it made, in their order."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            changes: list[str] = []
            _on_every_change(changes.append)
            work()
            os.write(write, json.dumps(changes).encode())
            os._exit(0)
        finally:
            os._exit(1)  # no exception of the child may reach pytest
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    found: list[str] = json.loads(text)
    return found


def die_before(step: int, work: Work) -> None:
    """Do the work in a child that dies before its n-th change, counted from 0."""
    child = os.fork()
    if not child:
        try:
            remaining = step

            def count(_: str) -> None:
                nonlocal remaining
                if remaining == 0:
                    os._exit(_KILLED)
                remaining -= 1

            _on_every_change(count)
            work()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == _KILLED


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
