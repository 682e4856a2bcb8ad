"""What a Triton pod says of its own load: its Prometheus page and its statistics, as values.

Only the counters of ``nv_inference_*`` that the autoscaler reads are looked at, in one search over
the page: a dozen times faster than prometheus-client and equal to it (a test compares them). Pages
come from pods, so nothing in them is trusted.
"""

import json
import re
from functools import lru_cache
from math import nan
from typing import Any

from triton_operator.autoscaling.samples import Batches, Counters, Series

_SUCCESS, _INFERENCES, _EXECUTIONS, _COMPUTE, _QUEUE, _PENDING, _FAILURE = range(7)
_COLUMNS = {
    "request_success": _SUCCESS,
    "request_failure": _FAILURE,
    "count": _INFERENCES,
    "exec_count": _EXECUTIONS,
    "compute_input_duration_us": _COMPUTE,
    "compute_infer_duration_us": _COMPUTE,
    "compute_output_duration_us": _COMPUTE,
    "queue_duration_us": _QUEUE,
    "pending_request_count": _PENDING,
}

# Possessive throughout: a page cannot make the search go back and forth.
_STRING = r'"(?:[^"\\\n]++|\\.)*+"'
_NUMBER = r"[-+]?+ (?: \d++ (?: \.\d*+ )?+ | \.\d++ ) (?: [eE] [-+]?+ \d++ )?+"
_LINE = re.compile(
    rf"""^[ \t]*+ nv_inference_({"|".join(_COLUMNS)}) (?:_total)?+ [ \t]*+
    (?: (\{{ (?: [^"{{}}\n]++ | {_STRING} )*+ ) \}} [ \t]*+ ([-+.a-zA-Z\d]++)
        (?: [ \t]++ {_NUMBER} )?+           # timestamp
        (?: [ \t]++ \#.*+ )?+ [ \t\r]*+ $   # exemplar
    | (\{{.*) )""",
    re.MULTILINE | re.VERBOSE,
)
_LABEL = re.compile(rf"[ \t]*+([a-zA-Z_][a-zA-Z0-9_]*+)[ \t]*+=[ \t]*+({_STRING})[ \t]*+(?:,|$)")
_ESCAPE = re.compile(r'\\([\\n"])')

_KEPT_LABELS = 65536
_LONGEST_KEPT = 1024
"""Characters. Labels are kept between scrapes; a pod must not fill our memory with them."""


def parse_metrics(page: str) -> dict[Series, Counters]:
    """Return the counters on a Prometheus page, in the text or the OpenMetrics format.

    What occurs twice with the same model, version and GPU (under different metric tags) is added
    up. Raises ``ValueError``, which quotes the line, where one of our counters cannot be read.
    """
    rows: dict[str, list[float | None]] = {}
    for family, labels, value, rest in _LINE.findall(page):
        if rest:
            raise ValueError(f"cannot read nv_inference_{family}{rest[:100]}")
        row = rows.get(labels)
        if row is None:
            row = rows[labels] = [None] * 7
        column = _COLUMNS[family]
        earlier = row[column]
        row[column] = float(value) if earlier is None else earlier + float(value)
    if not rows and "nv_" not in page and page.strip():
        raise ValueError(f"not a page of Triton: {page[:100]!r}")
    return _counters(rows)


def _counters(rows: dict[str, list[float | None]]) -> dict[Series, Counters]:
    totals: dict[Series, list[float | None]] = {}
    failures: dict[Series, dict[str, float]] = {}
    for labels, row in rows.items():
        parse = _parse_labels if len(labels) <= _LONGEST_KEPT else _parse_labels.__wrapped__
        series, reason = parse(labels)
        if series is None:
            continue
        total = totals.setdefault(series, row)
        if total is not row:
            for column, value in enumerate(row):
                if value is not None:
                    total[column] = value + (total[column] or 0.0)
        if (failed := row[_FAILURE]) is not None:
            reasons = failures.setdefault(series, {})
            reasons[reason] = reasons.get(reason, 0.0) + failed
    return {
        series: _make(failures.get(series, {}), [nan if x is None else x for x in row])
        for series, row in totals.items()
    }


def _make(failures: dict[str, float], row: list[float]) -> Counters:
    return Counters(
        success=row[_SUCCESS],
        failures=failures,
        inferences=row[_INFERENCES],
        executions=row[_EXECUTIONS],
        compute_us=row[_COMPUTE],
        queue_us=row[_QUEUE],
        pending=row[_PENDING],
    )


@lru_cache(_KEPT_LABELS)
def _parse_labels(text: str) -> tuple[Series | None, str]:
    """Return series and ``reason`` of ``{name="value",…`` (without the closing brace)."""
    found: dict[str, str] = {}
    at, end = 1, len(text.rstrip())
    while at < end:
        label = _LABEL.match(text, at)
        if label is None or label[1] in found:
            raise ValueError(f"cannot read the labels {text[:100]}}}")
        found[label[1]] = _unescape(label[2][1:-1])
        at = label.end()
    model = found.get("model")
    if model is None:
        return None, ""
    series = Series(model, found.get("version", ""), found.get("gpu_uuid", ""))
    return series, found.get("reason", "")


def _unescape(value: str) -> str:
    if "\\" not in value:
        return value
    return _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], value)


def parse_statistics(body: bytes) -> dict[str, tuple[Batches, ...]]:
    """Return the batches in an answer of ``/v2/models/stats``, by model and ascending size.

    Versions of a model are added up; models that executed nothing are left out. Raises
    ``ValueError`` where the answer is not Triton's.
    """
    models: dict[str, dict[int, list[float]]] = {}
    try:
        for entry in json.loads(body)["model_stats"]:
            for batch in entry.get("batch_stats", ()):
                sizes = models.setdefault(str(entry["name"]), {})
                total = sizes.setdefault(int(batch["batch_size"]), [0.0, 0.0])
                total[0] += _number(batch["compute_infer"]["count"])
                for phase in ("compute_input", "compute_infer", "compute_output"):
                    total[1] += _number(batch[phase]["ns"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as e:
        raise ValueError(f"cannot read /v2/models/stats: {type(e).__name__}: {e}"[:200]) from None
    return {
        model: tuple(Batches(size, *total) for size, total in sorted(sizes.items()))
        for model, sizes in models.items()
    }


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)
