"""Triton's ``config.pbtxt`` as a value: the whole ``ModelConfig`` schema, typed.

A test compares every field, type, enum and oneof with the protobuf descriptor that tritonclient
ships, so that a new Triton release shows what is missing here.
"""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from triton_operator.api.model_config.coherence import COHERENCE
from triton_operator.api.model_config.message import (
    Count32,
    Double,
    Name,
    ProtoMessage,
    RelativePath,
    Text,
)
from triton_operator.api.model_config.optimization import ModelOptimizationPolicy
from triton_operator.api.model_config.placement import ModelInstanceGroup
from triton_operator.api.model_config.scheduling import (
    EnsembleStep,
    ModelDynamicBatching,
    ModelEnsembling,
    ModelQueuePolicy,
)
from triton_operator.api.model_config.sequences import ModelSequenceBatching
from triton_operator.api.model_config.tensors import (
    BatchInput,
    BatchOutput,
    DataType,
    ModelInput,
    ModelOutput,
)
from triton_operator.api.model_config.version_policy import ModelVersionPolicy
from triton_operator.api.model_config.warmup import ModelWarmup
from triton_operator.api.rules import Rule
from triton_operator.names import CONFIG_HASH_PARAMETER

__all__ = [
    "BatchInput",
    "BatchOutput",
    "DataType",
    "EnsembleStep",
    "ModelConfig",
    "ModelDynamicBatching",
    "ModelEnsembling",
    "ModelInput",
    "ModelInstanceGroup",
    "ModelMetrics",
    "ModelOptimizationPolicy",
    "ModelOutput",
    "ModelParameter",
    "ModelQueuePolicy",
    "ModelRepositoryAgents",
    "ModelResponseCache",
    "ModelSequenceBatching",
    "ModelTransactionPolicy",
    "ModelVersionPolicy",
    "ModelWarmup",
]


class ModelParameter(ProtoMessage):
    """The value of a parameter of the backend."""

    string_value: Text = ""
    """The value, as text."""


_TAG = "^([A-Za-z0-9][A-Za-z0-9_]*)?$"


def _lies_inside(parameter: ModelParameter | None) -> bool:
    path = parameter.string_value if parameter is not None else ""
    return not path.startswith("/") and ".." not in path


class ModelOperations(ProtoMessage):
    """Libraries of custom operations."""

    op_library_filename: Annotated[tuple[RelativePath, ...], Field(max_length=64)] = ()
    """Libraries to load before the model, by path."""


class ModelTransactionPolicy(ProtoMessage):
    """How requests and responses belong together."""

    decoupled: bool = False
    """Whether a request may have no, one or many responses, as streaming models have."""


class ModelRepositoryAgent(ProtoMessage):
    """A program that handles the model's files before they are loaded."""

    name: Name = ""
    """Name of the agent, such as checksum."""
    parameters: Annotated[Mapping[str, Text], Field(max_length=64)] = Field(default_factory=dict)
    """Settings of the agent."""


class ModelRepositoryAgents(ProtoMessage):
    """Programs that handle the model's files before they are loaded."""

    agents: Annotated[tuple[ModelRepositoryAgent, ...], Field(max_length=16)] = ()
    """The agents, in the order in which they run."""


class ModelResponseCache(ProtoMessage):
    """Whether responses of the model are cached."""

    enable: bool = False
    """Whether to cache them; the server needs a responseCache as well."""


class MetricIdentifier(ProtoMessage):
    """Which metrics a setting is for."""

    family: Name = ""
    """Name of the metric family, such as nv_inference_first_response_histogram_ms."""


class HistogramOptions(ProtoMessage):
    """Settings of a histogram."""

    buckets: Annotated[tuple[Double, ...], Field(max_length=128)] = ()
    """Upper bounds of the buckets, in rising order."""


class MetricControl(ProtoMessage):
    """Overrides the settings of some metrics of this model."""

    oneofs: ClassVar[Mapping[str, tuple[str, ...]]] = {"metric_options": ("histogram_options",)}

    metric_identifier: MetricIdentifier | None = None
    """Which metrics are meant."""
    histogram_options: HistogramOptions | None = None
    """Settings of the histogram."""


class ModelMetrics(ProtoMessage):
    """Settings of the metrics of this model."""

    metric_control: Annotated[tuple[MetricControl, ...], Field(max_length=64)] = ()
    """Overrides, one for each metric family."""


class ModelConfig(ProtoMessage):
    """A ``config.pbtxt``, field by field."""

    rules = COHERENCE
    oneofs: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "scheduling_choice": ("dynamic_batching", "sequence_batching", "ensemble_scheduling")
    }

    name: Name = ""
    """Name of the model; set by the operator, so leave it out or write the name of the model."""
    platform: Name = ""
    """Framework of the model by its older name; use backend, except for "ensemble"."""
    backend: Name = ""
    """Backend that runs the model: onnxruntime, pytorch, tensorrt, python, vllm and so on."""
    runtime: Name = ""
    """Shared library or runtime of the backend to use where it has more than one."""
    version_policy: ModelVersionPolicy | None = None
    """Which versions are served; the newest one if left out."""
    max_batch_size: Count32 = 0
    """Largest batch that the model takes; 0 if its tensors have no batch dimension."""
    input: Annotated[tuple[ModelInput, ...], Field(max_length=256)] = ()
    """Inputs that the model requires."""
    output: Annotated[tuple[ModelOutput, ...], Field(max_length=256)] = ()
    """Outputs that the model produces."""
    batch_input: Annotated[tuple[BatchInput, ...], Field(max_length=64)] = ()
    """Extra inputs that describe the batch, made by Triton for the backend."""
    batch_output: Annotated[tuple[BatchOutput, ...], Field(max_length=64)] = ()
    """Outputs of a whole batch that Triton splits into responses."""
    optimization: ModelOptimizationPolicy | None = None
    """How Triton may optimize the execution."""
    dynamic_batching: ModelDynamicBatching | None = None
    """Join single requests into batches; `{}` switches it on with its defaults."""
    sequence_batching: ModelSequenceBatching | None = None
    """Send all requests of a sequence to the same instance, for models that keep state."""
    ensemble_scheduling: ModelEnsembling | None = None
    """Make this model a pipeline of other models."""
    instance_group: Annotated[tuple[ModelInstanceGroup, ...], Field(max_length=32)] = ()
    """How many copies of the model run, and on which devices."""
    default_model_filename: RelativePath = ""
    """File in a version folder that holds the model, where it is not the backend's usual name."""
    cc_model_filenames: Annotated[Mapping[str, RelativePath], Field(max_length=32)] = Field(
        default_factory=dict
    )
    """File that holds the model, by CUDA compute capability such as "8.0"."""
    metric_tags: Annotated[
        Mapping[str, Name],
        Field(max_length=32),
        Rule(
            # Triton's process ends at any other name.
            cel=f"self.all(tag, tag.matches('{_TAG}'))",
            message="metricTags: a name must begin with a letter or digit and have only these and"
            " '_': rename the tag",
            holds=lambda tags: all(re.fullmatch(_TAG, tag) for tag in tags),
        ),
    ] = Field(default_factory=dict)
    """Labels to put on the metrics of this model."""
    parameters: Annotated[
        Mapping[str, ModelParameter],
        Field(max_length=128),
        Rule(
            cel=f"!('{CONFIG_HASH_PARAMETER}' in self)",
            message=f"parameters: {CONFIG_HASH_PARAMETER} is set by the operator: remove it",
            holds=lambda parameters: CONFIG_HASH_PARAMETER not in parameters,
        ),
        Rule(
            cel="!('EXECUTION_ENV_PATH' in self)"
            " || !has(self['EXECUTION_ENV_PATH'].stringValue)"
            " || (!self['EXECUTION_ENV_PATH'].stringValue.startsWith('/')"
            " && !self['EXECUTION_ENV_PATH'].stringValue.contains('..'))",
            message="parameters: EXECUTION_ENV_PATH must lie inside the model's folder: begin it"
            " with $$TRITON_MODEL_DIRECTORY/ and remove any '..'",
            holds=lambda parameters: _lies_inside(parameters.get("EXECUTION_ENV_PATH")),
        ),
    ] = Field(default_factory=dict)
    """Parameters of the backend, such as EXECUTION_ENV_PATH."""
    model_warmup: Annotated[tuple[ModelWarmup, ...], Field(max_length=32)] = ()
    """Requests that are run before the model is called ready."""
    model_operations: ModelOperations | None = None
    """Libraries of custom operations."""
    model_transaction_policy: ModelTransactionPolicy | None = None
    """How requests and responses belong together."""
    model_repository_agents: ModelRepositoryAgents | None = None
    """Programs that handle the model's files before they are loaded."""
    response_cache: ModelResponseCache | None = None
    """Whether responses are cached."""
    model_metrics: ModelMetrics | None = None
    """Settings of the metrics of this model."""
