"""``triton-operator import``: an existing model repository as objects.

Exit codes: 0 everything is in the objects; 1 something is not, or would be refused, which standard
error says; 2 the arguments cannot be used.
"""

import sys
from pathlib import Path

from triton_operator.cli.findings_output import EXIT_FINE, EXIT_MISTAKES, write_findings
from triton_operator.cli.manifest_files import UnusableError
from triton_operator.offline.check import check
from triton_operator.offline.documents import read_documents
from triton_operator.offline.folder import NotARepositoryError, read_folder
from triton_operator.offline.importing import Import, Imported, Wishes, import_repository


def run_import_repository(folder: str, *, output_dir: str, wishes: Wishes) -> int:
    """Write a repository as objects to standard output or into a folder; return the exit code.

    Raises
    ------
    UnusableError
        The folder is no repository, or the wishes do not fit.

    """
    if wishes.server and wishes.own_servers:
        raise UnusableError("--server and --own-servers exclude each other")
    try:
        found = read_folder(Path(folder))
        result = import_repository(found, wishes)
    except NotARepositoryError as error:
        raise UnusableError(str(error)) from error
    except OSError as error:
        raise UnusableError(f"{folder}: {error}") from error
    if result.needs_prefix:
        raise UnusableError(
            "the models have files that are no small text: say with --uri-prefix where the cluster"
            f" finds {folder}, such as pvc://model-storage or https://models.example.com/v1"
        )
    for name in found.passed_over:
        _say(f"{found.root / name}: passed over: it has neither a config.pbtxt nor a version")
    for problem in result.problems:
        _say(problem)
    mistakes = _write(result, Path(output_dir) if output_dir else None, wishes.namespace)
    return EXIT_MISTAKES if mistakes or result.problems else EXIT_FINE


def _write(result: Import, folder: Path | None, namespace: str) -> bool:
    """Write the objects; return whether any of them would be refused."""
    if folder is None:
        texts = {"<stdout>": "".join(each.to_yaml() for each in result.objects)}
        sys.stdout.write(texts["<stdout>"])
    else:
        texts = {str(folder / each.file): _file_text(each) for each in result.objects}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path, text in texts.items():
                Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise UnusableError(f"{folder}: {error}") from error
    documents = [each for path, text in texts.items() for each in read_documents(path, text)]
    report = check([documents], namespace=namespace or "default", strict=True).report
    write_findings(report, (), error=True)
    return bool(report.mistakes)


def _file_text(imported: Imported) -> str:
    return imported.to_yaml().removeprefix("---\n")


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")
