"""Running programs."""

import subprocess


def run(*command: str, seconds: float = 120) -> str:
    """Run a program that has to succeed; return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    told = f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    assert done.returncode == 0, f"exit status {done.returncode}: {told}"
    return done.stdout
