"""Where tables and trees are shown."""

import os

from rich.console import Console

_UNBOUNDED = 10_000


def open_console() -> Console:
    """Return standard output: as wide as the terminal, or without one so that nothing is cut."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(highlight=False, width=_UNBOUNDED)
    return console
