"""The hardening that every pod of ours has: Pod Security "restricted", one user for all files."""

from copy import deepcopy
from typing import Any

from triton_operator.api.pod_template import PodTemplate

USER_ID = 1000
"""Triton's own user in NVIDIA's images; sync Jobs write as the same one, so it can always read."""

_USERS_CHOICE = frozenset(
    {"runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy", "supplementalGroups"}
    | {"seLinuxOptions", "supplementalGroupsPolicy"}
)
"""What a pod template may set: who runs, never with what rights."""


def build_pod_security(template: PodTemplate) -> dict[str, Any]:
    """Return the security context of a server's pods, and of the Jobs that write for them."""
    wishes = template.security_context or {}
    chosen = {key: deepcopy(value) for key, value in wishes.items() if key in _USERS_CHOICE}
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "fsGroup": USER_ID,
        # A recursive chown on every start would change every file's ctime, which Triton
        # takes for a change of every model.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
        **chosen,
    }


def build_container_security() -> dict[str, Any]:
    """Return the security context of a container."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
