"""Every name the operator writes into a cluster, in one place."""

from typing import Final

GROUP: Final = "triton-operator.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND_MODEL: Final = "TritonModel"
KIND_SERVER: Final = "TritonServer"
PLURAL_MODEL: Final = "tritonmodels"
PLURAL_SERVER: Final = "tritonservers"

FIELD_MANAGER: Final = "triton-operator"
MANAGED_BY: Final = "triton-operator"

CONTAINER_TRITON: Final = "triton"
CONTAINER_SYNC: Final = "sync"

FINALIZER: Final = f"{GROUP}/repository"
"""On servers whose claim is the user's own: their folder on it is removed before they go."""

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_SERVER: Final = f"{GROUP}/server"
"""On every child and pod: the name of its ``TritonServer``."""
LABEL_AZURE_IDENTITY: Final = "azure.workload.identity/use"
"""Azure's: on pods that are to get the credentials of their service account."""

LABEL_CLAIM: Final = f"{GROUP}/claim"
"""On pods that must share a node: the claim that they share, which one node at a time can mount."""

ANNOTATION_REPAIR: Final = f"{GROUP}/repair"
"""On a server, by its user: a new value asks for one check of all its files on the claim. On a
sync Job: the value that it answers."""

ANNOTATION_RETRY: Final = f"{GROUP}/retry"
"""On a model, by its user: a new value asks for one more try of what pods refused."""

ANNOTATION_MANIFEST: Final = f"{GROUP}/manifest"
"""On a sync Job: the hash of the repository manifest that it makes true."""
ANNOTATION_CONFIG_MAP: Final = f"{GROUP}/manifest-config-map"
"""On a sync Job: the ConfigMap that holds its manifest."""
ANNOTATION_SEQUENCE: Final = f"{GROUP}/sequence"
"""On a sync Job: its place in the order of this server's Jobs; only the last one counts."""

ANNOTATION_APPLIED: Final = f"{GROUP}/applied"
"""On a child: the hash of what was applied last, so that a field taken out is noticed."""
ANNOTATION_ATTEMPT: Final = f"{GROUP}/attempt"
"""On a sync Job: how often its manifest was tried before without success."""
ANNOTATION_REVISION: Final = f"{GROUP}/revision"
"""On a server's pod template: the hash of the template; pods of another one are outdated."""

ANNOTATION_REPOSITORY: Final = f"{GROUP}/repository-revision"
"""On a server's pod template: the revision of the repository that its pods serve, if only one."""
ANNOTATION_REPOSITORIES: Final = f"{GROUP}/repository-revisions"
"""On a server's Deployment: all that its pods, also those of older templates, may start from."""

ANNOTATION_CONTROL_KEY: Final = f"{GROUP}/control-key"
"""On a server's pod template: a hash of the control key, so that a new key makes new pods."""
ANNOTATION_ROTATE_CONTROL_KEY: Final = f"{GROUP}/rotate-control-key"
"""On a server, by its user: a new value asks for a new control key, and so for new pods."""
ANNOTATION_OTHER_KEYS: Final = f"{GROUP}/other-control-keys"
"""On a server's Deployment: all Secrets with control keys but that of its template. One is written
here before it is made, and until it is deleted."""
ENV_CONTROL_KEY: Final = "TRITON_CONTROL_KEY"
"""The variable of a server's container that holds its control key."""
ENV_POD_IP: Final = "TRITON_POD_IP"
"""The variable of a server's container that holds the pod's first address."""
ENV_GPUS: Final = "NVIDIA_VISIBLE_DEVICES"
"""NVIDIA's: the variable by which its container runtime learns which GPUs a container gets. The
device plugin sets it for pods that ask for GPUs; NVIDIA's images set it to all of the node."""
NO_GPUS: Final = "void"
"""Its value for none: the runtime then does nothing."""

ANNOTATION_DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
"""Kubernetes': of pods that are otherwise alike, those with the lowest number go first."""

CONFIG_HASH_PARAMETER: Final = "triton_operator_hash"
"""The parameter of every generated ``config.pbtxt`` by which a pod proves what it serves."""

MODEL_NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
"""Model names become folder names and URL segments."""
