"""NVIDIA's perf_analyzer as a client: requests at set times, whether answers have come or not.

Such a load is honest: a client that waits for its answers sends less when a server gets slow.
"""

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.support.load import Request
from tests.cluster.support.triton import GRPC_PORT, HTTP_PORT

PROGRAM = "perf_analyzer"
_PORTS = {"http": HTTP_PORT, "grpc": GRPC_PORT}
_HEADERS = {"http": ("-H", "Connection:close"), "grpc": ()}
"""gRPC refuses such a header."""
_PART_SECONDS = 10.0


@dataclass(frozen=True)
class Stage:
    """A rate of requests for some time."""

    seconds: float
    rate: float

    def intervals(self) -> list[int]:
        """Return the microseconds between requests."""
        return [round(1e6 / self.rate)] * round(self.seconds * self.rate)


@dataclass
class OpenLoad:
    """Requests to one model, stage after stage; a context manager that ends what still runs.

    HTTP opens a connection for every request, so that a Service spreads them over its pods. gRPC
    keeps its channel, and loses a request now and then when a server closes it for its age ("enter
    idle", with gRPC as old as in 2.51): it is for servers without `drainSeconds`. perf_analyzer
    stops at the first request that fails, with an error.

    It gets one processor: a thread of it that starts while another processor tells it to may sleep
    for ever, with its requests unsent (8 of 1,090 starts with two processors, 0 of 1,508 with one).
    """

    host: str
    model: str
    protocol: str
    stages: Sequence[Stage]
    value: float
    """What is sent."""
    _kept: "tempfile.TemporaryDirectory[str]" = field(init=False)
    _process: "subprocess.Popen[str]" = field(init=False)

    def __enter__(self) -> "OpenLoad":
        self._kept = tempfile.TemporaryDirectory(prefix="perf-analyzer-")
        intervals = [each for stage in self.stages for each in stage.intervals()]
        times, data = self._folder / "intervals", self._folder / "data.json"
        times.write_text("".join(f"{each}\n" for each in intervals))
        data.write_text(json.dumps({"data": [{"IN": [self.value]}]}))
        self._process = subprocess.Popen(
            [
                *("taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))),
                *(PROGRAM, "-m", self.model, "-i", self.protocol, "--async"),
                # Without a version it looks one up in statistics, those of another pod perhaps.
                *("-x", "1", "-u", f"{self.host}:{_PORTS[self.protocol]}"),
                *_HEADERS[self.protocol],
                *("--input-data", str(data)),
                *("--request-intervals", str(times), "--request-count", str(len(intervals))),
                *("--max-threads", "1", "--profile-export-file", str(self._record)),
            ],
            stdout=(self._folder / "output").open("w"),
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._kept.cleanup()

    @property
    def _folder(self) -> Path:
        return Path(self._kept.name)

    @property
    def _record(self) -> Path:
        return self._folder / "record.json"

    def check(self) -> None:
        """Fail if a request has failed so far."""
        assert self._process.poll() in {None, 0}, (self._folder / "output").read_text()

    def requests(self, seconds: float) -> list[Request]:
        """Wait for the last answer; return all requests by the time at which they were sent.

        Fails if one of them failed, or if not every one that was to be sent is in the record.
        """
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise AssertionError((self._folder / "output").read_text()) from error
        self.check()
        (experiment,) = json.loads(self._record.read_text())["experiments"]
        # Its times are those of the wall clock, in nanoseconds.
        offset = time.monotonic() - time.time()
        found = [
            Request(
                protocol=self.protocol,
                at=each["timestamp"] / 1e9 + offset,
                seconds=(each["response_timestamps"][-1] - each["timestamp"]) / 1e9,
                value=each["response_outputs"][-1]["OUT"],
            )
            for each in experiment["requests"]
        ]
        due = sum(len(stage.intervals()) for stage in self.stages)
        assert len(found) == due, f"{len(found)} of {due} requests are in the record"
        return sorted(found, key=lambda each: each.at)


@dataclass
class SteadyLoad:
    """A rate of requests from `start` to `end`; a context manager that ends what still runs.

    perf_analyzer has to know beforehand how much it sends: one sends for 10 s, then the next one.
    """

    host: str
    model: str
    protocol: str
    rate: float
    value: float
    """What is sent."""
    _parts: list[OpenLoad] = field(default_factory=list)
    _running: ExitStack = field(default_factory=ExitStack)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> "SteadyLoad":
        self._thread = threading.Thread(target=self._start_parts, daemon=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._running.close()

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Start no more; what is under way may go on for 10 s."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        """Fail if a request has failed so far."""
        for part in tuple(self._parts):
            part.check()

    def requests(self, seconds: float) -> list[Request]:
        """End it, and return what :meth:`OpenLoad.requests` does, of all parts."""
        self.end()
        found = [each for part in self._parts for each in part.requests(seconds)]
        return sorted(found, key=lambda each: each.at)

    def _start_parts(self) -> None:
        while not self._ended.is_set():
            stage = Stage(_PART_SECONDS, self.rate)
            part = OpenLoad(self.host, self.model, self.protocol, (stage,), self.value)
            self._parts.append(self._running.enter_context(part))
            # By the clock: it ends a second after its last request, and later where answers wait.
            self._ended.wait(_PART_SECONDS)
