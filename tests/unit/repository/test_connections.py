"""How models share a run's connections."""

import threading
from collections.abc import Callable

import pytest

from tests.cluster.support.waiting import wait_for
from triton_operator.repository.connections import Connections, Stopped


class Reader(threading.Thread):
    """Asks for a connection and keeps it until it is told to let go."""

    def __init__(self, connections: Connections, model: str) -> None:
        super().__init__(daemon=True)
        self.connections, self.model = connections, model
        self.has, self.let_go, self.stopped = (threading.Event() for _ in range(3))
        self.is_wanted: Callable[[], bool] = bool
        self.start()

    def run(self) -> None:
        try:
            with self.connections.use(self.model) as self.is_wanted:
                self.has.set()
                assert self.let_go.wait(10)
        except Stopped:
            self.stopped.set()

    def end(self) -> None:
        self.let_go.set()
        self.join(10)


def wait_until_waiting(connections: Connections, count: int) -> None:
    waiting = connections._waiting
    wait_for(f"{count} wait", lambda: sum(waiting.values()) >= count, 10, every=0.001)


def test_a_model_alone_has_all_connections_and_no_more() -> None:
    connections = Connections(2)
    readers = [Reader(connections, "big") for _ in range(3)]
    wait_for("two have one", lambda: sum(r.has.is_set() for r in readers) == 2, 10, every=0.001)
    wait_until_waiting(connections, 1)
    assert sum(each.has.is_set() for each in readers) == 2
    holder = next(each for each in readers if each.has.is_set())
    assert not holder.is_wanted()

    for each in readers:
        each.end()
    assert all(each.has.is_set() for each in readers)


def test_a_model_that_has_none_comes_first_and_is_given_way_to() -> None:
    now = [0.0]
    connections = Connections(2, lambda: now[0])
    first, second = (Reader(connections, "big") for _ in range(2))
    assert first.has.wait(10)
    assert second.has.wait(10)
    more = Reader(connections, "big")
    wait_until_waiting(connections, 1)
    assert not first.is_wanted()
    small = Reader(connections, "small")
    wait_until_waiting(connections, 2)

    assert first.is_wanted()
    assert second.is_wanted()
    first.end()
    assert small.has.wait(10)
    assert not more.has.is_set()
    assert not second.is_wanted()  # its last one, and all have one now

    other = Reader(connections, "other")
    wait_until_waiting(connections, 2)
    assert not second.is_wanted()
    now[0] = 60.0
    assert second.is_wanted()  # it has had its turn
    for each in (small, second, other, more):
        each.end()
    assert other.has.is_set()
    assert more.has.is_set()


@pytest.mark.parametrize("count", [1, 3])
def test_nobody_waits_once_the_run_ends(count: int) -> None:
    connections = Connections(1)
    holder = Reader(connections, "big")
    assert holder.has.wait(10)
    waiting = [Reader(connections, "small") for _ in range(count)]
    wait_until_waiting(connections, count)

    connections.stop()

    assert all(each.stopped.wait(10) for each in waiting)
    holder.end()
