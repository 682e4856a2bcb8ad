"""``triton-operator validate``: what the API server and the operator would refuse, and where.

Exit codes: 0 fine, warnings included; 1 mistakes; 2 the arguments or a file cannot be used.
"""

from collections.abc import Sequence

from triton_operator.cli.findings_output import show_report
from triton_operator.cli.manifest_files import read_manifests
from triton_operator.offline.check import check


def run_validate(
    paths: Sequence[str],
    *,
    output: str,
    namespace: str,
    strict: bool,
    each_folder: bool,
    exclude: Sequence[str],
) -> int:
    """Check manifests and show what was found; return the exit code.

    Raises
    ------
    UnusableError
        A file does not exist, cannot be read, or there is none.

    """
    manifests = read_manifests(paths, exclude=exclude, each_folder=each_folder)
    checked = check(manifests.scopes, namespace=namespace, strict=strict)
    return show_report(checked.report, manifests.unreadable, output=output)
