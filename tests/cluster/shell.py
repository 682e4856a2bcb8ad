"""Running other programs: output is kept and shown only when one fails."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.progress import ClusterError

_TAIL = 3000


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    check: bool = True,
) -> str:
    """Run a command to its end and return its standard output; raise ClusterError with the end of
    its output otherwise."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode != 0:
        output = (done.stdout + done.stderr)[-_TAIL:]
        raise ClusterError(f"{' '.join(words)[:300]}: exit status {done.returncode}\n{output}")
    return done.stdout


def succeeds(command: Sequence[str | Path], *, timeout_s: float = 30.0) -> bool:
    """Whether a command is there, ends in time and says 0."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def which(program: str) -> Path | None:
    """Where a program is, /usr/sbin and /sbin included."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    return Path(found) if found else None
