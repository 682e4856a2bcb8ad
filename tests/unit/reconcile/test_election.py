"""One of several candidates leads, never two at a time, whatever their clocks and the API say."""

import asyncio
import heapq
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from triton_operator.errors import ClusterError, LeaseLostError, NotLeadingError
from triton_operator.ports import Lease
from triton_operator.reconcile.election import Election

DURATION = 10
DEADLINE = 7.0
RETRY = 2.0


class Time:
    """A clock that only tests turn."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0, "a busy loop"
        self._count += 1
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, self._count, future))
        await future

    async def pass_by(self, seconds: float) -> None:
        """Let time go by, and everything happen that is due meanwhile."""
        end = self.now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, future = heapq.heappop(self._sleepers)
            self.now = max(self.now, at)
            if not future.done():
                future.set_result(None)
            await settle()
        self.now = end

    def jump(self, seconds: float) -> None:
        """Let time go by in which nothing runs, as for processes that are halted."""
        self.now += seconds


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@dataclass
class Store:
    """Keeps the Lease as the API server does, with optimistic locking."""

    time: Time
    lease: Lease = field(default_factory=Lease)
    versions: int = 0
    down: bool = False
    loses_answers: bool = False
    delay: float = 0.0
    writes: list[tuple[float, Lease]] = field(default_factory=list)

    async def read(self, *, timeout_seconds: float) -> Lease:
        await self._travel(timeout_seconds)
        return self.lease

    async def write(self, lease: Lease, *, timeout_seconds: float) -> Lease | None:
        await self._travel(timeout_seconds)
        if lease.version != self.lease.version:
            return None
        stored = self.put(lease)
        if self.loses_answers:
            await self.time.sleep(timeout_seconds)
            raise ClusterError("PUT", "lease", status=None)
        return stored

    def put(self, lease: Lease) -> Lease:
        self.versions += 1
        self.lease = replace(lease, version=str(self.versions))
        self.writes.append((self.time.now, self.lease))
        return self.lease

    async def _travel(self, timeout_seconds: float) -> None:
        if self.delay:
            await self.time.sleep(min(self.delay, timeout_seconds))
        if self.down:
            await self.time.sleep(timeout_seconds)
            raise ClusterError("GET", "lease", status=None)


class Candidate:
    def __init__(self, name: str, store: Store, time: Time, *, clock_is_off: float = 0.0) -> None:
        self.name = name
        self.lost: str | None = None
        self.halted = False
        self._time = time
        skew = timedelta(seconds=clock_is_off)

        def clock() -> datetime:
            return datetime.fromtimestamp(time.now, UTC) + skew

        self.election = Election(
            store, name, DURATION, clock, monotonic=lambda: time.now, sleep=self._sleep
        )
        self.task = asyncio.create_task(self._run())

    async def _sleep(self, seconds: float) -> None:
        await self._time.sleep(seconds)
        while self.halted:
            await self._time.sleep(0.5)

    async def _run(self) -> None:
        try:
            await self.election.win()
            await self.election.keep()
        except LeaseLostError as error:
            self.lost = str(error)

    def leads(self) -> bool:
        return self.election.leads()

    async def kill(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def store(time: Time) -> Store:
    return Store(time)


@pytest.fixture
async def pair(store: Store, time: Time) -> AsyncIterator[tuple[Candidate, Candidate]]:
    """One that leads, and one that stands by."""
    first = Candidate("first", store, time)
    await time.pass_by(0.1)
    second = Candidate("second", store, time)
    await time.pass_by(RETRY)
    assert first.leads()
    assert not second.leads()
    yield first, second
    await first.kill()
    await second.kill()


async def seconds_until(time: Time, candidate: Candidate, most: float = 60) -> float:
    begun = time.now
    while not candidate.leads():
        assert time.now - begun < most, "not within that time"
        await time.pass_by(0.1)
    return time.now - begun


async def test_the_first_leads_at_once_and_stays(
    pair: tuple[Candidate, Candidate], store: Store, time: Time
) -> None:
    first, second = pair
    for _ in range(600):
        await time.pass_by(1)
        assert first.leads()
        assert not second.leads()
    assert store.lease.holder == "first"
    assert store.lease.transitions == 1
    assert store.lease.duration_seconds == DURATION


async def test_who_does_not_lead_is_told_so(pair: tuple[Candidate, Candidate]) -> None:
    first, second = pair
    first.election.require()
    with pytest.raises(NotLeadingError):
        second.election.require()


@pytest.mark.parametrize("moment", [0.0, 0.5, 1.0, 1.5, 1.9])
async def test_after_a_kill_the_other_leads_within_the_lease_and_a_retry(
    pair: tuple[Candidate, Candidate], store: Store, time: Time, moment: float
) -> None:
    first, second = pair
    await time.pass_by(moment)
    await first.kill()

    took = await seconds_until(time, second)

    assert DURATION - RETRY <= took <= DURATION + RETRY + 0.2
    assert (store.lease.holder, store.lease.transitions) == ("second", 2)


async def test_a_release_hands_over_within_a_retry(
    pair: tuple[Candidate, Candidate], store: Store, time: Time
) -> None:
    first, second = pair
    await first.kill()
    await first.election.release()
    assert not first.leads()
    assert store.lease.holder == ""

    assert await seconds_until(time, second) <= RETRY + 0.2


async def test_a_release_works_though_a_renewal_was_cut_off(
    pair: tuple[Candidate, Candidate], store: Store
) -> None:
    first, _ = pair
    await first.kill()
    store.put(replace(store.lease, transitions=7))  # another version, by whomever

    await first.election.release()

    assert store.lease.holder == ""


async def test_who_does_not_lead_releases_nothing(
    pair: tuple[Candidate, Candidate], store: Store
) -> None:
    _, second = pair
    await second.kill()
    await second.election.release()
    assert store.lease.holder == "first"


@pytest.mark.parametrize("off", [-86_400.0, -60.0, 60.0, 86_400.0])
async def test_clocks_that_differ_change_nothing(store: Store, time: Time, off: float) -> None:
    first = Candidate("first", store, time)
    await time.pass_by(0.1)
    second = Candidate("second", store, time, clock_is_off=off)
    await time.pass_by(120)
    assert (first.leads(), second.leads()) == (True, False)

    await first.kill()
    took = await seconds_until(time, second)

    assert DURATION - RETRY <= took <= DURATION + RETRY + 0.2
    await second.kill()


async def test_without_the_api_server_the_leader_ends_before_another_may_act(
    pair: tuple[Candidate, Candidate], store: Store, time: Time
) -> None:
    first, second = pair
    renewed = store.writes[-1][0]
    store.down = True

    while first.lost is None:
        await time.pass_by(0.1)
        assert first.leads() == (time.now < renewed + DEADLINE)
        assert not second.leads()

    # From the deadline on it acted no more; the last request may still hang.
    assert time.now - renewed <= DURATION + 0.2
    assert "not renewed" in first.lost
    store.down = False
    await seconds_until(time, second)


async def test_a_short_failure_is_survived(
    pair: tuple[Candidate, Candidate], store: Store, time: Time
) -> None:
    first, second = pair
    for _ in range(5):
        store.down = True
        await time.pass_by(1.5)
        store.down = False
        await time.pass_by(6)
        assert (first.leads(), second.leads()) == (True, False)
    assert first.lost is None


async def test_a_slow_api_server_is_survived(
    pair: tuple[Candidate, Candidate], store: Store, time: Time
) -> None:
    first, second = pair
    store.delay = 3.0
    for _ in range(120):
        await time.pass_by(0.5)
        assert (first.leads(), second.leads()) == (True, False)


async def test_answers_that_get_lost_do_not_make_it_take_itself_for_another(
    pair: tuple[Candidate, Candidate], store: Store, time: Time
) -> None:
    first, second = pair
    store.loses_answers = True
    await time.pass_by(RETRY + 0.1)
    store.loses_answers = False
    await time.pass_by(RETRY * 4)

    assert first.lost is None
    assert (first.leads(), second.leads()) == (True, False)


async def test_a_process_that_was_halted_for_too_long_ends_when_it_wakes(
    pair: tuple[Candidate, Candidate], store: Store, time: Time
) -> None:
    first, second = pair
    first.halted = True
    await seconds_until(time, second)
    assert not first.leads()
    first.halted = False
    await time.pass_by(1)

    assert first.lost is not None
    holders = [lease.holder for _, lease in store.writes]
    assert "first" not in holders[holders.index("second") :]
    assert second.leads()


async def test_a_machine_that_slept_makes_nobody_act_on_the_old_lease(
    pair: tuple[Candidate, Candidate], time: Time
) -> None:
    first, _ = pair
    time.jump(3600)
    assert not first.leads()
    await time.pass_by(1)
    assert first.lost is not None


async def test_a_lease_that_somebody_deleted_is_made_again(
    pair: tuple[Candidate, Candidate], store: Store, time: Time
) -> None:
    first, second = pair
    store.lease = Lease()
    await time.pass_by(30)

    leaders = [each for each in (first, second) if each.leads()]
    assert len(leaders) == 1
    assert store.lease.holder == leaders[0].name
    assert (first.lost is None) == first.leads()


@pytest.mark.parametrize("moment", [0.1, 0.7, 1.3, 1.9])
async def test_never_do_two_lead_though_the_lease_is_deleted(
    store: Store, time: Time, moment: float
) -> None:
    """Who leads does not know yet that it is gone, and may be cut off from it."""
    first = Candidate("first", store, time)
    await time.pass_by(moment)
    second = Candidate("second", store, time)
    await time.pass_by(RETRY * 3)
    store.lease = Lease()
    first.halted = True

    while not second.leads():
        await time.pass_by(0.1)
        assert not (first.leads() and second.leads())
    assert store.lease.transitions == 2
    first.halted = False
    await time.pass_by(RETRY * 3)
    assert first.lost is not None
    await second.kill()


async def test_every_outage_is_told_once_by_one_that_stands_by(
    pair: tuple[Candidate, Candidate],
    store: Store,
    time: Time,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, _ = pair
    await first.kill()
    other = replace(store.lease, holder="third", duration_seconds=60)
    for outages in (1, 2):
        store.put(replace(other, renewed=datetime.fromtimestamp(time.now, UTC)))
        await time.pass_by(RETRY * 2)
        store.down = True
        await time.pass_by(DURATION)
        store.down = False
        told = [each for each in caplog.records if "no word" in each.message]
        assert sum(each.levelname == "WARNING" for each in told) == outages


async def test_a_lease_that_somebody_annotated_is_still_held(
    pair: tuple[Candidate, Candidate], store: Store, time: Time
) -> None:
    first, second = pair
    for _ in range(10):
        store.put(store.lease)
        await time.pass_by(3)
    assert (first.leads(), second.leads(), first.lost) == (True, False, None)


async def test_a_lease_that_somebody_annotates_is_not_renewed_by_that(
    pair: tuple[Candidate, Candidate], store: Store, time: Time
) -> None:
    first, second = pair
    await first.kill()
    for _ in range(14):
        store.put(store.lease)
        await time.pass_by(1)
    assert second.leads()


async def test_a_leader_that_is_deposed_ends(
    pair: tuple[Candidate, Candidate], store: Store, time: Time
) -> None:
    first, _ = pair
    store.put(replace(store.lease, holder="by hand", renewed=datetime.now(UTC)))
    await time.pass_by(RETRY + 0.1)
    assert first.lost == "by hand has taken the Lease"


async def test_the_next_process_of_the_same_pod_goes_on_at_once(store: Store, time: Time) -> None:
    before = Candidate("pod", store, time)
    await time.pass_by(5)
    await before.kill()

    after = Candidate("pod", store, time)
    await time.pass_by(0.1)

    assert after.leads()
    assert store.lease.transitions == 1
    await after.kill()


async def test_two_of_one_name_do_not_go_on_together(store: Store, time: Time) -> None:
    one = Candidate("same", store, time)
    await time.pass_by(0.1)
    other = Candidate("same", store, time)
    await time.pass_by(RETRY * 2)
    assert sum(each.leads() for each in (one, other)) == 1
    assert one.lost is not None
    await other.kill()


async def test_the_time_that_the_holder_promised_counts_not_our_own(
    store: Store, time: Time
) -> None:
    store.put(Lease(holder="other", duration_seconds=60, renewed=datetime.now(UTC)))
    ours = Candidate("ours", store, time)
    assert 60 <= await seconds_until(time, ours, most=70) <= 60 + RETRY
    await ours.kill()


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(20))
async def test_never_do_two_lead_at_once(store: Store, time: Time, seed: int) -> None:
    """Whatever dies, halts, fails or is slow, and in whatever order."""
    chance = random.Random(seed)
    names = iter(range(1000))

    def new() -> Candidate:
        off = chance.uniform(-1000, 1000)
        return Candidate(f"c{next(names)}", store, time, clock_is_off=off)

    candidates = [new() for _ in range(3)]
    led: set[str] = set()
    for _ in range(1500):
        await time.pass_by(chance.uniform(0.05, 0.4))
        leaders = [each.name for each in candidates if each.leads()]
        assert len(leaders) <= 1, leaders
        led.update(leaders)
        if chance.random() < 0.04:
            store.down = not store.down and chance.random() < 0.3
            store.loses_answers = chance.random() < 0.2
            store.delay = chance.choice((0.0, 0.0, 0.3, 2.0, 6.0))
        if chance.random() < 0.03:
            each = chance.choice(candidates)
            each.halted = not each.halted
        if chance.random() < 0.01:
            await candidates.pop(chance.randrange(3)).kill()
            candidates.append(new())
        candidates = [each if each.lost is None else new() for each in candidates]
    assert len(led) > 2
    store.down = store.loses_answers = False
    store.delay = 0.0
    for each in candidates:
        each.halted = False
    await time.pass_by(DURATION * 2)
    assert sum(each.leads() for each in candidates) == 1
    for each in candidates:
        await each.kill()
