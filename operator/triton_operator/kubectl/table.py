"""The table that ``kubectl triton top`` shows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from triton_operator.autoscaling.samples import ModelShape
from triton_operator.autoscaling.signals import Signals
from triton_operator.kubectl.fleet import Fleet
from triton_operator.observed import ServerRecord
from triton_operator.ports import Key

_BUSY_SHARE = 0.9
"""From here on an instance has no room for a burst."""


@dataclass(frozen=True, slots=True)
class Load:
    """What pods said of one server; ``models`` by the name that clients use."""

    models: Mapping[str, Signals]
    answering: int
    asked: int
    failure: str = ""
    """Why a pod gave no answer; of one of them."""
    shapes: Mapping[str, ModelShape] = field(default_factory=dict)
    """What is known of what the models are; of a decoupled one Triton knows only the arrivals."""


@dataclass(frozen=True, slots=True)
class Row:
    """One model; None is what is not known."""

    namespace: str
    model: str
    server: str
    arrivals: float | None = None
    """Requests per second."""
    failures: float | None = None
    """Of these, failed and rejected ones per second."""
    queue_ms: float | None = None
    """Mean wait of those that were finished."""
    utilization: float | None = None
    pending: float | None = None
    pods: str = ""
    """Answering pods of those asked."""
    desired: int | None = None
    """Of the server: pods that its autoscaler wants, or its spec."""


def build_rows(fleet: Fleet, loads: Mapping[Key, Load]) -> tuple[Row, ...]:
    """Return a row for each model, with what its pods said."""
    rows = []
    for key in fleet.server_keys():
        load = loads.get(key, Load({}, 0, 0))
        for model in fleet.models_of(key):
            signals = load.models.get(model.folder)
            known = signals is not None and signals.seconds > 0
            shape = load.shapes.get(model.folder, ModelShape())
            seen = signals if not shape.decoupled else None
            runs = known and shape.instances > 0
            wait = seen.mean_wait if seen is not None else None
            rows.append(
                Row(
                    namespace=key[0],
                    model=model.folder,
                    server=key[1],
                    arrivals=signals.arrivals if signals is not None and known else None,
                    failures=signals.failures if signals is not None and known else None,
                    queue_ms=wait * 1000 if wait is not None else None,
                    utilization=seen.utilization if seen is not None and runs else None,
                    pending=seen.pending if seen is not None else None,
                    pods=f"{load.answering}/{load.asked}",
                    desired=_desired(fleet.servers.get(key)),
                )
            )
    return tuple(rows)


def rows_from_status(fleet: Fleet) -> tuple[Row, ...]:
    """Return a row for each model, with what the autoscaler of its server wrote last."""
    rows = []
    for key in fleet.server_keys():
        record = fleet.servers.get(key)
        scaling = record.status.autoscaling if record is not None else None
        loads = {each.name: each for each in scaling.models} if scaling is not None else {}
        for model in fleet.models_of(key):
            load = loads.get(model.folder)
            rows.append(
                Row(
                    namespace=key[0],
                    model=model.folder,
                    server=key[1],
                    arrivals=load.arrivals_per_second if load is not None else None,
                    queue_ms=load.queue_time_milliseconds if load is not None else None,
                    # The status has it of the busiest model only.
                    utilization=scaling.utilization if scaling and len(loads) == 1 else None,
                    pending=load.pending if load is not None else None,
                    pods=scaling.pods_answering if scaling is not None else "",
                    desired=_desired(record),
                )
            )
    return tuple(rows)


def build_table(rows: Iterable[Row], *, namespaces: bool, caption: str = "") -> Table:
    """Return the table; ``namespaces`` adds a column for them."""
    table = Table(box=None, pad_edge=False, header_style="bold", caption=caption or None)
    table.caption_justify = "left"
    left = (*(("NAMESPACE",) if namespaces else ()), "MODEL", "SERVER")
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in ("REQ/S", "FAIL/S", "QUEUE MS", "BUSY", "PENDING", "PODS", "DESIRED"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            *((row.namespace,) if namespaces else ()),
            row.model,
            row.server,
            _number(row.arrivals),
            Text(_number(row.failures), style="bold red" if row.failures else ""),
            _number(row.queue_ms),
            _share(row.utilization),
            _number(row.pending),
            row.pods,
            str(row.desired) if row.desired is not None else "",
        )
    return table


def _desired(record: ServerRecord | None) -> int | None:
    if record is None:
        return None
    scaling = record.status.autoscaling
    if scaling is not None and scaling.desired is not None:
        return scaling.desired
    _, _, wanted = record.status.ready.partition("/")
    return int(wanted) if wanted.isdigit() else None


def _number(value: float | None) -> str:
    """Return three significant digits, without an exponent."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 or value == 0 else f"{value:.3g}"  # noqa: PLR2004


def _share(value: float | None) -> Text:
    if value is None:
        return Text("-")
    return Text(f"{value:.0%}", style="yellow" if value >= _BUSY_SHARE else "")
