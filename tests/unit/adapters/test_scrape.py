"""How long it may take to ask many pods, on a clock that leaps to whatever is next."""

import asyncio
import selectors

import pytest

from triton_operator.adapters.scrape import TritonScraper
from triton_operator.observed import READY, Pod, ServedModel, ServedVersion

DEADLINE = 10.0


class Leaping(asyncio.SelectorEventLoop):
    """A loop that waits for no timer: its time goes on instead."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: Leaping) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.now += timeout or 0.0
        return super().select(0)


class Silence:
    """Pods that never answer."""

    async def get(self, pod: Pod, port: int, path: str) -> bytes:
        await asyncio.Future[None]()
        raise AssertionError(f"{pod.name} answers")


@pytest.mark.parametrize("number", [1, 64, 200, 1000])
def test_pods_that_are_silent_keep_a_tick_no_longer_than_is_said(number: int) -> None:
    """However many: who waits for a tick must know."""
    pods = [Pod(f"p{each}", uid=f"p{each}") for each in range(number)]
    served = {"resnet": ServedModel((ServedVersion("1", READY),))}

    async def ask() -> float:
        scraper = TritonScraper(Silence(), deadline_seconds=DEADLINE)
        await asyncio.gather(scraper.scrape(pods), scraper.shapes(dict.fromkeys(pods, served), {}))
        return scraper.longest_seconds(number)

    loop = Leaping()
    try:
        longest = loop.run_until_complete(ask())
    finally:
        loop.close()
    assert loop.now <= longest <= loop.now + DEADLINE
