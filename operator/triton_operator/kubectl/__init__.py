"""``kubectl triton status | top | logs | infer``: a program that kubectl finds by its name.

Options that kubectl has, too, are called as there. Exit codes: 0; 1 something did not work; 2 the
arguments cannot be used, or there is nothing of that name. What is wrong goes to standard error.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from triton_operator.kubectl.scaling import Scaling

if TYPE_CHECKING:
    from triton_operator.kubectl.connection import Connection

_EXIT_INTERRUPTED = 130

_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Models served by NVIDIA Triton: their state, load, logs and answers.",
)


class Output(StrEnum):
    """How values are written."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


class Answers(StrEnum):
    """How a model's answer is written."""

    TEXT = "text"
    JSON = "json"


Context = Annotated[str, typer.Option(help="Context of the kubeconfig; the current one.")]
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", help="Namespace; that of the context if left out.")
]
EveryNamespace = Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces.")]
Format = Annotated[Output, typer.Option("--output", "-o", help="For people or for programs.")]


def main() -> None:
    """Run the command that kubectl was called with."""
    _app(prog_name="kubectl triton")


@_app.command()
def status(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="TritonModel or TritonServer; all if left out.")
    ] = "",
    *,
    context: Context = "",
    namespace: Namespace = "",
    every_namespace: EveryNamespace = False,
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask every pod which config of each model it serves.")
    ] = False,
    output: Format = Output.TEXT,
) -> None:
    """Show servers with their models and pods, and what is wrong with them."""
    from triton_operator.kubectl.status import show_status  # noqa: PLC0415 - see `_run`

    if name and every_namespace:
        _refuse("NAME and --all-namespaces exclude each other: leave one of them out")
    _run(
        lambda connection: show_status(
            connection, name=name, every_namespace=every_namespace, ask=ask, output=output
        ),
        context,
        namespace,
    )


@_app.command()
def top(
    *,
    context: Context = "",
    namespace: Namespace = "",
    every_namespace: EveryNamespace = False,
    interval: Annotated[
        float, typer.Option(min=0.2, metavar="SECONDS", help="Time that is measured over.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one table and end.")] = False,
    from_status: Annotated[
        bool,
        typer.Option(
            "--from-status",
            help="Show what the autoscaler wrote last (of servers that have one), ask no pod.",
        ),
    ] = False,
) -> None:
    """Show the load of every model, live."""
    from triton_operator.kubectl.top import show_top  # noqa: PLC0415 - see `_run`

    _run(
        lambda connection: show_top(
            connection,
            every_namespace=every_namespace,
            interval=interval,
            once=once,
            from_status=from_status,
        ),
        context,
        namespace,
    )


@_app.command()
def logs(
    name: Annotated[str, typer.Argument(metavar="NAME", help="TritonModel or TritonServer.")],
    *,
    context: Context = "",
    namespace: Namespace = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    sync: Annotated[bool, typer.Option("--sync", help="Of the last sync Job.")] = False,
    tail: Annotated[int, typer.Option(help="Lines of each pod; all if negative.")] = -1,
    previous: Annotated[
        bool, typer.Option("--previous", "-p", help="Of the containers before the last restart.")
    ] = False,
) -> None:
    """Print the logs of a server's pods, each line after the name of its pod."""
    from triton_operator.kubectl.logs import show_logs  # noqa: PLC0415 - see `_run`

    _run(
        lambda connection: show_logs(
            connection, name=name, follow=follow, sync=sync, tail=tail, previous=previous
        ),
        context,
        namespace,
    )


@_app.command()
def infer(
    name: Annotated[str, typer.Argument(metavar="NAME", help="TritonModel.")],
    *,
    context: Context = "",
    namespace: Namespace = "",
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="[NAME=]WHAT",
            help="JSON, text, @FILE.json, @PICTURE.jpg or random; may be repeated. What is left"
            " out is random.",
        ),
    ] = None,
    data: Annotated[
        str, typer.Option(metavar="JSON|@FILE", help='All inputs at once: {"NAME": [1, 2]}.')
    ] = "",
    shapes: Annotated[
        list[str] | None,
        typer.Option("--shape", metavar="NAME=3,480,640", help="Shape of random values."),
    ] = None,
    scaling: Annotated[
        Scaling,
        typer.Option(help="Pixels become 0 to 1, stay 0 to 255, or are normalized as ImageNet's."),
    ] = Scaling.UNIT,
    seed: Annotated[int | None, typer.Option(help="Of the random values.")] = None,
    version: Annotated[str, typer.Option(help="Version of the model; Triton's choice.")] = "",
    repeat: Annotated[int, typer.Option(min=1, help="Send the request so often.")] = 1,
    seconds: Annotated[
        float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="For one answer.")
    ] = 60.0,
    output: Annotated[
        Answers, typer.Option("--output", "-o", help="For people or for programs.")
    ] = Answers.TEXT,
) -> None:
    """Ask a model, with your data or random data, and print what it answers."""
    from triton_operator.kubectl.infer import ask_model  # noqa: PLC0415 - see `_run`

    _run(
        lambda connection: ask_model(
            connection,
            name=name,
            version=version,
            inputs=inputs or (),
            data=data,
            shapes=shapes or (),
            scaling=scaling,
            seed=seed,
            repeat=repeat,
            seconds=seconds,
            as_json=output is Answers.JSON,
        ),
        context,
        namespace,
    )


def _run(work: Callable[["Connection"], Awaitable[None]], context: str, namespace: str) -> None:
    """Do a command's work; everything that is expected to go wrong ends in one line.

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


def _refuse(message: str) -> None:
    _fail(message, 2)


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"kubectl triton: {message}\n")
    sys.exit(code)
