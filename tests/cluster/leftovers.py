"""Ending containers and unmounting what they used, also when nobody is left who remembers them.

The usual way asks containerd; after a killed run there is no containerd to ask. So this looks at
the machine itself: a container's processes are those in the cluster's own control group or below
a shim of *our* containerd (its command line names our socket), and its mounts are those under the
state folder.
"""

import contextlib
import os
import shutil
import socket
import time
from pathlib import Path

from tests.cluster import processes, settings
from tests.cluster.shell import run

_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_WEIGHTS = {"cpu.shares": 1024, "cpu.weight": 100}
"""The usual one, in either kind of control groups."""
_TIMES_THE_WEIGHT = 4
_DEBIAN_PROGRAMS = ("etcd", "containerd")
_USERS_PROGRAMS = ("kubectl", "helm")
_SHIM_SOCKETS = Path("/run/containerd/s")
_DEVICE_SOCKET = Path("/var/lib/kubelet/device-plugins/kubelet.sock")
_LOG_LINKS = Path("/var/log/containers")


def end_containers(folders: settings.Folders) -> None:
    """Kill every container of this cluster and the shims that watched them."""
    groups = _groups()
    for _ in range(50):
        pids = set(_processes_in(groups)) | set(_below_shims(folders))
        if not pids:
            break
        processes.kill_all(pids)
        time.sleep(0.05)
    processes.kill_all(_shims(folders))
    for group in groups:
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


def end_programs(folders: settings.Folders) -> None:
    """Kill what runs on files of the state folder and has no pid file any more."""
    processes.kill_all(
        pid for pid, words in processes.command_lines().items() if is_program(words, folders)
    )


def is_program(words: list[str], folders: settings.Folders) -> bool:
    """Whether a command line is one of the cluster's processes: our program on our files."""
    if not words or not any(f"{folders.state}/" in word for word in words[1:]):
        return False
    program = Path(words[0])
    return (
        program.parent == folders.bin
        or program.name in _DEBIAN_PROGRAMS
        or words[1:3] == ["-m", "tests.cluster.provisioner"]
    ) and program.name not in _USERS_PROGRAMS


def remove_shim_sockets(folders: settings.Folders) -> None:
    """Remove the sockets of our shims, which lie outside the state folder; it says where."""
    tasks = folders.state / "containerd" / "state" / "io.containerd.runtime.v2.task"
    for address in tasks.glob("*/*/address"):
        Path(address.read_text().strip().removeprefix("unix://")).unlink(missing_ok=True)
    _remove_empty(_SHIM_SOCKETS, _SHIM_SOCKETS.parent)


def remove_device_socket(path: Path = _DEVICE_SOCKET) -> None:
    """Remove what a kubelet listens on for device plugins, wherever its root is; if none does."""
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        return
    path.unlink(missing_ok=True)
    _remove_empty(path.parent, path.parent.parent)


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def unmount_all(state: Path) -> None:
    """Unmount everything below the state folder, the innermost first."""
    for mount in mounts_below(state, Path("/proc/self/mountinfo").read_text()):
        run(["umount", "--lazy", mount], check=False)


def mounts_below(folder: Path, mountinfo: str) -> list[str]:
    """The mount points below a folder, the latest first."""
    points = [line.split(" ")[4].replace("\\040", " ") for line in mountinfo.splitlines()]
    return [point for point in reversed(points) if point.startswith(f"{folder}/")]


def remove_state(state: Path) -> None:
    """Remove the state folder and the links to its logs; refuse while anything is mounted in it."""
    if mounts_below(state, Path("/proc/self/mountinfo").read_text()):
        raise OSError(f"still mounted below {state}: not removing it")
    if state.exists():
        shutil.rmtree(state)
    if _LOG_LINKS.is_dir():
        for link in _LOG_LINKS.iterdir():
            if link.is_symlink() and str(link.readlink()).startswith(f"{state}/"):
                link.unlink()
        with contextlib.suppress(OSError):
            _LOG_LINKS.rmdir()


def make_groups() -> None:
    """Make the control group below which the kubelet keeps all pods.

    It has the weight that pods have on a node, where the system is one group beside theirs; here
    each process outside counts as much as a group of the usual weight.
    """
    for tree in _trees():
        group = tree / settings.NAME
        group.mkdir(exist_ok=True)
        for name, usual in _WEIGHTS.items():
            if (group / name).exists():
                (group / name).write_text(f"{usual * _TIMES_THE_WEIGHT}\n")


def _groups() -> list[Path]:
    return [group for tree in _trees() if (group := tree / settings.NAME).is_dir()]


def _trees() -> list[Path]:
    """The root of a unified control group tree, or that of each controller of the older kind."""
    if (_CONTROL_GROUPS / "cgroup.controllers").exists():
        return [_CONTROL_GROUPS]
    return [p for p in _CONTROL_GROUPS.iterdir() if p.is_dir() and not p.is_symlink()]


def _processes_in(groups: list[Path]) -> list[int]:
    found = []
    for group in groups:
        for folder, _, files in os.walk(group):
            if "cgroup.procs" in files:
                with contextlib.suppress(OSError):
                    found += map(int, (Path(folder) / "cgroup.procs").read_text().split())
    return [pid for pid in found if pid > 0]


def _shims(folders: settings.Folders) -> list[int]:
    socket = str(folders.containerd_socket)
    return [
        pid
        for pid, words in processes.command_lines().items()
        if words and "containerd-shim" in words[0] and socket in words
    ]


def _below_shims(folders: settings.Folders) -> list[int]:
    """Descendants of our shims: what runs in a container, wherever its control group is."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                stat = (folder / "stat").read_text()
                parents[int(folder.name)] = int(stat[stat.rindex(")") + 2 :].split()[1])
    found: set[int] = set()
    wave = set(_shims(folders))
    while wave := {pid for pid, parent in parents.items() if parent in wave}:
        found |= wave
    return sorted(found)
