"""Clients of all kinds that ask one server, and a table of what became of their requests."""

import time
from collections import Counter

from tests.cluster.support.load import Load, Request

BARE = "bare keep-alive"
COLUMNS = {
    "grpc": "gRPC",
    "http": "HTTP, new",
    "http keep-alive": "HTTP, kept",
    "gateway": "gateway",
    BARE: "HTTP, bare",
}


class Clients:
    """All kinds of clients, each with what became of its requests, and a table of that."""

    def __init__(self, service: Load, gateway: Load) -> None:
        self._loads = {"service": service, "gateway": gateway}
        self._told: Counter[tuple[str, bool]] = Counter()
        self._rows = [
            f"| what happened | took | {' | '.join(COLUMNS.values())} |",
            f"|---|---|{'---|' * len(COLUMNS)}",
        ]

    def requests(self) -> list[tuple[str, Request]]:
        """Return all requests, each with its kind of client, a key of COLUMNS."""
        return [
            ("gateway" if place == "gateway" else each.protocol, each)
            for place, load in self._loads.items()
            for each in load.requests()
        ]

    def failed(self) -> list[tuple[str, Request]]:
        """Return what failed, but for what bare connections lose."""
        return [(kind, each) for kind, each in self.requests() if each.error and kind != BARE]

    def lost(self) -> list[Request]:
        return [each for kind, each in self.requests() if each.error and kind == BARE]

    def tell(self, what: str, since: float) -> None:
        """Add a row: requests that were sent, and failed, since the last one."""
        now = self._counts()
        self._add(what, f"{time.monotonic() - since:.0f} s", now - self._told)
        self._told = now

    def table(self) -> list[str]:
        """Return the lines of the table, the last one with what there was in all."""
        self._add("in all, also between these", "", self._counts())
        return self._rows

    def _counts(self) -> Counter[tuple[str, bool]]:
        return Counter((kind, bool(each.error)) for kind, each in self.requests())

    def _add(self, what: str, took: str, counts: Counter[tuple[str, bool]]) -> None:
        cells = (
            f"{counts[kind, False] + counts[kind, True]:,} / {counts[kind, True]}"
            for kind in COLUMNS
        )
        self._rows.append(f"| {what} | {took} | {' | '.join(cells)} |")
