"""How far the copying of each model's files is, from what happens to single files."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Lock

from triton_operator.repository.outcome import Event
from triton_operator.repository.sources import SourceFile, public_uri

REPORT_SECONDS = 2.0
_REPORT_EVENTS = 50
"""Told at least this often, so that the end of a log tells it however small the files are."""


@dataclass(slots=True)
class _Model:
    """The files of one model, by uri."""

    sizes: dict[str, int | None] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    unsized: int = 0
    """Files whose size is not known."""
    size: int = 0
    """Bytes of the others."""
    total: int | None = None
    """As it was told last."""
    told_at: float = 0.0
    events: int = 0
    """Since it was told last."""


class Copying:
    """Passes events on, and tells of each model how many bytes are there, and of how many.

    A ``copied`` event comes as soon as the total is known, and then every few seconds.
    """

    def __init__(
        self, report: Callable[[Event], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._now = clock
        self._models: dict[str, _Model] = {}
        self._lock = Lock()

    def expect(self, object_: str, files: Iterable[SourceFile]) -> None:
        """Say which files of a model are to be fetched, before the first one is."""
        with self._lock:
            sizes = {public_uri(file.uri): file.size for file in files}
            model = self._models[object_] = _Model(sizes, told_at=self._now())
            model.unsized = sum(size is None for size in sizes.values())
            model.size = sum(size or 0 for size in sizes.values())
            self._tell(object_, model)

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        with self._lock:
            self._report(event)
            model = self._models.get(event.object or "")
            if event.object is None or event.uri is None or model is None:
                return
            match event.event:
                case "fetching" | "progress":
                    self._take(model, event.uri, done=event.bytes, total=event.total)
                case "fetched" | "reused":
                    self._take(model, event.uri, done=event.bytes, total=event.bytes)
                case _:
                    return
            model.events += 1
            self._tell(event.object, model)

    def _take(self, model: _Model, uri: str, *, done: int | None, total: int | None) -> None:
        model.done[uri] = done or 0
        before = model.sizes.get(uri, 0)
        if total is not None and total != before:  # a folder may have very many files
            model.unsized -= before is None
            model.size += total - (before or 0)
            model.sizes[uri] = total

    def _tell(self, object_: str, model: _Model) -> None:
        total = None if model.unsized else model.size
        age = self._now() - model.told_at
        due = bool(model.events) and (age >= REPORT_SECONDS or model.events >= _REPORT_EVENTS)
        if due or (total and total != model.total):
            model.total, model.told_at, model.events = total, self._now(), 0
            done = sum(model.done.values())
            self._report(Event("copied", object_, bytes=done, total=total))
