"""Who is who: a certificate authority, a certificate for each component, and the kubeconfigs that
carry them.

Kubernetes reads a client's user name and groups from its certificate's subject (`CN` and `O`).
The node authorizer knows the kubelet by `O=system:nodes, CN=system:node:NAME`; `O=system:masters`
may do anything.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import settings
from tests.cluster.shell import run

_DAYS = "3650"
_EXTENSIONS = """\
[req]
distinguished_name = subject
[subject]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


@dataclass(frozen=True)
class Identity:
    """One certificate: file name, subject, and the names it may serve under."""

    name: str
    subject: str
    names: tuple[str, ...]


IDENTITIES = (
    Identity(
        "apiserver",
        "/CN=kube-apiserver",
        (
            "DNS:kubernetes",
            "DNS:kubernetes.default",
            "DNS:kubernetes.default.svc",
            f"DNS:kubernetes.default.svc.{settings.DOMAIN}",
            "DNS:localhost",
            "IP:127.0.0.1",
            f"IP:{settings.FIRST_SERVICE_IP}",
            f"IP:{settings.NODE_IP}",
        ),
    ),
    Identity("admin", "/O=system:masters/CN=admin", ("DNS:admin",)),
    Identity(
        "controller-manager", "/CN=system:kube-controller-manager", ("DNS:controller-manager",)
    ),
    Identity("scheduler", "/CN=system:kube-scheduler", ("DNS:scheduler",)),
    Identity("proxy", "/CN=system:kube-proxy", ("DNS:proxy",)),
    # Its own identity, so that the audit log tells its writes from a person's.
    Identity("provisioner", "/O=system:masters/CN=test-cluster-provisioner", ("DNS:provisioner",)),
    Identity(
        "kubelet",
        f"/O=system:nodes/CN=system:node:{settings.NAME}",
        (f"DNS:{settings.NAME}", f"IP:{settings.NODE_IP}"),
    ),
)


def make_pki(folder: Path) -> None:
    """Write ca.crt, ca.key, sa.key, sa.pub and NAME.crt, NAME.key of every identity into
    `folder`."""
    folder.mkdir(parents=True, mode=0o700)
    _certificate(folder, Identity("ca", "/CN=triton-test-ca", ("DNS:ca",)), section="ca")
    for identity in IDENTITIES:
        _certificate(folder, identity, section="leaf")
    run(["openssl", "genrsa", "-out", folder / "sa.key", "2048"])
    run(["openssl", "rsa", "-in", folder / "sa.key", "-pubout", "-out", folder / "sa.pub"])


def _certificate(folder: Path, identity: Identity, *, section: str) -> None:
    config = folder / f"{identity.name}.cnf"
    config.write_text(_EXTENSIONS.format(names=", ".join(identity.names)))
    signer = ["-CA", folder / "ca.crt", "-CAkey", folder / "ca.key"] if section == "leaf" else []
    run(
        [
            *("openssl", "req", "-x509", "-config", config, "-extensions", section, *signer),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", _DAYS, "-subj", identity.subject),
            *("-keyout", folder / f"{identity.name}.key", "-out", folder / f"{identity.name}.crt"),
        ]
    )


def kubeconfig(pki: Path, user: str) -> str:
    """The text of a kubeconfig with the certificates inside; JSON, which every YAML reader
    reads."""

    def data(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    name = settings.NAME
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": f"https://{settings.NODE_IP}:{settings.API_PORT}",
                    "certificate-authority-data": data("ca.crt"),
                },
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": data(f"{user}.crt"),
                    "client-key-data": data(f"{user}.key"),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }
    return json.dumps(config, indent=2) + "\n"
