"""Why a load failed, read from Triton's own log.

Triton answers 200 to a reload that failed while an older version serves, and its index says READY:
only the log has the reason.
"""

import re

_MAX_LENGTH = 1000


def find_load_error(log: str, model: str) -> str | None:
    """Return what Triton last logged about failing to load a model, or None."""
    quoted = re.escape(model)
    pattern = re.compile(
        rf"""failed\ to\ load\ '{quoted}'\ (?:version\ )?[^:]*:\s*(?P<reason>.*?)
             (?=^[IWEF]\d{{4}}\ |^\d{{4}}-\d\d-\d\dT|\Z)""",
        re.VERBOSE | re.DOTALL | re.MULTILINE,
    )
    found = [match["reason"] for match in pattern.finditer(log)]
    if not found:
        return None
    return shorten(found[-1].rstrip().rstrip('"').replace("\\n", " "))


def shorten(message: str) -> str:
    """Return a message on one line that fits into a status; tracebacks end with the error."""
    message = " ".join(message.split()).rstrip("; ")
    if len(message) <= _MAX_LENGTH:
        return message
    half = _MAX_LENGTH // 2 - 2
    return f"{message[:half]} … {message[-half:]}"
