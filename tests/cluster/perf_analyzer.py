"""NVIDIA's load generator: the wheel of tritonclient carries the program, and what it is linked to
comes from Debian and from NVIDIA's wheel of the CUDA runtime.

Only wheels before 2.52 have it. It is kept apart from the project's own tritonclient.
"""

import platform
import shutil

from tests.cluster import settings
from tests.cluster.binaries import install_debian_packages
from tests.cluster.progress import step
from tests.cluster.shell import run, succeeds

NAME = "perf_analyzer"
_WHEELS = (
    f"tritonclient=={settings.PERF_ANALYZER_VERSION}",
    f"nvidia-cuda-runtime-cu12=={settings.CUDA_RUNTIME_VERSION}",
)
_LIBRARIES = f"/usr/lib/{platform.machine()}-linux-gnu"
_DEBIAN = {
    f"{_LIBRARIES}/libb64.so.0d": "libb64-0d",
    f"{_LIBRARIES}/libssl.so.3": "libssl3",
    f"{_LIBRARIES}/libstdc++.so.6": "libstdc++6",
}


def install(folders: settings.Folders) -> None:
    """Bring the program into the folder of built programs, where it is missing."""
    install_debian_packages(_DEBIAN)
    home = folders.cache / f"{NAME}-{settings.PERF_ANALYZER_VERSION}"
    target = folders.bin / NAME
    text = (
        "#!/bin/sh\n"
        f"export LD_LIBRARY_PATH={home}/nvidia/cuda_runtime/lib\n"
        f'exec {home}/bin/{NAME} "$@"\n'
    )
    if home.exists() and target.exists() and target.read_text() == text:
        return
    with step(f"installing {NAME} {settings.PERF_ANALYZER_VERSION}"):
        new = home.with_name(f"{home.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        if not succeeds(["/usr/bin/python3", "-c", "import ensurepip, venv"]):
            run(["apt-get", "install", "-y", "-q", "--no-install-recommends", "python3-venv"])
        run(["/usr/bin/python3", "-m", "venv", new / "venv"])
        run([new / "venv/bin/pip", "install", "-q", "--no-deps", "--target", new, *_WHEELS])
        shutil.rmtree(new / "venv")
        shutil.rmtree(home, ignore_errors=True)
        new.rename(home)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o755)
