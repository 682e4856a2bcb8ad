"""The ``TritonServer`` of a model that brings its own: from there on there is one path."""

from triton_operator import names
from triton_operator.api.model import TritonModel
from triton_operator.desired.metadata import Manifest, build_labels, build_owner


def build_owned_server(model: TritonModel) -> Manifest:
    """Return the server that serves one model alone."""
    spec = model.spec.server.manifest() if model.spec.server is not None else {}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND_SERVER,
        "metadata": {
            "name": model.metadata.name,
            "namespace": model.metadata.namespace,
            "labels": build_labels(model.metadata.name, "server"),
            "ownerReferences": [build_owner(names.KIND_MODEL, model.metadata)],
        },
        "spec": spec,
    }
