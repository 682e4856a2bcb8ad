"""The Secrets that close the model-control API of a server.

Whoever may load a model may run code in the pod, so the API answers only who sends this key. A new
key has a Secret of its own and makes new pods: those of the old one can be started again, and be
told what to load, until they are replaced.
"""

import base64
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from triton_operator import names
from triton_operator.api.meta import ObjectMeta
from triton_operator.desired.metadata import ChildNames, Manifest, build_metadata
from triton_operator.observed import Pod, Workload

HEADER = "triton-operator-key"
"""The HTTP header, and with Triton's prefix the gRPC metadata key, that carries the key."""
ENTRY = "key"
"""The entry of the Secret."""


@dataclass(frozen=True, slots=True)
class ControlKey:
    """The key of pods that are made from now on."""

    secret: str
    key: str = field(repr=False)
    others: frozenset[str] = frozenset()
    """The Secrets of keys that pods have still, or that are to come."""


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """Which Secrets with keys a server is to have."""

    secret: str
    """That of the key of new pods."""
    others: frozenset[str] = frozenset()
    """Those of keys that pods have, or may be made with until a rollout is complete."""
    retired: frozenset[str] = frozenset()
    """Those that nothing needs any more."""
    announced: bool = False
    """One of the others is to be that of new pods as soon as the Deployment names it."""
    rotated: str = ""
    """The user's request for a new key, once no pod has another one."""


def plan_control_keys(server: ObjectMeta, workload: Workload, pods: Iterable[Pod]) -> KeyPlan:
    """Return which keys a server is to have.

    The request alone decides the name of the Secret. It is written on the Deployment before the
    Secret is made and until it is deleted, so that none is forgotten by an operator that is killed.
    """
    child = ChildNames(server.name)
    request = server.request(names.ANNOTATION_ROTATE_CONTROL_KEY)
    # What others wrote into a pod or the Deployment must not have their Secrets read or deleted.
    given = workload.control_key if _is_ours(workload.control_key, child) else ""
    listed = {secret for secret in workload.other_keys if _is_ours(secret, child)}
    used = {pod.control_key for pod in pods if _is_ours(pod.control_key, child)}
    # Without a request, also after one that was taken back, the key stays as it is.
    wanted = child.control_key(request) if request else given or child.control_key()
    known = (listed | used | {given}) - {""}
    if given and wanted != given and wanted not in listed:
        return KeyPlan(given, others=frozenset((known | {wanted}) - {given}), announced=True)
    done = workload.complete and wanted == given
    others = (used if done else known) - {wanted}
    return KeyPlan(
        secret=wanted,
        others=frozenset(others),
        retired=frozenset(known - others - {wanted}),
        rotated=request if done and not others else "",
    )


def build_control_key(owner: ObjectMeta, secret: str) -> Manifest:
    """Return a Secret with a new random key; made once and never overwritten."""
    key = secrets.token_urlsafe(32)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": build_metadata(owner, secret, "control-key"),
        "type": "Opaque",
        "immutable": True,
        "data": {ENTRY: base64.b64encode(key.encode()).decode()},
    }


def read_control_key(secret: Manifest) -> str:
    """Return the key that a Secret holds."""
    return base64.b64decode(secret["data"][ENTRY]).decode()


def _is_ours(secret: str, child: ChildNames) -> bool:
    return re.fullmatch(rf"{re.escape(child.control_key())}(-[0-9a-f]{{10}})?", secret) is not None
