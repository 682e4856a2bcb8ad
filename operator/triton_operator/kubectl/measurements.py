"""What perf_analyzer measured: its CSV as a table."""

import csv
from collections.abc import Sequence
from typing import Final

from rich.table import Table

_COMPUTE = ("Server Compute Input", "Server Compute Infer", "Server Compute Output")
_COLUMNS: Final = (
    ("INFER/S", ("Inferences/Second",), 1.0),
    ("QUEUE MS", ("Server Queue",), 1e-3),
    ("COMPUTE MS", _COMPUTE, 1e-3),
    ("P50 MS", ("p50 latency",), 1e-3),
    ("P90 MS", ("p90 latency",), 1e-3),
    ("P95 MS", ("p95 latency",), 1e-3),
    ("P99 MS", ("p99 latency",), 1e-3),
)
"""Heading, the columns of the CSV that are added up, and the factor from their unit (µs)."""


def build_measurements(lines: Sequence[str]) -> Table:
    """Return the table of a CSV, a row for each level of load.

    Raises
    ------
    ValueError
        It is none of perf_analyzer's.

    """
    rows = list(csv.DictReader(line for line in lines if line.strip()))
    # The first column is the load, and named after what it is.
    load = next(iter(rows[0]), "") if rows else ""
    if load not in ("Concurrency", "Request Rate"):
        raise ValueError(f"not a table of perf_analyzer: {' '.join(lines)[:200]!r}")
    shown = [column for column in _COLUMNS if all(name in rows[0] for name in column[1])]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in (load.upper(), *(column[0] for column in shown)):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda row: float(row[load])):
        numbers = (sum(float(row[name]) for name in names) * by for _, names, by in shown)
        table.add_row(f"{float(row[load]):g}", *(f"{number:.2f}" for number in numbers))
    return table
