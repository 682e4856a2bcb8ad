"""``triton-operator render``: what the operator would make, without a cluster.

Exit codes: 0 rendered; 1 refused, with what ``validate --strict`` says; 2 the arguments or a file
cannot be used.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from triton_operator.cli.findings_output import (
    EXIT_FINE,
    EXIT_MISTAKES,
    EXIT_UNUSABLE,
    write_findings,
)
from triton_operator.cli.manifest_files import UnusableError, read_manifests
from triton_operator.offline.check import check
from triton_operator.offline.rendering import RenderedServer, render_scope
from triton_operator.settings import Settings


def run_render(
    paths: Sequence[str],
    *,
    output_dir: str,
    namespace: str,
    exclude: Sequence[str],
    server_image: str,
    sync_image: str,
) -> int:
    """Render manifests to standard output or into a folder; return the exit code.

    Raises
    ------
    UnusableError
        A file does not exist, cannot be read or written, or there is none.

    """
    manifests = read_manifests(paths, exclude=exclude)
    checked = check(manifests.scopes, namespace=namespace, strict=True)
    write_findings(checked.report, manifests.unreadable, error=True)
    if manifests.unreadable:
        return EXIT_UNUSABLE
    if checked.report.mistakes:
        return EXIT_MISTAKES
    settings = _settings(server_image, sync_image)
    rendered = [server for scope in checked.scopes for server in render_scope(scope, settings)]
    if output_dir:
        _write(Path(output_dir), rendered)
    else:
        sys.stdout.write("".join(server.to_yaml() for server in rendered))
    return EXIT_FINE


def _settings(server_image: str, sync_image: str) -> Settings:
    try:
        settings = Settings.from_environment()
    except ValueError as error:
        raise UnusableError(f"the environment: {error}") from error
    return replace(
        settings,
        server_image=server_image or settings.server_image,
        sync_image=sync_image or settings.sync_image,
    )


def _write(folder: Path, servers: Iterable[RenderedServer]) -> None:
    for server in servers:
        for name, text in server.files():
            path = folder / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise UnusableError(f"{path}: {error}") from error
