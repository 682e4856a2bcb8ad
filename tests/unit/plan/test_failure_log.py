"""Triton's own words on a load that failed, from logs as they were seen."""

import pytest

from triton_operator.plan.failure_log import (
    find_argument_error,
    find_config_error,
    find_culprit,
    find_load_error,
    find_misfit,
    find_start_error,
    find_unfinished,
    gave_up,
    is_usage,
    shorten,
)

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


START = """\
[libprotobuf ERROR text_format.cc:337] Error parsing text-format: 1:7: Expected string, got: 3
E1121 12:10:31.15 1 model_repository_manager.cc:1460] "Poll failed for model directory 'broken': failed to read text proto from /models/broken/config.pbtxt"
I1121 12:10:31.15 1 model_lifecycle.cc:472] "loading: good:1"
I1121 12:10:31.17 1 model_lifecycle.cc:472] "loading: bad:1"
E1121 12:10:33.67 1 model_lifecycle.cc:642] "failed to load 'bad' version 1: Internal: RuntimeError: no such tokenizer\\n\\nAt:\\n  /models/bad/1/model.py(3): initialize\\n"
I1121 12:10:33.67 1 model_lifecycle.cc:777] "failed to load 'bad'"
I1121 12:10:33.71 1 model_lifecycle.cc:839] "successfully loaded 'good'"
E1121 12:10:33.71 1 model_repository_manager.cc:703] "Invalid argument: in ensemble ens, ensemble tensor IN: inconsistent data type"
E1121 12:10:33.71 1 model_repository_manager.cc:703] "Invalid argument: ensemble 'ens2' depends on 'bad' which has no loaded version."
I1121 12:10:33.72 1 server.cc:604]
error: creating server: Internal - failed to load all models
"""  # noqa: E501


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("broken", "failed to read text proto from /models/broken/config.pbtxt"),
        ("ens", "in ensemble ens, ensemble tensor IN: inconsistent data type"),
        ("ens2", "ensemble 'ens2' depends on 'bad' which has no loaded version."),
        ("good", None),
        ("en", None),
    ],
)
def test_a_start_that_failed_says_why_of_every_model(model: str, reason: str | None) -> None:
    assert find_start_error(START, model) == reason


def test_why_a_config_was_not_taken_is_what_was_said_last() -> None:
    before = START.replace("failed to read text proto from /models/broken", "before")
    assert find_config_error(before + START, "broken") == find_start_error(START, "broken")
    assert find_config_error(START, "bad") is None


def test_a_start_that_failed_to_load_says_so() -> None:
    found = find_start_error(START, "bad")
    assert found is not None
    assert found.startswith("Internal: RuntimeError: no such tokenizer At:")
    assert "successfully" not in found


def test_the_model_that_a_start_failed_of_is_named_before_those_that_only_depend_on_it() -> None:
    tail = "Error, exit code 1, last words: …" + " ".join(START.split())[-60:]
    assert gave_up(tail)
    assert find_culprit(START).startswith("model 'bad' does not load: Internal: RuntimeError: no")

    lines = START.splitlines()
    unread = "\n".join((*lines[:3], *lines[-2:]))
    assert find_culprit(unread) == (
        "model 'broken' does not load: failed to read text proto from /models/broken/config.pbtxt"
    )
    misfit = "\n".join(lines[-4:])
    assert find_culprit(misfit).startswith("model 'ens' does not load: in ensemble ens, ensemble")
    assert find_culprit("\n".join(lines[-2:])) == ""
    assert not gave_up(LOG)


def test_what_a_server_was_loading_when_it_died() -> None:
    assert find_unfinished(START) == ()
    begun = START.splitlines()[2:4]
    assert find_unfinished("\n".join(begun)) == ("good", "bad")
    assert find_unfinished("error: no such option") is None


def test_why_an_ensemble_was_dropped_is_found():
    said = (
        "Invalid argument: in ensemble e, ensemble tensor IN: inconsistent shape: [2] is inferred"
        " from model e while [1] is inferred from model m"
    )
    log = f'I1121 12:19:32.33 1 x.cc:7] "loading"\nE1121 12:19:32.33 1 m.cc:703] "{said}"\n'

    assert find_misfit(log, "e") == said
    assert find_misfit(log, "other") is None


USAGE = """\
Usage: tritonserver [options]
  --help
\tPrint usage

Server:
  --id <string>
\tIdentifier for this server.
  --trace-log-frequency <integer>
\tDEPRECATED: Please use --trace-config
\ttriton,log-frequency=<value>Set the trace log frequency. If the value is 0, Triton will
\tonly log the trace output to <trace-file> when shutting down.
\tlogs the 101-th to the 200-th traces to file <trace-file>.1.
\tDefault is 0.


"""
"""What Triton 2.51 says of its arguments, shortened: it is 400 lines long."""


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            "tritonserver: unrecognized option '--no-such-flag=1'\n" + USAGE,
            "unrecognized option '--no-such-flag=1'",
        ),
        (
            "/opt/tritonserver/bin/tritonserver: option '--log-verbose' requires an argument\n"
            + USAGE,
            "option '--log-verbose' requires an argument",
        ),
        (
            USAGE + 'Bad option: "--http-port".\nInvalid option value. Got abc\n\n',
            'Bad option: "--http-port". Invalid option value. Got abc',
        ),
        (USAGE + "Unexpected argument: stray\n", "Unexpected argument: stray"),
        (USAGE, ""),
        (START, ""),
        (LOG, ""),
    ],
)
def test_the_argument_that_triton_refuses_is_named(log: str, said: str) -> None:
    assert find_argument_error(log) == said


def test_the_list_of_arguments_is_told_from_other_last_words() -> None:
    tail = " ".join(USAGE.split())[-600:]
    assert is_usage(tail)
    assert find_argument_error(f"Error, exit code 1, last words: …{tail}") == ""
    refused = f'{tail[-300:]} Bad option: "--rate-limit". invalid argument for --rate-limit'
    assert find_argument_error(refused).startswith('Bad option: "--rate-limit". invalid')
    for other in (START, LOG, ISO, "what(): no CUDA-capable device is detected"):
        assert not is_usage(" ".join(other.split())[-600:])
