"""Triton's own words on a load that failed, from logs as they were seen."""

from triton_operator.plan.failure_log import find_load_error, shorten

LOG = r"""I1121 08:13:01.684448 2332 model_lifecycle.cc:472] "loading: m:1"
E1121 08:13:03.262246 2332 backend_model.cc:692] "ERROR: Failed to create instance: RuntimeError: no"
E1121 08:13:03.262337 2332 model_lifecycle.cc:642] "failed to load 'm' version 1: Internal: RuntimeError: no\n\nAt:\n  /repo/m/1/model.py(5): initialize\n"
I1121 08:13:03.262363 2332 model_lifecycle.cc:777] "failed to load 'm'"
I1121 08:13:04.000000 2332 model_lifecycle.cc:472] "loading: n:1"
"""  # noqa: E501
ISO = r"""2026-11-21T08:13:16Z I 3057 model_lifecycle.cc:472] "loading: m:1"
2026-11-21T08:13:16Z E 3057 model_lifecycle.cc:642] "failed to load 'm' version 1: Internal: SyntaxError: invalid syntax"
2026-11-21T08:13:16Z I 3057 model_lifecycle.cc:777] "failed to load 'm'"
"""  # noqa: E501
REASON = "Internal: RuntimeError: no At: /repo/m/1/model.py(5): initialize"


def test_the_reason_is_found_without_the_rest_of_the_log() -> None:
    assert find_load_error(LOG, "m") == REASON


def test_the_other_format_of_log_lines_is_read_too() -> None:
    assert find_load_error(ISO, "m") == "Internal: SyntaxError: invalid syntax"


def test_the_last_of_several_reasons_is_the_one() -> None:
    assert find_load_error(LOG.replace("no", "before") + LOG, "m") == REASON


def test_what_other_models_failed_of_is_not_taken() -> None:
    assert find_load_error(LOG, "n") is None
    assert find_load_error(LOG, "m.") is None
    assert find_load_error("", "m") is None


def test_a_message_is_one_line_that_fits_into_a_status() -> None:
    assert shorten("load failed:\n\n  At:\n   model.py;\n") == "load failed: At: model.py"
    long = shorten("first " + "x" * 5000 + " last")
    assert len(long) <= 1000
    assert long.startswith("first")
    assert long.endswith("last")
