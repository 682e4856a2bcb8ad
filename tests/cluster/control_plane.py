"""etcd, the API server, the controller manager and the scheduler: their command lines."""

import json
from pathlib import Path

from tests.cluster import settings

_CLIENT_RATE = ("--kube-api-qps=200", "--kube-api-burst=400")
"""The controllers' own throttle (20 requests/s by default) would be what a test waits for."""

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata"}],
}


def write_files(folders: settings.Folders) -> None:
    """Write what the command lines refer to."""
    folders.audit_log.parent.mkdir(parents=True, exist_ok=True)
    _audit_policy(folders).write_text(json.dumps(AUDIT_POLICY))


def etcd(folders: settings.Folders, program: Path) -> list[str | Path]:
    """Without fsync: the data of a test cluster need not survive a power cut."""
    client = f"http://127.0.0.1:{settings.ETCD_PORT}"
    peer = f"http://127.0.0.1:{settings.ETCD_PORT + 1}"
    return [
        program,
        f"--data-dir={folders.state / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--logger=zap",
    ]


def api_server(folders: settings.Folders) -> list[str | Path]:
    """Pod Security admission is on by default; NodeRestriction keeps the kubelet to its own
    node."""
    pki = folders.state / "pki"
    return [
        folders.bin / "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{settings.ETCD_PORT}",
        f"--bind-address={settings.NODE_IP}",
        f"--advertise-address={settings.NODE_IP}",
        f"--secure-port={settings.API_PORT}",
        f"--service-cluster-ip-range={settings.SERVICE_RANGE}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--service-account-key-file={pki / 'sa.pub'}",
        f"--service-account-signing-key-file={pki / 'sa.key'}",
        f"--service-account-issuer=https://kubernetes.default.svc.{settings.DOMAIN}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--kubelet-client-certificate={pki / 'admin.crt'}",
        f"--kubelet-client-key={pki / 'admin.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
        f"--audit-policy-file={_audit_policy(folders)}",
        f"--audit-log-path={folders.audit_log}",
        # Megabytes until the log is turned over: tests count lines of one file.
        "--audit-log-maxsize=2000",
        "--audit-log-maxbackup=1",
    ]


def controller_manager(folders: settings.Folders) -> list[str | Path]:
    """Each controller under a service account of its own, as in a production cluster."""
    pki = folders.state / "pki"
    return [
        folders.bin / "kube-controller-manager",
        *_own_kubeconfig(folders, "controller-manager"),
        *_CLIENT_RATE,
        f"--service-account-private-key-file={pki / 'sa.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        "--use-service-account-credentials",
    ]


def scheduler(folders: settings.Folders) -> list[str | Path]:
    """The default scheduler."""
    return [
        folders.bin / "kube-scheduler",
        *_own_kubeconfig(folders, "scheduler"),
        *_CLIENT_RATE,
    ]


def _own_kubeconfig(folders: settings.Folders, user: str) -> list[str]:
    file = folders.state / f"{user}.kubeconfig"
    return [
        f"--kubeconfig={file}",
        f"--authentication-kubeconfig={file}",
        f"--authorization-kubeconfig={file}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]


def _audit_policy(folders: settings.Folders) -> Path:
    return folders.state / "audit" / "policy.json"
