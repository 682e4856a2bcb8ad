"""What the Prometheus operator makes of a PodMonitor: a part of Prometheus' configuration."""

import re
from typing import Any

from tests.cluster.support.kube import Object

_POD = "__meta_kubernetes_pod"
_SNAKE = re.compile("[A-Z]")


def build_scrape(monitor: Object, kubeconfig: str) -> dict[str, Any]:
    """Return how the pods of a monitor are found with a kubeconfig, labelled and scraped."""
    spec = monitor["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    namespaces = spec.get("namespaceSelector", {"matchNames": [monitor["metadata"]["namespace"]]})
    found: dict[str, Any] = {"role": "pod", "kubeconfig_file": kubeconfig}
    if not namespaces.get("any"):
        found["namespaces"] = {"names": namespaces["matchNames"]}
    return {
        "job_name": monitor["metadata"]["name"],
        "honor_labels": endpoint.get("honorLabels", False),
        "kubernetes_sd_configs": [found],
        "relabel_configs": [
            *(
                _keep(f"{_POD}_label_{re.sub(r'[^a-zA-Z0-9_]', '_', label)}", value)
                for label, value in spec["selector"]["matchLabels"].items()
            ),
            _keep(f"{_POD}_container_port_name", endpoint["port"]),
            _keep(f"{_POD}_phase", "Pending|Running|Unknown"),
            _label("__meta_kubernetes_namespace", "namespace"),
            _label(f"{_POD}_container_name", "container"),
            _label(f"{_POD}_name", "pod"),
            *(
                {_SNAKE.sub(r"_\g<0>", name).lower(): value for name, value in each.items()}
                for each in endpoint.get("relabelings", ())
            ),
        ],
    }


def _keep(label: str, values: str) -> dict[str, Any]:
    return {"action": "keep", "source_labels": [label], "regex": values}


def _label(source: str, target: str) -> dict[str, Any]:
    return {"source_labels": [source], "target_label": target}
