"""One loop per key: passes never overlap, and no news is lost."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from triton_operator.adapters.telemetry import PrometheusTelemetry
from triton_operator.errors import (
    ClusterError,
    InvalidSpecError,
    NamespaceTerminatingError,
    NameTakenError,
)
from triton_operator.handlers import queue
from triton_operator.handlers.queue import WorkQueue, backoff
from triton_operator.ports import Backlog, Key

A, B = ("team", "a"), ("team", "b")


class Work:
    """Counts passes; ``answers`` are returned or raised in turn, and then ``rest``."""

    def __init__(self) -> None:
        self.passes: list[Key] = []
        self.ended: list[Key] = []
        self.answers: list[float | Exception | None] = []
        self.rest: float | None = 1000.0
        self.gate: asyncio.Event | None = None
        self.running: set[Key] = set()

    async def __call__(self, key: Key) -> float | None:
        assert key not in self.running, "two passes of one key at once"
        self.running.add(key)
        self.passes.append(key)
        try:
            if self.gate is not None:
                await self.gate.wait()
            self.ended.append(key)
            answer = self.answers.pop(0) if self.answers else self.rest
            if isinstance(answer, Exception):
                raise answer
            return answer
        finally:
            self.running.remove(key)


@pytest.fixture(autouse=True)
def no_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_QUIET_SECONDS", 0.0)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def telemetry() -> PrometheusTelemetry:
    return PrometheusTelemetry()


@pytest.fixture
async def loops(work: Work, telemetry: PrometheusTelemetry) -> AsyncIterator[WorkQueue]:
    found = WorkQueue("tests", work, telemetry)
    yield found
    await found.stop()
    assert not work.running


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_wake_makes_one_pass_and_many_at_once_make_one(
    work: Work, loops: WorkQueue
) -> None:
    for _ in range(10):
        loops.wake(A)
    await turns()

    assert work.passes == [A]
    assert len(loops) == 1


async def test_keys_do_not_wait_for_each_other(work: Work, loops: WorkQueue) -> None:
    work.gate = asyncio.Event()
    loops.wake(A)
    loops.wake(B)
    await turns()

    assert work.running == {A, B}
    work.gate.set()


async def test_news_during_a_pass_make_exactly_one_more(work: Work, loops: WorkQueue) -> None:
    work.gate = asyncio.Event()
    loops.wake(A)
    await turns()
    for _ in range(5):
        loops.wake(A)
    await turns()
    assert work.passes == [A]

    work.gate.set()
    await until(lambda: len(work.passes) == 2)
    await turns()
    assert work.passes == [A, A]


async def test_a_pass_is_made_again_after_the_pause_that_it_asked_for(
    work: Work, loops: WorkQueue
) -> None:
    work.answers = [0.01, 0.01]
    loops.wake(A)

    await until(lambda: len(work.passes) == 3)


async def test_a_key_with_nothing_left_to_do_has_no_loop_and_can_be_woken_again(
    work: Work, loops: WorkQueue
) -> None:
    work.rest = None
    for count in (1, 2, 3):
        loops.wake(A)
        await until(lambda count=count: len(work.passes) == count and len(loops) == 0)


async def test_news_in_the_last_moment_of_a_loop_are_not_lost(work: Work, loops: WorkQueue) -> None:
    """Whenever the wake comes, a pass starts after it."""
    work.rest = None
    for moment in range(12):
        loops.wake(A)
        await turns(moment)
        before = len(work.passes)
        loops.wake(A)
        await until(lambda before=before: len(work.passes) > before and len(loops) == 0)


async def test_news_during_the_last_pass_make_another(work: Work, loops: WorkQueue) -> None:
    work.rest, work.gate = None, asyncio.Event()
    loops.wake(A)
    await turns()
    loops.wake(A)
    work.gate.set()

    await until(lambda: len(work.passes) == 2 and len(loops) == 0)


def test_the_pause_after_failures_grows_to_five_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue.random, "uniform", lambda _low, high: high)
    assert [backoff(n) for n in (1, 2, 3, 8, 9, 5000)] == [2, 4, 8, 256, 300, 300]

    monkeypatch.setattr(queue.random, "uniform", lambda low, _high: low)
    assert backoff(1) == 1.0


async def test_failures_in_a_row_are_counted_and_a_success_ends_the_row(
    work: Work, loops: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(queue, "backoff", lambda failures: asked.append(failures) or 0.0)
    refused = ClusterError("GET", "x", status=500)
    work.answers = [refused, refused, RuntimeError("a bug"), 0.0, refused]

    loops.wake(A)
    await until(lambda: len(work.passes) == 6)

    assert asked == [1, 2, 3, 1]


async def test_a_bug_does_not_end_the_loop(
    work: Work, loops: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "backoff", lambda _: 0.0)
    work.answers = [ZeroDivisionError("a bug")]

    loops.wake(A)
    await until(lambda: len(work.passes) == 2)

    assert len(loops) == 1


async def test_what_only_the_user_can_mend_waits_for_news(work: Work, loops: WorkQueue) -> None:
    work.answers = [InvalidSpecError("no such field")]
    loops.wake(A)
    await turns()
    assert work.passes == [A]

    loops.wake(A)
    await until(lambda: len(work.passes) == 2)


async def test_a_name_that_is_taken_is_tried_again_although_nothing_tells_that_it_is_free(
    work: Work, loops: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert NameTakenError.retry_seconds <= 10
    monkeypatch.setattr(NameTakenError, "retry_seconds", 0.0)
    work.answers = [NameTakenError("Secret team/a exists")]

    loops.wake(A)
    await until(lambda: len(work.passes) == 2)


async def test_the_same_failure_again_is_no_news_in_the_log(
    work: Work,
    loops: WorkQueue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(queue, "backoff", lambda _: 0.0)
    caplog.set_level(logging.INFO, "triton_operator.tests")
    work.answers = [ClusterError("GET", "x", status=500) for _ in range(4)]

    loops.wake(A)
    await until(lambda: len(work.passes) == 5)

    assert len(caplog.records) == 1


async def test_stopping_ends_loops_wherever_they_are(telemetry: PrometheusTelemetry) -> None:
    async def stopped(pause: float | None, gate: asyncio.Event | None) -> WorkQueue:
        work = Work()
        work.rest, work.gate = pause, gate
        loops = WorkQueue("tests", work, telemetry)
        loops.wake(A)
        await turns()
        loops.wake(B)
        await loops.stop()
        return loops

    waiting: Awaitable[WorkQueue] = stopped(1000.0, None)
    passing: Awaitable[WorkQueue] = stopped(1000.0, asyncio.Event())
    async with asyncio.timeout(5):
        await waiting
        await passing
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in others if "tests" in task.get_name()]


async def test_stopping_lets_a_pass_end_that_is_about_to(telemetry: PrometheusTelemetry) -> None:
    work = Work()
    work.gate = asyncio.Event()
    loops = WorkQueue("tests", work, telemetry)
    loops.wake(A)
    await turns()
    stopping = asyncio.create_task(loops.stop())
    await turns()
    loops.wake(A)
    loops.wake(B)
    assert not stopping.done()

    work.gate.set()
    await asyncio.wait_for(stopping, 5)

    # It was not cut off, and nothing was begun after it.
    assert work.ended == [A]
    assert work.passes == [A]
    assert len(loops) == 0


async def test_how_long_passes_run_is_known(work: Work, loops: WorkQueue) -> None:
    assert loops.longest_pass() == 0.0
    work.gate = asyncio.Event()
    loops.wake(A)
    await turns()
    begun = time.monotonic()
    await asyncio.sleep(0.05)
    loops.wake(B)
    await turns()

    waited = time.monotonic() - begun
    assert waited <= loops.longest_pass() < waited + 5
    work.gate.set()
    await until(lambda: loops.longest_pass() == 0.0)


async def test_an_expected_failure_is_tried_again_and_no_line_of_the_log(
    work: Work,
    loops: WorkQueue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(queue, "backoff", lambda _: 0.0)
    work.answers = [NamespaceTerminatingError("POST", "configmaps", status=403)] * 2

    loops.wake(A)
    await until(lambda: len(work.passes) == 3)

    assert not [each for each in caplog.records if each.name == "triton_operator.tests"]


# ---- what is measured ---------------------------------------------------------------------


def counted(telemetry: PrometheusTelemetry, name: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(
        f"triton_operator_{name}", {"loop": "tests"} | labels
    )


async def test_passes_and_why_they_failed_are_counted(
    work: Work,
    loops: WorkQueue,
    telemetry: PrometheusTelemetry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue, "backoff", lambda _: 0.0)
    work.answers = [ClusterError("GET", "x", status=500), KeyError("a bug"), 0.0]

    loops.wake(A)
    await until(lambda: len(work.passes) == 4)
    await turns()

    assert counted(telemetry, "pass_duration_seconds_count") == 4
    assert counted(telemetry, "pass_errors_total", reason="ClusterError") == 1
    assert counted(telemetry, "pass_errors_total", reason="Unexpected") == 1
    # Only the first had news: the others were due by themselves.
    assert counted(telemetry, "queue_wait_seconds_count") == 1


async def test_the_backlog_is_what_no_pass_has_taken_in(work: Work, loops: WorkQueue) -> None:
    assert loops.backlog() == Backlog(0, 0.0)
    work.gate = asyncio.Event()
    loops.wake(A)
    loops.wake(B)
    assert loops.backlog().length == 2
    await turns()
    assert (len(work.running), loops.backlog().length) == (2, 0)

    begun = time.monotonic()
    loops.wake(B)  # news of what a pass is at is for the next one
    await until(lambda: loops.backlog().oldest_seconds > 0.01)
    assert loops.backlog().length == 1
    assert loops.backlog().oldest_seconds <= time.monotonic() - begun
    work.gate.set()
    await until(lambda: len(work.passes) == 3)
    assert loops.backlog() == Backlog(0, 0.0)


async def test_a_loop_that_was_cut_off_leaves_no_backlog(work: Work, loops: WorkQueue) -> None:
    work.gate = asyncio.Event()
    loops.wake(A)
    await turns()
    loops.wake(A)
    await loops.stop()
    assert loops.backlog().length == 0
