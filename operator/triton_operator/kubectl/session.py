"""What is around the work of every command: a connection, and one line for what goes wrong."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from triton_operator.kubectl.connection import Connection

_EXIT_UNUSABLE = 2
_EXIT_INTERRUPTED = 130


def run_connected(
    work: Callable[["Connection"], Awaitable[None]], context: str, namespace: str
) -> None:
    """Do a command's work; every fault that is expected ends the program with one line.

    The Kubernetes client takes a second to be imported, so that only what needs it does: `--help`
    and mistakes in the arguments are told at once.
    """
    from triton_operator.errors import ClusterError  # noqa: PLC0415
    from triton_operator.kubectl.connection import connect  # noqa: PLC0415
    from triton_operator.kubectl.errors import PluginError, explain  # noqa: PLC0415

    async def connected() -> None:
        async with connect(context, namespace) as connection:
            await work(connection)

    try:
        asyncio.run(connected())
    except PluginError as error:
        _fail(str(error), error.exit_code)
    except ClusterError as error:
        told = explain(error)
        _fail(str(told), told.exit_code)
    except KeyboardInterrupt:
        sys.exit(_EXIT_INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has seen enough, such as `head`.
        sys.stderr.close()
        sys.exit(0)


def refuse(message: str) -> None:
    """End the program because the arguments cannot be used."""
    _fail(message, _EXIT_UNUSABLE)


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"kubectl triton: {message}\n")
    sys.exit(code)
