"""The PodDisruptionBudget that has drained nodes take a server's pods one at a time."""

from triton_operator.api.server import TritonServer
from triton_operator.desired.metadata import ChildNames, Manifest, build_metadata, build_selector


def build_disruption_budget(server: TritonServer, replicas: int) -> Manifest | None:
    """Return the PodDisruptionBudget of a server's pods; None where it has fewer than two.

    A budget for a single pod would keep the drain of its node waiting for ever.
    """
    if replicas <= 1:
        return None
    name = ChildNames(server.metadata.name).disruption_budget
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": build_metadata(server.metadata, name, "server"),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": build_selector(server.metadata.name)},
            # A pod that serves nobody, broken as it may stay, must not hold up a drain.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
