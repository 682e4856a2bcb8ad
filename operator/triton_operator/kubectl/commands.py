"""The commands of ``kubectl triton``, as typer sees them."""

import re
from enum import StrEnum
from typing import Annotated

import typer

from triton_operator.kubectl.scaling import Scaling
from triton_operator.kubectl.session import refuse, run_connected

DEFAULT_IMAGE = "nvcr.io/nvidia/tritonserver:26.07-py3-sdk"
"""An image with perf_analyzer."""

app = typer.Typer(
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


class Protocol(StrEnum):
    """Triton's protocols."""

    GRPC = "grpc"
    HTTP = "http"


Context = Annotated[str, typer.Option(help="Context of the kubeconfig; the current one.")]
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", help="Namespace; that of the context if left out.")
]
EveryNamespace = Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces.")]
Format = Annotated[Output, typer.Option("--output", "-o", help="For people or for programs.")]


@app.command()
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
    from triton_operator.kubectl.status import show_status  # noqa: PLC0415 - see `run_connected`

    if name and every_namespace:
        refuse("NAME and --all-namespaces exclude each other: leave one of them out")
    run_connected(
        lambda connection: show_status(
            connection, name=name, every_namespace=every_namespace, ask=ask, output=output
        ),
        context,
        namespace,
    )


@app.command()
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
    from triton_operator.kubectl.top import show_top  # noqa: PLC0415 - see `run_connected`

    run_connected(
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


@app.command()
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
    from triton_operator.kubectl.logs import show_logs  # noqa: PLC0415 - see `run_connected`

    run_connected(
        lambda connection: show_logs(
            connection, name=name, follow=follow, sync=sync, tail=tail, previous=previous
        ),
        context,
        namespace,
    )


@app.command()
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
    from triton_operator.kubectl.infer import ask_model  # noqa: PLC0415 - see `run_connected`

    run_connected(
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


@app.command()
def profile(
    name: Annotated[str, typer.Argument(metavar="NAME", help="TritonModel.")],
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- ARGUMENT…]", help="Further arguments of perf_analyzer."),
    ] = None,
    *,
    context: Context = "",
    namespace: Namespace = "",
    concurrency: Annotated[
        str, typer.Option(metavar="START:END:STEP", help="Requests under way at a time.")
    ] = "1:4",
    request_rate: Annotated[
        str,
        typer.Option(
            metavar="START:END:STEP",
            help="Requests per second, whether answers come or not; instead of --concurrency.",
        ),
    ] = "",
    version: Annotated[str, typer.Option(help="Version of the model; the latest.")] = "",
    protocol: Annotated[Protocol, typer.Option(help="How perf_analyzer asks.")] = Protocol.GRPC,
    image: Annotated[str, typer.Option(help="Image with perf_analyzer.")] = DEFAULT_IMAGE,
    seconds: Annotated[
        int, typer.Option("--timeout", min=1, metavar="SECONDS", help="For all of it.")
    ] = 900,
) -> None:
    """Measure a model with perf_analyzer, run as a Job beside it, and print the table."""
    from triton_operator.kubectl.profile import profile_model  # noqa: PLC0415 - see `run_connected`
    from triton_operator.kubectl.profile_job import Measurement  # noqa: PLC0415

    for level in filter(None, (concurrency, request_rate)):
        if re.fullmatch(r"[0-9.]+(:[0-9.]+){0,2}", level) is None:
            refuse(f"{level!r} is not START:END:STEP, such as 1:8 or 10:50:10")
    wanted = Measurement(
        version=version,
        image=image,
        protocol=protocol,
        concurrency=concurrency,
        request_rate=request_rate,
        seconds=seconds,
        more=tuple(more or ()),
    )
    run_connected(lambda connection: profile_model(connection, name, wanted), context, namespace)
