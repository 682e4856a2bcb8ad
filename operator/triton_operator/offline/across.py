"""The mistakes that only several objects together have: what the operator would refuse.

The checks are the operator's own. The operator stops at the first problem of a model, and a model
that falls takes the ensembles along that call it; here every problem is told once, where it is.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePath

from triton_operator.api.model import TritonModel
from triton_operator.autoscaling.explain import DECOUPLED
from triton_operator.errors import InvalidSpecError
from triton_operator.offline.documents import Place
from triton_operator.offline.findings import Finding, Severity, find
from triton_operator.offline.scope import Group, Model, Scope
from triton_operator.plan import acceptance, ensembles
from triton_operator.plan.problems import find_problems
from triton_operator.plan.versions import served_versions
from triton_operator.repository.config_pbtxt import build_config
from triton_operator.repository.model_config_schema import ModelConfig

_FIELD = re.compile(r"(spec(?:\.\w+|\[\d+\])*): ")
_TEXT_LINE = re.compile(r"(\d+):\d+ ")
_STEP_NUMBER = re.compile(r"step (\d+)")
_STEP_NAME = re.compile(r"step '([^']+)'")
_ENSEMBLE = "spec.config.ensembleScheduling"


def check_scope(scope: Scope, *, strict: bool) -> Iterator[Finding]:
    """Yield the mistakes across the objects of a scope.

    A model that names a server which is not among the files gets a warning, for it may be in the
    cluster; a mistake if ``strict``.
    """
    for first, later in scope.repeated:
        message = (
            f"is in {first.file}:{first.place('').line} already, and one would replace the other:"
            " rename or remove one of them"
        )
        if PurePath(first.file).parent != PurePath(later.file).parent:
            message += ", or use validate --each-folder if they are for different clusters"
        yield find(later, "metadata.name", message, reason="Repeated")
    for group in scope.groups():
        yield from _check_group(group, strict=strict)
    yield from _check_own_servers(scope)


def _check_own_servers(scope: Scope) -> Iterator[Finding]:
    """Yield models whose own server would need the name of somebody else's."""
    given = {server.key for server in scope.servers if server.document is not None}
    for model in scope.models:
        if model.record.owns_server and model.record.key in given:
            message = acceptance.explain_server_taken(model.record.meta.name)
            yield find(model.document, "metadata.name", message, reason="ServerNameTaken")


def _check_group(group: Group, *, strict: bool) -> Iterator[Finding]:
    if group.server is None:
        yield from (_missing_server(model, strict=strict) for model in group.models)
    configs: dict[str, ModelConfig] = {}
    versions: dict[str, tuple[int, ...]] = {}
    served: list[tuple[Model, TritonModel, ModelConfig]] = []
    taken: dict[str, str] = {}
    for model in sorted(group.models, key=lambda each: each.record.meta.name):
        name = model.record.meta.name
        first = taken.setdefault(model.folder, name)
        if first != name:
            message = acceptance.explain_taken(model.folder, first)
            field = "spec.modelName" if model.document.has("spec.modelName") else "metadata.name"
            yield find(model.document, field, message, reason="ModelNameTaken")
        # What cannot be read is there all the same: ensembles that call it are not wrong for it.
        config = ModelConfig(name=model.folder)
        if model.record.spec is not None:
            try:
                config = build_config(model.record.spec.spec, model.folder)
                served.append((model, model.record.spec, config))
                if first == name:
                    versions[model.folder] = served_versions(model.record.spec.spec, config)
            except InvalidSpecError as error:
                yield _refused_config(model, error)
        configs.setdefault(model.folder, config)
    for model, spec, config in served:
        yield from _check_alone(group, model, spec, config)
        yield from _check_ensemble(group, model, config, configs, versions, strict=strict)
    yield from _check_size(group)
    yield from _check_autoscaling(group, configs)


def _check_autoscaling(group: Group, configs: Mapping[str, ModelConfig]) -> Iterator[Finding]:
    """Yield models whose load the autoscaler of their server cannot see."""
    server = group.server
    if server is None or server.document is None or group.judge().spec.autoscaling is None:
        return
    for name, config in sorted(configs.items()):
        # The vLLM backend completes the configs of its models to that.
        if config.model_transaction_policy.decoupled or config.backend == "vllm":
            message = (
                f"the load of {name} cannot be seen: {DECOUPLED}. No pod would be taken away, and"
                " none added for it: set replicas, or have an HPA or KEDA set them from metrics"
                " of its own"
            )
            yield find(
                server.document,
                "spec.autoscaling",
                message,
                reason="LoadUnseen",
                severity=Severity.WARNING,
            )


def _check_size(group: Group) -> Iterator[Finding]:
    """Yield the models whose text does not fit beside the others of their server."""
    verdicts = acceptance.judge_models(group.judge(), (model.record for model in group.models))
    refused = {
        verdict.record.key: verdict.message
        for verdict in verdicts
        if isinstance(verdict, acceptance.Rejected) and verdict.reason == "TooLarge"
    }
    for model in group.models:
        if message := refused.get(model.record.key):
            field = "spec.versions" if model.document.has("spec.versions") else "spec"
            yield find(model.document, field, message, reason="TooLarge")


def _check_alone(
    group: Group, model: Model, spec: TritonModel, config: ModelConfig
) -> Iterator[Finding]:
    for problem in find_problems(spec, config, group.judge()):
        field = re.match(r"[\w.\[\]]+", problem.message)
        path = f"spec.{field[0].rstrip('.')}" if field is not None else "spec"
        if spec.spec.config_text is not None and path.startswith("spec.config."):
            path = "spec.configText"
        yield find(model.document, path, problem.message, reason=problem.reason)


def _check_ensemble(
    group: Group,
    model: Model,
    config: ModelConfig,
    configs: Mapping[str, ModelConfig],
    versions: ensembles.Versions,
    *,
    strict: bool,
) -> Iterator[Finding]:
    if not ensembles.is_ensemble(config):
        return
    present = {**configs, model.folder: config}
    for message in ensembles.find_problems(model.folder, present, versions):
        field = "spec.configText" if model.document.has("spec.configText") else _ENSEMBLE
        place = model.document.place(_step_field(message, config) if field == _ENSEMBLE else field)
        finding = find(model.document, field, message, reason="InvalidEnsemble", place=place)
        if group.server is None and "which no accepted" in message and not strict:
            # Where the server is, the member may be as well.
            finding = replace(finding, severity=Severity.WARNING)
        yield finding


def _step_field(message: str, config: ModelConfig) -> str:
    """Return the path of the step that a message is about; of the ensemble if it names none."""
    if number := _STEP_NUMBER.search(message):
        part = ".modelVersion" if "asks for modelVersion" in message else ""
        return f"{_ENSEMBLE}.step[{int(number[1]) - 1}]{part}"
    if name := _STEP_NAME.search(message):
        names = [step.model_name for step in config.ensemble_scheduling.step]
        if name[1] in names:
            return f"{_ENSEMBLE}.step[{names.index(name[1])}]"
    if message.startswith("maxBatchSize"):
        return "spec.config.maxBatchSize"
    return _ENSEMBLE


def _refused_config(model: Model, error: InvalidSpecError) -> Finding:
    message = str(error)
    field = "spec.configText" if model.document.has("spec.configText") else "spec.config"
    if named := _FIELD.match(message):
        field, message = named[1], message[named.end() :]
    place: Place | None = None
    if field == "spec.configText" and (line := _TEXT_LINE.match(message)):
        place = model.document.text_place(field, int(line[1]))
    return find(model.document, field, message, reason=error.reason, place=place)


def _missing_server(model: Model, *, strict: bool) -> Finding:
    namespace, name = model.record.meta.namespace, model.record.server_name
    message = (
        f"there is no TritonServer {name!r} of namespace {namespace!r} among the files: add it to"
        " them, or see to it that the cluster has it"
    )
    severity = Severity.MISTAKE if strict else Severity.WARNING
    field = "spec.serverRef.name"
    return find(model.document, field, message, reason="ServerNotFound", severity=severity)
