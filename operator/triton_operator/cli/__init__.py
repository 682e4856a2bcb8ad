"""The command line: ``triton-operator run | sync | release | check | validate | …``.

Every command imports what it needs when it is called. ``sync`` is started for every change of a
model, so it comes before typer is even imported; it is listed in typer's help all the same.
"""

import importlib
import signal
import sys
from typing import Annotated


def main() -> None:
    """Run the command that the process was started with."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["sync"]:
        _sync(arguments[1:])
    _run_typer()


def _sync(arguments: list[str]) -> None:
    from triton_operator.cli.sync import EXIT_TRANSIENT, run_sync  # noqa: PLC0415 - see above

    # A Job that is stopped clears its half-done files away; the default would leave them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TRANSIENT))
    sys.exit(run_sync(arguments))


def _run_typer() -> None:
    import typer  # noqa: PLC0415 - see the module docstring

    app = typer.Typer(
        no_args_is_help=True, add_completion=False, help="NVIDIA Triton on Kubernetes"
    )

    @app.callback()
    def commands() -> None:
        """Serve TritonModel objects with NVIDIA Triton Inference Server."""

    @app.command()
    def run() -> None:
        """Run the operator until it is stopped."""
        importlib.import_module("triton_operator.handlers.run").run_operator()

    passed_on = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

    @app.command(context_settings=passed_on)
    def sync(context: typer.Context) -> None:
        """Make a repository manifest true on a claim; what sync Jobs do."""
        _sync(context.args)

    @app.command()
    def release(
        deployment: Annotated[
            str, typer.Option(metavar="NAMESPACE/NAME", help="The operator's own, stopped first.")
        ] = "",
        timeout: Annotated[
            float, typer.Option(metavar="SECONDS", help="How long all of it may take.")
        ] = 60.0,
    ) -> None:
        """Let go of all servers, so that none hangs in its deletion without an operator."""
        command = importlib.import_module("triton_operator.cli.release")
        sys.exit(command.run_release(deployment=deployment, seconds=timeout))

    @app.command()
    def check(
        namespace: Annotated[str, typer.Option(help="Where the operator runs.")],
        deployment: Annotated[str, typer.Option(help="The Deployment that runs it.")],
        timeout: Annotated[
            float, typer.Option(metavar="SECONDS", help="How long all of it may take.")
        ] = 60.0,
    ) -> None:
        """Check that an installation works; what `helm test` runs."""
        command = importlib.import_module("triton_operator.cli.check")
        sys.exit(command.run_check(namespace=namespace, deployment=deployment, seconds=timeout))

    importlib.import_module("triton_operator.cli.offline_commands").register(app)
    app()
