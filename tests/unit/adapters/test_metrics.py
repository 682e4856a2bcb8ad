"""Our reading of a Prometheus page against prometheus-client's, and the statistics.

`recorded/` holds what Triton 2.51 said under load: two versions of a model with dynamic batching
and a response cache, a model with an awkward metric tag and a queue, an ensemble.
"""

import json
import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from triton_operator.adapters.metrics import parse_metrics, parse_statistics
from triton_operator.autoscaling.samples import Batches, Counters, Series

RECORDED = Path(__file__).parent / "recorded"
PAGE = (RECORDED / "metrics.txt").read_text()
STATISTICS = (RECORDED / "statistics.json").read_bytes()

FIELDS = {
    "nv_inference_request_success": "success",
    "nv_inference_count": "inferences",
    "nv_inference_exec_count": "executions",
    "nv_inference_compute_input_duration_us": "compute_us",
    "nv_inference_compute_infer_duration_us": "compute_us",
    "nv_inference_compute_output_duration_us": "compute_us",
    "nv_inference_queue_duration_us": "queue_us",
    "nv_inference_pending_request_count": "pending",
}
FAILURE = "nv_inference_request_failure"

Plain = dict[Series, dict[str, Any]]


def reference(page: str) -> Plain:
    """What prometheus-client reads, added up by series."""
    found: Plain = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            name, labels = sample.name.removesuffix("_total"), sample.labels
            if "model" not in labels or name not in {*FIELDS, FAILURE}:
                continue
            key = Series(labels["model"], labels.get("version", ""), labels.get("gpu_uuid", ""))
            entry = found.setdefault(key, {"failures": {}})
            where = entry["failures"] if name == FAILURE else entry
            field = labels.get("reason", "") if name == FAILURE else FIELDS[name]
            where[field] = where.get(field, 0.0) + float(sample.value)
    return found


def plain(found: dict[Series, Counters]) -> Plain:
    fields = sorted({*FIELDS.values(), "failures"})
    return {
        series: {field: getattr(counters, field) for field in fields}
        for series, counters in found.items()
    }


def same(page: str) -> None:
    ours, theirs = plain(parse_metrics(page)), reference(page)
    assert ours.keys() == theirs.keys()
    for series, counters in theirs.items():
        failures = counters.pop("failures")
        assert ours[series].pop("failures") == pytest.approx(failures, nan_ok=True)
        lacking = dict.fromkeys(FIELDS.values(), math.nan)
        assert ours[series] == pytest.approx(lacking | counters, nan_ok=True)


def on_gpus(page: str) -> str:
    """Every counter twice, as builds for GPUs have it."""
    twin = re.sub(r"(?m)^(nv_inference_\w+\{)(.*)$", r'\1\2\n\1gpu_uuid="GPU-0",\2', page)
    assert twin.count("\nnv_inference_") == 2 * page.count("\nnv_inference_")
    return twin


def test_the_recorded_page_is_read_as_prometheus_client_reads_it() -> None:
    same(PAGE)
    same(on_gpus(PAGE))


def test_the_recorded_page_says_what_was_done() -> None:
    found = parse_metrics(PAGE)

    assert set(found) == {
        Series("batched", "1"),
        Series("batched", "2"),
        Series("both", "1"),
        Series("plain", "1"),
    }
    assert found[Series("batched", "2")] == Counters(
        success=110,
        failures={"REJECTED": 0, "CANCELED": 0, "BACKEND": 0, "OTHER": 0},
        inferences=56,  # 54 came from the cache
        executions=15,
        compute_us=3310476,
        queue_us=900342,
        pending=0,
    )
    assert found[Series("plain", "1")].pending == 16


def test_a_series_with_a_gpu_is_another_series() -> None:
    found = parse_metrics(on_gpus(PAGE))

    assert found[Series("plain", "1", "GPU-0")] == found[Series("plain", "1")]


def test_what_the_page_lacks_is_nan_and_not_zero() -> None:
    (counters,) = parse_metrics('nv_inference_count{model="m",version="1"} 3\n').values()

    assert counters == Counters(inferences=3)


def test_other_metrics_are_passed_over_also_with_similar_names() -> None:
    page = """
# HELP nv_inference_count nv_inference_count{model="help",version="1"} 5
# TYPE nv_inference_count counter
nv_inference_count_of_mine{model="m",version="1"} 7
nv_inference_queue_summary_us{model="m",version="1",quantile="0.5"} 7
nv_inference_count 7
my_nv_inference_count{model="m",version="1"} 7
"""
    assert parse_metrics(page) == {}
    assert parse_metrics("") == {}


def test_openmetrics_names_timestamps_and_exemplars_are_understood() -> None:
    page = """# TYPE nv_inference_request_success counter
nv_inference_request_success_total{model="m",version="1"} 4 1520879607.789
nv_inference_count_total{model="m",version="1"} 5.0 # {trace_id="a} 9"} 1.0 1520879607.789
# EOF
"""
    assert parse_metrics(page) == {Series("m", "1"): Counters(success=4, inferences=5)}


names = st.text(alphabet='ab\\"{}=,# \n\té\u2028', min_size=1, max_size=8)
values = st.one_of(
    st.integers(0, 10**15).map(str),
    st.floats(0, 1e15).map(repr),
    st.floats(0, 1e15).map("{:e}".format),
    st.sampled_from(["NaN", "+Inf", "-Inf", "1e+06", "1.5E-3", "-3"]),
)
spaces = st.sampled_from(["", " ", "\t", "  "])
noise = st.one_of(
    st.sampled_from(
        [
            "",
            '# HELP nv_inference_count words \\n {model="m"} 4',
            "# TYPE nv_inference_count counter",
            "# TYPE nv_inference_pending_request_count gauge",
            "# a comment {",
            'nv_gpu_utilization{gpu_uuid="GPU-0"} 0.5',
            "nv_cpu_utilization 1",
        ]
    ),
)


@st.composite
def sample(draw: st.DrawFn) -> str:
    family = draw(st.sampled_from([*FIELDS, FAILURE]))
    labels = {"model": draw(names), "version": draw(st.sampled_from(["1", "2"]))}
    for label in draw(st.sets(st.sampled_from(["gpu_uuid", "_tag", "reason"]))):
        labels[label] = draw(names)
    given = draw(st.permutations(sorted(labels)))
    space = draw(spaces)
    inside = ",".join(f'{space}{name}{space}="{escape(labels[name])}"' for name in given)
    comma = draw(st.sampled_from(["", ","]))
    stamp = draw(st.sampled_from(["", " 1395066363000", " -3982045"]))
    return f"{space}{family}{{{inside}{comma}}}{draw(spaces)} {draw(values)}{stamp}{space}"


def escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@given(st.lists(sample() | noise, max_size=12))
def test_any_page_is_read_as_prometheus_client_reads_it(lines: list[str]) -> None:
    same("\n".join([*lines, "nv_cpu_utilization 1", ""]))


@given(st.text(alphabet='{}"\\,= \tam1.e+-n'))
@example("}1 .")
@example("}1 -1.5e+3")
@example("}1 1e")
def test_what_is_read_at_all_is_read_as_prometheus_client_reads_it(rest: str) -> None:
    page = f'nv_inference_count{{model="m"{rest}\n'
    try:
        parse_metrics(page)
    except ValueError:
        return
    same(page)


@pytest.mark.parametrize(
    "line",
    [
        'nv_inference_count{model="m",version="1"',
        'nv_inference_count{model="m",version="1"}',
        'nv_inference_count{model="m",version="1"} many',
        'nv_inference_count{model="m",version="1"} 1 2 3 four',
        'nv_inference_count{model="m" version="1"} 1',
        'nv_inference_count{model="m",model="n"} 1',
        "nv_inference_count{model=m} 1",
        'nv_inference_count{model="m} 1',
    ],
)
def test_a_line_that_cannot_be_read_fails_the_page(line: str) -> None:
    with pytest.raises(ValueError, match=r"cannot read|could not convert"):
        parse_metrics(f"{PAGE}{line}\n")


def test_another_page_is_not_taken_for_an_idle_server() -> None:
    with pytest.raises(ValueError, match="not a page of Triton"):
        parse_metrics("<html><body>Welcome</body></html>")


@pytest.mark.parametrize(
    "page",
    [
        'nv_inference_count{model="' + "\\" * 2_000_000,
        "nv_inference_count{" + 'a="b",' * 300_000,
        "nv_inference_count{" + '"' * 2_000_000 + "} 1",
        " " * 2_000_000,
        'nv_inference_count{model="m"} ' + "1" * 2_000_000 + " " * 2_000_000 + "x",
        'nv_inference_count{model="' + "m" * 2_000_000 + '"} x',
    ],
)
def test_a_hostile_page_costs_no_more_than_its_length(page: str) -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match=r"."):
        parse_metrics(page + "\nno page")
    assert time.process_time() - started < 2


def test_many_labels_cost_no_more_than_their_length() -> None:
    labels = ",".join(f'a{n}="b"' for n in range(150_000))
    started = time.process_time()
    (series,) = parse_metrics(f'nv_inference_count{{{labels},model="m"}} 1')
    assert series.model == "m"
    assert time.process_time() - started < 2


def test_the_recorded_statistics_are_added_up_over_versions() -> None:
    found = parse_statistics(STATISTICS)

    assert found["batched"] == (
        Batches(1, 9, 364450 + 248129146 + 7292738),
        Batches(4, 10, 779035 + 475322056 + 16430273),
        Batches(7, 1, 52768 + 298924747 + 2959464),
        Batches(8, 15, 1096644 + 515251787 + 15015869 + 471539 + 107452983 + 9728314),
    )
    assert found["plain"] == (Batches(1, 23, 681899 + 833371925 + 6236389),)


def test_batches_and_counters_agree() -> None:
    batches, counters = parse_statistics(STATISTICS), parse_metrics(PAGE)

    for model, sizes in batches.items():
        series = [found for key, found in counters.items() if key.model == model]
        executions = math.fsum(each.executions or 0 for each in series)
        assert sum(each.executions for each in sizes) == executions
        inferences = math.fsum(each.inferences or 0 for each in series)
        assert sum(each.size * each.executions for each in sizes) == inferences


def test_a_model_that_executed_nothing_has_no_batches() -> None:
    body = {"model_stats": [{"name": "m", "version": "1", "batch_stats": []}, {"name": "n"}]}

    assert parse_statistics(json.dumps(body).encode()) == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"model_stats": 3}',
        b'{"model_stats": [3]}',
        b'{"model_stats": [{"batch_stats": [{}]}]}',
        STATISTICS.replace(b'"count":9,', b'"count":"9",'),
        STATISTICS.replace(b'"count":9,', b'"count":true,'),
        STATISTICS.replace(b'"count":9,', b'"count":1' + b"0" * 400 + b","),
        STATISTICS[:-20],
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_statistics_that_are_not_tritons_are_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="cannot read /v2/models/stats"):
        parse_statistics(body)
