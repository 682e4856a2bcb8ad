"""What users may add to the pods of a server, in Kubernetes' own terms."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from triton_operator import names
from triton_operator.api.meta import Resource
from triton_operator.api.rules import Rule

FreeForm = Mapping[str, Any]
"""A piece of Kubernetes' own API, checked by the API server when the Deployment is applied."""
FreeForms = Annotated[tuple[FreeForm, ...], Field(max_length=64)]
Labels = Annotated[Mapping[str, Annotated[str, Field(max_length=63)]], Field(max_length=64)]
Annotations = Annotated[Mapping[str, Annotated[str, Field(max_length=16384)]], Field(max_length=64)]


class EnvVar(Resource):
    """One environment variable of the server."""

    rules = (
        Rule(
            cel="!(has(self.value) && has(self.valueFrom))",
            message="value and valueFrom exclude each other: remove one of them",
            holds=lambda self: self.value is None or self.value_from is None,
        ),
        Rule(
            cel=f"self.name != '{names.ENV_GPUS}'",
            message=f"env: {names.ENV_GPUS} would give pods GPUs that nobody counts: remove it, and"
            " set the number of GPUs with gpus",
            holds=lambda self: self.name != names.ENV_GPUS,
        ),
    )

    name: Annotated[str, Field(max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
    """Name of the variable."""
    value: Annotated[str, Field(max_length=16384)] | None = None
    """Value of the variable."""
    value_from: FreeForm | None = None
    """Source of the value, as in a pod: secretKeyRef, configMapKeyRef, fieldRef."""


class PodMetadata(Resource):
    """Labels and annotations of the pods."""

    labels: Labels = Field(default_factory=dict)
    """Labels to add; the operator's own cannot be replaced."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations to add."""


class PodTemplate(Resource):
    """What the pods need beyond Triton; values are Kubernetes' own, checked when applied."""

    metadata: PodMetadata = PodMetadata()
    """Labels and annotations of the pods."""
    node_selector: Labels = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: FreeForms = ()
    """Taints of nodes that the pods tolerate."""
    affinity: FreeForm | None = None
    """Affinity to nodes and other pods."""
    topology_spread_constraints: FreeForms = ()
    """How the pods are spread over zones and nodes."""
    priority_class_name: Annotated[str, Field(max_length=253)] | None = None
    """Priority class of the pods."""
    runtime_class_name: Annotated[str, Field(max_length=253)] | None = None
    """Runtime class of the pods, such as nvidia."""
    image_pull_secrets: FreeForms = ()
    """Secrets to pull the image with."""
    service_account_name: Annotated[str, Field(max_length=253)] | None = None
    """Service account of the pods; its token is not mounted."""
    volumes: FreeForms = ()
    """Further volumes."""
    volume_mounts: FreeForms = ()
    """Where the server's container mounts them."""
    security_context: FreeForm | None = None
    """Security context of the pod, merged over the operator's."""
