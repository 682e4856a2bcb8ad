"""``TritonModel``: one model, i.e. one folder of a Triton model repository."""

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from triton_operator.api.conditions import Conditions
from triton_operator.api.meta import (
    OBJECT_NAME,
    SERVER_NAME_PATTERN,
    CustomObject,
    ObjectMeta,
    Observed,
    Resource,
    TolerantStatus,
)
from triton_operator.api.model_config import ModelConfig
from triton_operator.api.rules import Rule, Schema
from triton_operator.api.server import TritonServerSpec
from triton_operator.api.version import MAX_VERSIONS, Files, ModelVersion
from triton_operator.names import MODEL_NAME_PATTERN


class ServerRef(Resource):
    """A TritonServer of the same namespace."""

    name: Annotated[str, Field(max_length=63, pattern=SERVER_NAME_PATTERN)]
    """Name of the TritonServer."""


_SERVER_GPUS = "(has(self.server) ? self.server.gpus : 1)"

_SPECIFIC = "self.config.versionPolicy.specific"


class TritonModelSpec(Resource):
    """What is served, and by which server."""

    rules = (
        Rule(
            cel="!(has(self.config) && has(self.configText))",
            message="config and configText exclude each other: remove one of them",
            holds=lambda self: self.config is None or self.config_text is None,
        ),
        Rule(
            cel="!(has(self.serverRef) && has(self.server))",
            message="serverRef and server exclude each other: remove server to share the server"
            " that serverRef names, or serverRef to get one of its own",
            holds=lambda self: self.server_ref is None or self.server is None,
        ),
        Rule(
            cel="(has(self.versions) && size(self.versions) > 0)"
            " || (has(self.config) && has(self.config.ensembleScheduling))"
            " || (has(self.configText) && self.configText.contains('ensemble_scheduling'))",
            message="versions must have an entry, as every model but an ensemble needs files:"
            " add versions: [{version: 1, source: {uri: …}}]",
            holds=lambda self: bool(self.versions) or self.may_be_ensemble,
        ),
        Rule(
            cel="has(self.serverRef) || !has(self.config) || !has(self.config.instanceGroup) ||"
            " self.config.instanceGroup.all(group, !has(group.gpus) ||"
            f" group.gpus.all(gpu, gpu < {_SERVER_GPUS}))",
            message="config.instanceGroup: gpus names a GPU that the pods do not have: indexes"
            " count from 0 inside the pod; raise server.gpus or lower the index",
            holds=lambda self: self.uses_only_gpus_it_has,
        ),
        Rule(
            cel="has(self.serverRef) || !has(self.config) || !has(self.config.instanceGroup) ||"
            f" {_SERVER_GPUS} > 0 ||"
            " !self.config.instanceGroup.exists(group, has(group.kind) &&"
            " group.kind == 'KIND_GPU')",
            message="config.instanceGroup: KIND_GPU needs a GPU but server.gpus is 0: raise it,"
            " or use KIND_CPU",
            holds=lambda self: self.has_the_gpus_it_asks_for,
        ),
        Rule(
            cel="!has(self.versions) || size(self.versions) == 0 || !has(self.config)"
            f" || !has(self.config.versionPolicy) || !has({_SPECIFIC}) ||"
            f" (has({_SPECIFIC}.versions) && {_SPECIFIC}.versions.exists(version,"
            " self.versions.exists(each, each.version == version)))",
            message="config.versionPolicy.specific: none of its versions is among spec.versions:"
            " name one that is there, or leave out versionPolicy for the newest one",
            holds=lambda self: self.has_a_version_to_serve,
        ),
    )

    model_name: Annotated[str, Field(max_length=63, pattern=MODEL_NAME_PATTERN)] | None = None
    """Name that clients use; the name of this object if left out."""
    config: ModelConfig | None = None
    """The config.pbtxt, typed; Triton completes what is left out where the backend can."""
    config_text: Annotated[str, Field(max_length=262_144)] | None = None
    """The text of a config.pbtxt, instead of config."""
    versions: Annotated[
        tuple[ModelVersion, ...],
        Field(max_length=MAX_VERSIONS),
        Schema({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["version"]}),
        Rule(
            cel=None,
            message="versions: a version is listed twice: keep one of the entries",
            holds=lambda versions: len({each.version for each in versions}) == len(versions),
        ),
    ] = ()
    """The version folders of the model; may be left out for an ensemble."""
    files: Annotated[
        Files,
        Rule(
            cel="!('config.pbtxt' in self)",
            message="files: config.pbtxt is written by the operator: use config or configText",
            holds=lambda files: "config.pbtxt" not in files,
        ),
        Rule(
            cel="self.all(path, !path.matches('^[0-9+-][^/]*/'))",
            message="files: a folder whose name begins with a number is a version to Triton: put"
            " its files into versions",
            holds=lambda files: not any(re.match(r"[0-9+-][^/]*/", path) for path in files),
        ),
    ] = Field(default_factory=dict)
    """Small text files beside config.pbtxt, such as labels, by path."""
    server_ref: ServerRef | None = None
    """TritonServer to be served by, together with other models; excludes server."""
    server: TritonServerSpec | None = None
    """A TritonServer of this model's own; the default, with default settings, if both are left
    out."""

    @property
    def may_be_ensemble(self) -> bool:
        """Whether the model may be an ensemble, as far as can be told without parsing text."""
        typed = self.config is not None and self.config.ensemble_scheduling is not None
        return typed or "ensemble_scheduling" in (self.config_text or "")

    @property
    def has_a_version_to_serve(self) -> bool:
        """Whether some version is there if the version policy lists single ones."""
        policy = self.config.version_policy if self.config is not None else None
        if policy is None or policy.specific is None or not self.versions:
            return True
        return any(each.version in policy.specific.versions for each in self.versions)

    @property
    def own_gpus(self) -> int | None:
        """GPUs of each pod of the model's own server; None if it is served by another."""
        if self.server_ref is not None:
            return None
        return self.server.gpus if self.server is not None else TritonServerSpec().gpus

    @property
    def uses_only_gpus_it_has(self) -> bool:
        """Whether all GPU indexes exist in the pods of the model's own server."""
        gpus = self.own_gpus
        groups = self.config.instance_group if self.config is not None else ()
        return gpus is None or all(index < gpus for group in groups for index in group.gpus)

    @property
    def has_the_gpus_it_asks_for(self) -> bool:
        """Whether the model's own server has GPUs if an instance group insists on one."""
        groups = self.config.instance_group if self.config is not None else ()
        return self.own_gpus != 0 or all(group.kind != "KIND_GPU" for group in groups)


class ModelUrls(Observed):
    """Where a model is served, from inside the cluster."""

    http: str = ""
    """Base address of the model over HTTP."""
    grpc: str = ""
    """Host and port for gRPC clients."""


class LastFailure(Observed):
    """The last thing that went wrong with a model."""

    reason: str
    """What went wrong, as one word for programs."""
    message: str = ""
    """What went wrong, in Triton's own words where it has any."""
    time: datetime
    """When it went wrong."""
    config_hash: str = ""
    """Hash of the config that it went wrong with."""
    context_hash: str = ""
    """Hash of the ensembles and members that it went wrong with."""


class SyncProgress(Observed):
    """How far the copying of a model's files is."""

    bytes_done: int = 0
    """Bytes that are there."""
    bytes_total: int | None = None
    """Bytes that there will be, where the source says."""
    progress: str = ""
    """The same for people, as "61% of 2.0 GiB"."""


class Artifact(Observed):
    """What arrived from the source of a version."""

    version: int
    """Number of the version."""
    uri: str = ""
    """Where it came from, without credentials."""
    sha256: str = ""
    """SHA-256 of the file; of a folder, that of the lines that sha256sum prints for its files in
    the order of their paths."""
    bytes: int = 0
    """Size of the file, or of all files of the folder."""


class TritonModelStatus(Observed):
    """What the operator saw; written by the operator only."""

    observed_generation: int = 0
    """The generation of the spec that this status is about."""
    conditions: Conditions = ()
    """Accepted, Synced, Loaded and Ready; Stalled while only a change of this object helps."""
    model_name: str = ""
    """Name that clients use."""
    server: str = ""
    """TritonServer that serves the model."""
    config_hash: str = ""
    """Hash of the config and files that all pods were last seen to serve; each reports it."""
    loaded_replicas: int = 0
    """Ready pods that serve exactly this."""
    replicas: int = 0
    """Ready pods of the server."""
    loaded: str = ""
    """Pods that serve exactly this of all ready pods, as "2/2"."""
    versions: tuple[int, ...] = ()
    """Versions that every ready pod serves, also those that are to be replaced."""
    urls: ModelUrls | None = None
    """Where the model is, or will be, served."""
    transition: Literal["UpToDate", "InProgress", "BlockedByFailedLoad", "InvalidSpec"] | None = (
        None
    )
    """How far the last change has got."""
    last_failure: LastFailure | None = None
    """The last thing that went wrong."""
    retry: str = ""
    """Value of the annotation triton-operator.io/retry whose try has come to an end."""
    sync: SyncProgress | None = None
    """How far the copying of files is, while it runs for longer than some seconds."""
    artifacts: Annotated[tuple[Artifact, ...], Field(max_length=MAX_VERSIONS)] = ()
    """What the versions with a source were made of; of the generation that the claim links to."""


class TritonModel(CustomObject):
    """A model served by NVIDIA Triton Inference Server."""

    rules = (
        OBJECT_NAME,
        Rule(
            cel=f"has(self.spec.serverRef) || self.metadata.name.matches('{SERVER_NAME_PATTERN}')",
            message="metadata.name: a model with a server of its own gives it its name, which must"
            " begin with a letter and have no '.': rename it, or use serverRef",
            holds=lambda self: (
                not self.owns_server
                or re.fullmatch(SERVER_NAME_PATTERN, self.metadata.name) is not None
            ),
        ),
    )

    metadata: ObjectMeta
    """Standard object metadata."""
    spec: TritonModelSpec
    """What is served, and by which server."""
    status: TolerantStatus[TritonModelStatus] = TritonModelStatus()
    """What the operator saw."""

    @property
    def model_name(self) -> str:
        """The name that clients use, and of the folder that Triton reads."""
        return self.spec.model_name or self.metadata.name

    @property
    def server_name(self) -> str:
        """The name of the ``TritonServer`` that serves this model."""
        return self.spec.server_ref.name if self.spec.server_ref else self.metadata.name

    @property
    def owns_server(self) -> bool:
        """Whether the model has a server of its own, rather than sharing one."""
        return self.spec.server_ref is None

    @property
    def key(self) -> str:
        """``namespace/name``, for logs and messages."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
