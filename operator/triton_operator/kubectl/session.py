"""What is around the work of every command: a connection, and one line for what goes wrong."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from triton_operator.errors import ClusterError
from triton_operator.kubectl.errors import PluginError, UnusableError, explain

if TYPE_CHECKING:
    from triton_operator.kubectl.connection import Connection

_EXIT_INTERRUPTED = 130


def run_connected(
    work: Callable[["Connection"], Awaitable[None]], context: str, namespace: str
) -> None:
    """Do a command's work; every fault that is expected ends the program with one line.

    The Kubernetes client takes a second to be imported, so that only what needs it does: `--help`
    and mistakes in the arguments are told at once.
    """
    from triton_operator.kubectl.connection import connect  # noqa: PLC0415

    async def connected() -> None:
        async with connect(context, namespace) as connection:
            await work(connection)

    try:
        asyncio.run(connected())
    except PluginError as error:
        _fail(error)
    except ClusterError as error:
        _fail(explain(error))
    except KeyboardInterrupt:
        sys.exit(_EXIT_INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has seen enough, such as `head`.
        sys.stderr.close()
        sys.exit(0)


def refuse(message: str) -> None:
    """End the program because the arguments cannot be used."""
    _fail(UnusableError(message))


def _fail(error: PluginError) -> None:
    sys.stderr.write(f"kubectl triton: {error}\n")
    sys.exit(error.exit_code)
