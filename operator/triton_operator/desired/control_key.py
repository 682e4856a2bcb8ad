"""The Secret that closes the model-control API of a server.

Whoever may load a model may run code in the pod, so the API answers only who sends this key.
"""

import base64
import secrets

from triton_operator.api.meta import ObjectMeta
from triton_operator.desired.metadata import ChildNames, Manifest, build_metadata

HEADER = "triton-operator-key"
"""The HTTP header, and with Triton's prefix the gRPC metadata key, that carries the key."""
ENTRY = "key"
"""The entry of the Secret."""


def build_control_key(owner: ObjectMeta) -> Manifest:
    """Return the Secret with a new random key; made once per server and never overwritten."""
    key = secrets.token_urlsafe(32)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": build_metadata(owner, ChildNames(owner.name).control_key, "control-key"),
        "type": "Opaque",
        "immutable": True,
        "data": {ENTRY: base64.b64encode(key.encode()).decode()},
    }


def read_control_key(secret: Manifest) -> str:
    """Return the key that a Secret holds."""
    return base64.b64decode(secret["data"][ENTRY]).decode()
