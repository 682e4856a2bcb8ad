"""Why a load failed, read from Triton's own log.

Triton answers 200 to a reload that failed while an older version serves, and its index says READY:
only the log has the reason.
"""

import re

_MAX_LENGTH = 1000
_NEXT_LINE = r"^[IWEF]\d{4}\ |^\d{4}-\d\d-\d\dT|\Z"
"""Where a message ends: Triton's own may have several lines."""
_FLAGS = re.VERBOSE | re.DOTALL | re.MULTILINE
_USAGE = re.compile(r"--[a-z][a-z0-9-]+ <[a-z][^>]*>")
_ARGUMENT_ERROR = re.compile(
    r"""^(?:\S*/)?tritonserver:\ (?P<first>[^\n]+)$
        |(?P<last>(?:Bad\ option:\ "|Unexpected\ argument:\ ).*)\Z""",
    _FLAGS,
)
"""What Triton cannot parse it says after its list of arguments, what getopt cannot before it."""
_GAVE_UP = "failed to load all models"
"""A server's end whose models must all load; which one did not is said before, and much between."""
_BLAMED = (
    r"failed to load '([^']+)' version",
    r"Poll failed for model directory '([^']+)'",
    r"in ensemble ([^\s,]+),|ensemble '([^']+)' depends",
)
"""Who failed by itself, then who only fits no other."""


def find_load_error(log: str, model: str) -> str | None:
    """Return what Triton last logged about failing to load a model, or None."""
    return _find_last(log, rf"failed\ to\ load\ '{re.escape(model)}'\ (?:version\ )?[^:\n]*:")


def find_config_error(log: str, model: str) -> str | None:
    """Return what Triton last logged about a config that it could not take, or None."""
    return _find_last(log, rf"Poll\ failed\ for\ model\ directory\ '{re.escape(model)}':")


def find_start_error(log: str, model: str) -> str | None:
    """Return what Triton logged about a model that it could not load at its start, or None."""
    quoted = re.escape(model)
    return (
        find_load_error(log, model)
        or find_config_error(log, model)
        or _find_last(log, rf"(?=ensemble\ '{quoted}'\ |in\ ensemble\ {quoted},\ )")
    )


def is_usage(words: str) -> bool:
    """Return whether a server ended with its list of arguments: it was started with a wrong one."""
    return _USAGE.search(words) is not None


def gave_up(words: str) -> bool:
    """Return whether a server ended because some model did not load."""
    return _GAVE_UP in words


def find_culprit(log: str) -> str:
    """Return which model kept a server from starting, and why; empty if its log names none."""
    for pattern in _BLAMED:
        for found in re.finditer(pattern, log):
            name = next(filter(None, found.groups()))
            if why := find_start_error(log, name):
                return f"model {name!r} does not load: {why}"
    return ""


def find_argument_error(said: str) -> str:
    """Return which argument a server refused, from its log or its end; empty if it names none."""
    match = _ARGUMENT_ERROR.search(said)
    return shorten(match["first"] or match["last"]) if match else ""


def find_unfinished(log: str) -> tuple[str, ...] | None:
    """Return the models that a server was loading when its log ends; None if it never began."""
    begun = re.findall(r"\bloading: (\S+):\d+\b", log)
    ended = {*re.findall(r"(?:successfully loaded|failed to load) '([^']+)'", log)}
    return tuple(name for name in dict.fromkeys(begun) if name not in ended) if begun else None


def find_misfit(log: str, ensemble: str) -> str | None:
    """Return what Triton last logged about an ensemble that its members do not fit, or None."""
    found = re.findall(
        rf'^E\d{{4}} .*?"(.*\bin ensemble {re.escape(ensemble)},.*)"$', log, re.MULTILINE
    )
    return shorten(found[-1]) if found else None


def shorten(message: str) -> str:
    """Return a message on one line that fits into a status; tracebacks end with the error."""
    message = " ".join(message.split()).rstrip("; ")
    if len(message) <= _MAX_LENGTH:
        return message
    half = _MAX_LENGTH // 2 - 2
    return f"{message[:half]} … {message[-half:]}"


def _find_last(log: str, opening: str) -> str | None:
    found = re.findall(rf"{opening}\s*(.*?)(?={_NEXT_LINE})", log, _FLAGS)
    return _clean(found[-1]) if found else None


def _clean(reason: str) -> str:
    return shorten(reason.rstrip().rstrip('"').replace("\\n", " "))
