"""What a failed test has to show of the cluster, and the figures that tests measure."""

from tests.cluster.support import installation
from tests.cluster.support.kube import kubectl

FIGURES: list[str] = []
"""What tests measured, for the end of the run."""

_LONGEST = 20_000


def dump(namespace: str) -> str:
    """Return the state of a namespace and the operator's log."""
    parts = [
        ("get", "tm,ts,deploy,pods,jobs,pvc", "--namespace", namespace, "--output=wide"),
        ("get", "tm,ts", "--namespace", namespace, "--output=yaml"),
        ("get", "events", "--namespace", namespace, "--sort-by=.metadata.creationTimestamp"),
        ("describe", "pods", "--namespace", namespace),
        (
            *("logs", "--namespace", namespace, "--prefix", "--tail=40", "--max-log-requests=20"),
            "--selector=app.kubernetes.io/managed-by=triton-operator",
        ),
        ("get", "pods", "--namespace", installation.NAMESPACE),
        (
            *("logs", "--namespace", installation.NAMESPACE, "--tail=100"),
            f"--selector={installation.SELECTOR}",
        ),
    ]
    return "\n".join(_section(part) for part in parts)


def _section(arguments: tuple[str, ...]) -> str:
    done = kubectl(*arguments)
    text = f"{done.stdout}{done.stderr}"
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]}\n… cut …\n{text[-_LONGEST // 2 :]}"
    return f"$ kubectl {' '.join(arguments)}\n{text}"
