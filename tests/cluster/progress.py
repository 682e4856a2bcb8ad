"""Telling a waiting person what goes on: the name of each step, how long it took, and a sign of
life in between."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_STARTED = time.monotonic()
_SIGN_OF_LIFE_S = 15.0
_LINE = threading.Lock()


class ClusterError(Exception):
    """A step failed; the message says what a person should look at."""


def say(text: str) -> None:
    """One line on standard error, with the seconds since the start."""
    with _LINE:
        print(f"[{time.monotonic() - _STARTED:6.1f} s] {text}", file=sys.stderr, flush=True)


@contextmanager
def step(name: str, *, quiet_below_s: float = 0.0) -> Iterator[None]:
    """Announce a step, show that it lives, and say what it took; a step faster than
    `quiet_below_s` is not mentioned."""
    started = time.monotonic()
    over = threading.Event()

    def show_life() -> None:
        if quiet_below_s and over.wait(quiet_below_s):
            return
        say(f"{name} …")
        while not over.wait(_SIGN_OF_LIFE_S):
            say(f"{name} … {time.monotonic() - started:.0f} s so far")

    shower = threading.Thread(target=show_life, daemon=True)
    shower.start()
    try:
        yield
    except BaseException:
        say(f"{name}: FAILED after {time.monotonic() - started:.1f} s")
        raise
    finally:
        over.set()
        shower.join()
    took = time.monotonic() - started
    if took >= quiet_below_s:
        say(f"{name}: {took:.1f} s")


def wait_until(
    met: Callable[[], bool], what: str, *, timeout_s: float = 60.0, every_s: float = 0.1
) -> None:
    """Return once `met()` is true; raise ClusterError naming `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not met():
        if time.monotonic() > deadline:
            raise ClusterError(f"timed out after {timeout_s:.0f} s: {what}")
        time.sleep(every_s)
