"""The commands that need no cluster, as typer sees them."""

import importlib
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer


class Output(StrEnum):
    """How findings are shown."""

    HUMAN = "human"
    JSON = "json"
    GITHUB = "github"


Paths = Annotated[
    list[str], typer.Argument(metavar="FILE|FOLDER|-", help="Manifests, YAML or JSON; - is stdin.")
]
Namespace = Annotated[str, typer.Option(help="Namespace of objects that name none.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Paths to leave out of folders; may be repeated."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(validate)
    app.command()(render)
    app.command("import")(import_repository)


def validate(
    paths: Paths,
    *,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="How to show what is found.")
    ] = Output.HUMAN,
    namespace: Namespace = "default",
    strict: Annotated[
        bool, typer.Option("--strict", help="A server that is not among the files is a mistake.")
    ] = False,
    each_folder: Annotated[
        bool, typer.Option("--each-folder", help="Judge the files of each folder on their own.")
    ] = False,
    exclude: Exclude = None,
) -> None:
    """Say everything that the API server and the operator would refuse, and in which line."""
    _run(
        "validate",
        paths,
        output=output.value,
        namespace=namespace,
        strict=strict,
        each_folder=each_folder,
        exclude=exclude or (),
    )


def render(
    paths: Paths,
    *,
    output_dir: Annotated[
        str, typer.Option(metavar="DIR", help="Write files into this folder, not to stdout.")
    ] = "",
    namespace: Namespace = "default",
    exclude: Exclude = None,
    server_image: Annotated[
        str, typer.Option(help="Image of servers that name none.", show_default="the operator's")
    ] = "",
    sync_image: Annotated[
        str, typer.Option(help="Image of sync Jobs.", show_default="the operator's")
    ] = "",
) -> None:
    """Write the objects and config.pbtxt files that the operator would make."""
    _run(
        "render",
        paths,
        output_dir=output_dir,
        namespace=namespace,
        exclude=exclude or (),
        server_image=server_image,
        sync_image=sync_image,
    )


def import_repository(
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="A model repository: a folder for each model.")
    ],
    *,
    server: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="TritonServer of all models.", show_default="the folder's name"
        ),
    ] = "",
    own_servers: Annotated[
        bool,
        typer.Option(
            "--own-servers", help="A server for each model; an ensemble and its members share one."
        ),
    ] = False,
    uri_prefix: Annotated[
        str,
        typer.Option(
            metavar="URI", help="Where the cluster finds DIR, such as pvc://model-storage/models."
        ),
    ] = "",
    namespace: Annotated[str, typer.Option(help="Namespace to write into the objects.")] = "",
    output_dir: Annotated[
        str, typer.Option(metavar="DIR", help="Write a file for each object, not to stdout.")
    ] = "",
    inline_limit: Annotated[
        int, typer.Option(metavar="BYTES", min=0, help="Largest text file to write inline.")
    ] = 65_536,
    checksums: Annotated[
        bool, typer.Option("--checksums", help="Write the sha256 of single files; reads them all.")
    ] = False,
) -> None:
    """Turn an existing model repository into TritonModel and TritonServer objects."""
    importing = importlib.import_module("triton_operator.offline.importing")
    wishes = importing.Wishes(
        uri_prefix=uri_prefix,
        namespace=namespace,
        server=server,
        own_servers=own_servers,
        inline_limit=inline_limit,
        checksums=checksums,
    )
    _run("import_repository", folder, output_dir=output_dir, wishes=wishes)


def _run(command: str, *arguments: Any, **options: Any) -> None:
    module = importlib.import_module(f"triton_operator.cli.{command}")
    unusable = importlib.import_module("triton_operator.cli.manifest_files").UnusableError
    try:
        code = getattr(module, f"run_{command}")(*arguments, **options)
    except unusable as error:
        sys.stderr.write(f"triton-operator {command.partition('_')[0]}: {error}\n")
        code = 2
    sys.exit(code)
