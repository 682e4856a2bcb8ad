"""The local cluster: its programs as processes on this machine, up and down.

`up` is a comparison, not a script: when every process lives and the API server answers, only
images that changed are imported. Anything in between is taken down first, so there is one way to
start and no way to repair.
"""

import os
import sys
from pathlib import Path

from tests.cluster import (
    addons,
    binaries,
    control_plane,
    images,
    leftovers,
    network,
    node,
    pki,
    processes,
    settings,
)
from tests.cluster.api import connect
from tests.cluster.progress import ClusterError, say, step, wait_until
from tests.cluster.shell import succeeds, which

PROCESSES = (
    "etcd",
    "containerd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "provisioner",
)
"""In the order of their start."""


def up(folders: settings.Folders) -> None:
    """Leave a running cluster with the present images, whatever was there before."""
    if os.geteuid() != 0:
        raise ClusterError("the local cluster takes root; or name a cluster in KUBECONFIG")
    binaries.install_debian_packages()
    binaries.build_programs(folders)
    if not is_up(folders):
        with step("removing what an earlier run left", quiet_below_s=1.0):
            down(folders)
        records = images.build(folders, images.infrastructure(folders))
        try:
            _start(folders, records)
        except ClusterError:
            for name in PROCESSES:
                if not processes.running(folders.state, name):
                    tail = processes.log_tail(folders.state, name)
                    say(f"{name} is not running; its log ends with:\n{tail}")
            raise
    # Last: whoever waits only for the cluster has it by now.
    refresh_images(folders)
    say("the cluster is up")


def is_up(folders: settings.Folders) -> bool:
    """Whether every process lives, the API server answers and the node is Ready."""
    if not all(processes.running(folders.state, name) for name in PROCESSES):
        return False
    api = connect(folders.kubeconfig)
    return api.answers() and addons.node_is_ready(api)


def refresh_images(folders: settings.Folders) -> None:
    """Build the images that changed and import them where containerd runs."""
    binaries.install_debian_packages()
    records = images.build(folders, images.applications())
    if processes.running(folders.state, "containerd"):
        images.load(folders, records)


def down(folders: settings.Folders) -> None:
    """Leave nothing: no process, mount, link, iptables rule or file of the cluster."""
    state = folders.state
    # The kubelet first: it would restart what ends next.
    processes.stop(state, ["kubelet", "kube-proxy", "provisioner"])
    leftovers.end_containers(folders)
    processes.stop(state, reversed(PROCESSES))
    leftovers.end_programs(folders)
    leftovers.end_containers(folders)
    leftovers.remove_shim_sockets(folders)
    leftovers.remove_device_socket()
    leftovers.unmount_all(state)
    network.remove_network(state)
    leftovers.remove_state(state)


def status(folders: settings.Folders) -> str:
    """One line for each process, and whether the node is Ready."""
    pids = {name: processes.running(folders.state, name) for name in PROCESSES}
    lines = [
        f"{name:24} {f'process {pid}' if pid else 'not running'}" for name, pid in pids.items()
    ]
    verdict = "up" if is_up(folders) else "not up"
    return "\n".join([*lines, f"cluster: {verdict}, kubeconfig {folders.kubeconfig}"])


def _start(folders: settings.Folders, records: dict[str, Path]) -> None:
    state = folders.state
    with step("starting the control plane"):
        state.mkdir(parents=True)
        pki.make_pki(state / "pki")
        for user in ("controller-manager", "scheduler", "proxy", "kubelet", "provisioner"):
            _write_kubeconfig(state / f"{user}.kubeconfig", pki.kubeconfig(state / "pki", user))
        control_plane.write_files(folders)
        node.write_files(folders)
        network.build_network(state)
        leftovers.make_groups()
        processes.start(state, "etcd", control_plane.etcd(folders, _program("etcd")))
        processes.start(state, "containerd", node.containerd(folders, _program("containerd")))
        processes.start(state, "kube-apiserver", control_plane.api_server(folders))
        _write_kubeconfig(folders.kubeconfig, pki.kubeconfig(state / "pki", "admin"))
        api = connect(folders.kubeconfig)
        _wait_while_alive(folders, api.answers, "the API server to answer")
    processes.start(state, "kube-controller-manager", control_plane.controller_manager(folders))
    processes.start(state, "kube-scheduler", control_plane.scheduler(folders))
    start_provisioner(state, state / "provisioner.kubeconfig", folders.volumes)
    socket = ["ctr", "--address", folders.containerd_socket, "version"]
    _wait_while_alive(folders, lambda: succeeds(socket), "containerd to answer")
    images.load(folders, records)
    with step("starting the node"):
        processes.start(state, "kubelet", node.kubelet(folders))
        processes.start(state, "kube-proxy", node.kube_proxy(folders))
        _wait_while_alive(folders, lambda: addons.node_is_ready(api), "a Ready node")
    with step("installing DNS, storage class and GPUs"):
        addons.install(api)
        addons.wait_for_dns()


def start_provisioner(state: Path, kubeconfig: Path, volumes: Path) -> None:
    """Start the process that makes volumes."""
    command = [sys.executable, "-m", "tests.cluster.provisioner", kubeconfig, volumes]
    processes.start(state, "provisioner", command, cwd=settings.REPOSITORY)


def _wait_while_alive(folders: settings.Folders, met, what: str) -> None:
    """Wait for a condition, but not for a process that has ended."""

    def met_or_hopeless() -> bool:
        ended = [
            name
            for name in PROCESSES
            if (folders.state / "pid" / name).exists()
            and not processes.running(folders.state, name)
        ]
        if ended:
            raise ClusterError(f"waiting for {what}, but {', '.join(ended)} ended")
        return met()

    wait_until(met_or_hopeless, what, timeout_s=120)


def _write_kubeconfig(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


def _program(name: str) -> Path:
    found = which(name)
    if found is None:
        raise ClusterError(f"{name} is not installed")
    return found
