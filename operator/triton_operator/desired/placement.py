"""Where pods may run: shared by a server's pods and the Jobs that write for them.

A Job that ran elsewhere could bind a zonal volume where no GPU is.
"""

from copy import deepcopy
from typing import Any

from triton_operator.api.server import PodTemplate


def build_placement(template: PodTemplate) -> dict[str, Any]:
    """Return the placement part of a pod spec; empty without wishes."""
    placement: dict[str, Any] = {}
    if template.node_selector:
        placement["nodeSelector"] = dict(template.node_selector)
    if template.tolerations:
        placement["tolerations"] = deepcopy(list(template.tolerations))
    if template.affinity:
        placement["affinity"] = deepcopy(dict(template.affinity))
    if template.image_pull_secrets:
        placement["imagePullSecrets"] = deepcopy(list(template.image_pull_secrets))
    return placement
