"""``TritonServer``: one pool of identical Triton pods."""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from triton_operator.api.autoscaling import Autoscaling, AutoscalingStatus
from triton_operator.api.conditions import Conditions
from triton_operator.api.flags import ARGUMENT_PATTERN, RESERVED_FLAGS, is_reserved
from triton_operator.api.meta import (
    SERVER_NAME,
    CustomObject,
    ObjectMeta,
    Observed,
    Quantity,
    Resource,
    TolerantStatus,
)
from triton_operator.api.pod_template import Annotations, EnvVar, PodTemplate
from triton_operator.api.rules import Rule, Schema
from triton_operator.api.sync import SyncOptions

Quantities = Annotated[Mapping[str, Quantity], Field(max_length=32)]

Argument = Annotated[
    str,
    Field(max_length=1024),
    Rule(
        cel=f"self.matches('{ARGUMENT_PATTERN}')",
        message="args: write each argument in one piece, as --flag=value",
        holds=lambda argument: re.fullmatch(ARGUMENT_PATTERN, argument) is not None,
    ),
    Rule(
        cel=f"![{', '.join(repr(flag) for flag in RESERVED_FLAGS)}]"
        ".exists(flag, ('--' + flag).startsWith(self.split('=')[0]))",
        message="args: the operator sets this flag itself: remove it, and use the field of the"
        " spec if there is one (logVerbosity, responseCache, service, drainSeconds)",
        holds=lambda argument: not is_reserved(argument),
    ),
]


class Resources(Resource):
    """CPU and memory of a pod."""

    requests: Quantities = Field(default_factory=dict)
    """What a pod is promised, such as `cpu: 4, memory: 16Gi`."""
    limits: Quantities = Field(default_factory=dict)
    """What a pod may use at most; GPUs are set by gpus and gpuResourceName."""


DEFAULT_SIZE = "10Gi"
_SIZE = "has({0}.size) ? string({0}.size) : '" + DEFAULT_SIZE + "'"


def _unchanging(field: str, *, default: str = "''") -> Rule:
    """Return the rule that a field of the repository stays as it is; unset is its default."""
    value = f"(has({{0}}.{field}) ? {{0}}.{field} : {default})"
    return Rule(
        cel=f"{value.format('self')} == {value.format('oldSelf')}",
        message=f"{field} cannot be changed, the models would be lost: keep it, or create a new"
        " TritonServer with the new repository",
    )


class RepositoryClaim(Resource):
    """The volume that holds the model repository: an existing claim, or one that is made."""

    schema_defaults: ClassVar[bool] = False
    rules = (
        Rule(
            cel="!has(self.claimName) ||"
            " !(has(self.size) || has(self.storageClassName) || has(self.accessModes))",
            message="claimName names an existing claim: remove size, storageClassName and"
            " accessModes, which describe a claim to be made, or remove claimName",
            holds=lambda self: (
                self.claim_name is None
                or not self.model_fields_set & {"size", "storage_class_name", "access_modes"}
            ),
        ),
        _unchanging("claimName"),
        _unchanging("storageClassName"),
        _unchanging("accessModes", default="['ReadWriteMany']"),
        Rule(
            cel=f"quantity({_SIZE.format('self')}).compareTo(quantity({_SIZE.format('oldSelf')}))"
            " >= 0",
            message=f"size cannot shrink ({DEFAULT_SIZE} if left out): keep it or make it larger",
        ),
    )

    claim_name: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Existing PersistentVolumeClaim to use; excludes the other fields."""
    size: Quantity = DEFAULT_SIZE
    """Size of the claim that is made, 10Gi if left out; raise it to have the claim enlarged."""
    storage_class_name: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Storage class of the claim that is made; the cluster's default if left out."""
    access_modes: Annotated[
        tuple[Literal["ReadWriteMany", "ReadWriteOnce"], ...],
        Field(min_length=1, max_length=2),
    ] = ("ReadWriteMany",)
    """Access modes of the claim that is made; ReadWriteMany if left out."""
    sync: SyncOptions = SyncOptions()
    """How sync Jobs fetch files: credentials, proxies, limits; it can be changed."""


class ResponseCache(Resource):
    """A cache of responses inside each pod, for models whose config enables responseCache."""

    size: Quantity
    """Memory of the cache in each pod, such as 256Mi."""


class ServiceOptions(Resource):
    """The Service in front of the pods."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Type of the Service."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations of the Service, for load balancers and meshes."""
    headless: bool = False
    """Whether to make a headless Service as well, for gRPC clients that balance themselves."""


class TritonServerSpec(Resource):
    """What a pool of Triton pods looks like."""

    rules = (
        Rule(
            cel="!(has(self.replicas) && has(self.autoscaling))",
            message="replicas and autoscaling exclude each other: remove replicas to let the"
            " operator scale, or autoscaling to fix the number",
            holds=lambda self: self.replicas is None or self.autoscaling is None,
        ),
        Rule(
            cel="!has(self.resources) || [has(self.resources.requests) ? self.resources.requests"
            " : {}, has(self.resources.limits) ? self.resources.limits : {}].all(side,"
            " side.all(key, key != self.gpuResourceName && !key.startsWith('nvidia.com/')))",
            message="resources must not name GPUs: set their number with gpus and their kind"
            " with gpuResourceName",
            holds=lambda self: not self.names_gpus_as_resources,
        ),
    )

    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Image of Triton; the operator's default if left out."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When the image is pulled; Kubernetes' default for its tag if left out."""
    gpus: Annotated[int, Field(ge=0, le=16)] = 1
    """GPUs of each pod; 0 runs on the CPU."""
    gpu_resource_name: Annotated[
        str, Field(max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9._-]+$")
    ] = "nvidia.com/gpu"
    """Resource that stands for one GPU; a MIG profile such as nvidia.com/mig-1g.5gb works too."""
    resources: Resources = Resources()
    """CPU and memory of each pod."""
    replicas: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Number of pods; if left out, a new server has 1 and others stay as they are. Set it where an
    HPA or KEDA scales the server."""
    autoscaling: Autoscaling | None = None
    """Let the operator choose the number of pods; excludes replicas."""
    repository: RepositoryClaim = RepositoryClaim()
    """Volume that holds the model repository; its size can be raised later, its sync be changed."""
    model_updates: Literal["HotReload", "Rollout"] = "HotReload"
    """How a changed model reaches the pods: HotReload loads it, Rollout makes new ones."""
    rollout: Literal["ResourceAware", "Availability", "Auto"] = "ResourceAware"
    """How pods are replaced: in the room of the old ones, with a spare pod beforehand, or (Auto)
    with a spare pod if a node has room for it, else in the room of the old ones."""
    response_cache: ResponseCache | None = None
    """Cache of responses in each pod; none if left out."""
    shared_memory_size: Quantity = "1Gi"
    """Size of /dev/shm; the python backend needs 64Mi or more for each instance."""
    log_verbosity: Annotated[int, Field(ge=0, le=9)] = 0
    """Verbosity of Triton's log; 0 is off."""
    args: Annotated[tuple[Argument, ...], Field(max_length=64)] = ()
    """Further arguments of tritonserver, as --flag=value; those the operator sets are refused."""
    env: Annotated[
        tuple[EnvVar, ...],
        Field(max_length=128),
        Schema({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
        Rule(
            cel=None,
            message="env: a variable is listed twice: keep one of the entries",
            holds=lambda variables: len({each.name for each in variables}) == len(variables),
        ),
    ] = ()
    """Environment variables of the server."""
    service: ServiceOptions = ServiceOptions()
    """The Service in front of the pods."""
    pod_template: PodTemplate = PodTemplate()
    """What the pods need beyond Triton: placement, volumes, accounts."""
    drain_seconds: Annotated[int, Field(ge=0, le=3600)] = 15
    """How long a pod that leaves goes on serving, so that clients can move away from it."""
    startup_timeout_seconds: Annotated[int, Field(ge=10, le=86400)] = 1800
    """How long a pod may take to load its models before it is restarted."""

    @property
    def names_gpus_as_resources(self) -> bool:
        """Whether ``resources`` asks for GPUs, past ``gpus``."""
        names = {*self.resources.requests, *self.resources.limits}
        return any(n == self.gpu_resource_name or n.startswith("nvidia.com/") for n in names)


class RepairStatus(Observed):
    """The last check of the server's files that its user asked for."""

    request: str
    """Value of the annotation triton-operator.io/repair that asked for it."""
    mended: tuple[str, ...] = ()
    """TritonModels whose files had to be mended; "*" stands for more than could be listed."""


class ControlKeyStatus(Observed):
    """The last new control key that the server's user asked for: all pods have it, and no other."""

    request: str
    """Value of the annotation triton-operator.io/rotate-control-key that asked for it."""


class TritonServerStatus(Observed):
    """What the operator saw; written by the operator only."""

    observed_generation: int = 0
    """The generation of the spec that this status is about."""
    conditions: Conditions = ()
    """Accepted, Available, ClaimReady, Progressing, Ready and ScalingLimited; Stalled while only a
    change of this object helps."""
    replicas: int = 0
    """Number of pods."""
    ready_replicas: int = 0
    """Number of pods that are ready."""
    ready: str = ""
    """Ready pods of all pods, as "2/3"."""
    selector: str = ""
    """Label selector of the pods, for autoscalers."""
    models: tuple[str, ...] = ()
    """Names of the models that this server is to serve."""
    autoscaling: AutoscalingStatus | None = None
    """What the autoscaler sees and wants."""
    repair: RepairStatus | None = None
    """The last check of the server's files that its user asked for."""
    control_key: ControlKeyStatus | None = None
    """The last new control key that the server's user asked for."""


class TritonServer(CustomObject):
    """A pool of identical Triton pods that serve the TritonModels which refer to it."""

    rules = (SERVER_NAME,)

    metadata: ObjectMeta
    """Standard object metadata."""
    spec: TritonServerSpec = TritonServerSpec()
    """What the pool looks like."""
    status: TolerantStatus[TritonServerStatus] = TritonServerStatus()
    """What the operator saw."""

    @property
    def name(self) -> str:
        """The name of the server, which its children are named after."""
        return self.metadata.name

    @property
    def key(self) -> str:
        """``namespace/name``, for logs and messages."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
