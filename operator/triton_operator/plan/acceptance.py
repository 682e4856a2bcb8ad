"""Which models of a server can be served as written; what needs more than one object to say."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from triton_operator.api.model import TritonModel
from triton_operator.api.server import TritonServer
from triton_operator.api.version import Source
from triton_operator.errors import InvalidSpecError
from triton_operator.observed import ModelRecord
from triton_operator.plan.ensembles import Versions, check_ensemble, is_ensemble, members
from triton_operator.plan.problems import find_problems
from triton_operator.plan.versions import served_versions
from triton_operator.repository.config_pbtxt import build_config, render, with_hash
from triton_operator.repository.manifest import (
    MAX_GENERATIONS_BYTES,
    Generation,
    SourceRef,
    VersionContent,
    canonical_json,
    generation_hash,
)
from triton_operator.repository.model_config_schema import ModelConfig

BREAKS_ENSEMBLE = "BreaksEnsemble"
"""Reason of a member's update that its ensemble cannot do with, found by us or by a pod."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A model that can be served, and what is to be served."""

    record: ModelRecord
    model: TritonModel
    config: ModelConfig
    generation: Generation


@dataclass(frozen=True, slots=True)
class Rejected:
    """A model that cannot be served as written."""

    record: ModelRecord
    reason: str
    message: str
    orphaned: bool = False
    """It is an ensemble that calls what no TritonModel of the server is: that was deleted."""


Verdict = Accepted | Rejected


def judge_models(
    server: TritonServer, records: Iterable[ModelRecord], *, backends: Collection[str] = ()
) -> tuple[Verdict, ...]:
    """Return the verdict on every model of a server, in the order of their creation.

    ``backends`` are those that the administrator allows; empty for all.
    """
    ordered = sorted(records, key=lambda r: (str(r.meta.creation_timestamp), r.meta.name))
    single = [_judge_alone(server, record, backends) for record in ordered]
    alone = _refuse_large(_refuse_twins(single))
    verdicts: tuple[Verdict, ...] = tuple(_hold_breaking(alone, server.metadata.name))
    while True:
        # An ensemble of an ensemble falls with it: repeat until nothing falls any more.
        configs, versions = _configs(verdicts), _versions(verdicts)
        folders = {v.record.folder for v in verdicts if isinstance(v, Accepted) or not v.orphaned}
        judged = tuple(_judge_ensemble(each, configs, versions, folders) for each in verdicts)
        if len(_configs(judged)) == len(configs):
            return judged
        verdicts = judged


def judge_leaving(record: ModelRecord) -> Verdict:
    """Return the verdict on a model that names another server, but is served by this one still."""
    return Rejected(record, "Leaving", f"it names TritonServer {record.server_name!r} by now")


def _configs(verdicts: Iterable[Verdict]) -> dict[str, ModelConfig]:
    found = {v.model.model_name: v.config for v in verdicts if isinstance(v, Accepted)}
    # What is held back serves on with a config that nobody knows any more.
    held = (v for v in verdicts if isinstance(v, Rejected) and v.reason == BREAKS_ENSEMBLE)
    return {**found, **{v.record.folder: ModelConfig() for v in held}}


def _versions(verdicts: Iterable[Verdict]) -> dict[str, tuple[int, ...]]:
    return {
        v.model.model_name: served_versions(v.model.spec, v.config)
        for v in verdicts
        if isinstance(v, Accepted)
    }


def _hold_breaking(verdicts: Sequence[Verdict], server: str) -> Iterator[Verdict]:
    """Reject updates of members that would break an ensemble which serves and does not change.

    Triton loads such a member, answers 200, and drops the ensemble.
    """
    configs, versions = _configs(verdicts), _versions(verdicts)
    goods = {verdict.record.folder: verdict.record.good_on(server) for verdict in verdicts}
    hashes = {v.record.folder: v.generation.hash for v in verdicts if isinstance(v, Accepted)}
    changing = {name for name, hash_ in hashes.items() if goods[name] not in ("", hash_)}
    broken: dict[str, str] = {}
    for name, config in configs.items():
        if not is_ensemble(config) or goods[name] != hashes[name]:
            continue
        mine = changing.intersection(members(config))
        known = {**configs, **dict.fromkeys(mine, ModelConfig())}
        seen = {m: its for m, its in versions.items() if m not in mine}
        if not mine or check_ensemble(name, known, seen):
            continue
        alone = {
            m: check_ensemble(name, {**known, m: configs[m]}, {**seen, m: versions[m]})
            for m in mine
        }
        together = check_ensemble(name, configs, versions)
        for member, problem in alone.items():
            if problem or (together and not any(alone.values())):
                broken[member] = (
                    f"it would break the ensemble {name!r}, which serves: {problem or together};"
                    " change the ensemble together with it, in one push"
                )
    for verdict in verdicts:
        problem = broken.get(verdict.record.folder)
        if problem is None or not isinstance(verdict, Accepted):
            yield verdict
        else:
            yield Rejected(verdict.record, BREAKS_ENSEMBLE, problem)


def _judge_alone(server: TritonServer, record: ModelRecord, backends: Collection[str]) -> Verdict:
    if record.spec is None:
        error = record.error or InvalidSpecError("the spec cannot be read")
        return Rejected(record, error.reason, str(error))
    model = record.spec
    try:
        config = build_config(model.spec, model.model_name)
    except InvalidSpecError as error:
        return Rejected(record, error.reason, str(error))
    problem = next(find_problems(model, config, server, backends=backends), None)
    if problem is not None:
        return Rejected(record, problem.reason, problem.message)
    return Accepted(record, model, config, _build_generation(model, config))


def _refuse_twins(verdicts: Sequence[Verdict]) -> list[Verdict]:
    taken: dict[str, str] = {}
    judged: list[Verdict] = []
    for verdict in verdicts:
        folder = verdict.record.folder
        first = taken.setdefault(folder, verdict.record.meta.name)
        if isinstance(verdict, Accepted) and first != verdict.record.meta.name:
            judged.append(Rejected(verdict.record, "ModelNameTaken", explain_taken(folder, first)))
        else:
            judged.append(verdict)
    return judged


def explain_taken(folder: str, first: str) -> str:
    """Return what to tell a model whose name the model ``first`` has on the same server."""
    return (
        f"modelName {folder!r} is taken on this server by TritonModel {first!r};"
        " choose another spec.modelName or another server"
    )


def explain_server_taken(name: str) -> str:
    """Return what to tell a model whose own server would be called like somebody else's."""
    return (
        f"TritonServer {name!r} exists and is not this model's; set spec.serverRef.name to {name!r}"
        " to be served by it, or give this model another name"
    )


def _refuse_large(verdicts: Sequence[Verdict]) -> list[Verdict]:
    judged: list[Verdict] = []
    used = 0
    for verdict in verdicts:
        size = 0
        if isinstance(verdict, Accepted):
            size = len(canonical_json(verdict.generation).encode())
        if used + size > MAX_GENERATIONS_BYTES:
            message = (
                f"config and files make {size} bytes, and there is room for"
                f" {MAX_GENERATIONS_BYTES - used} beside the other models of the server; fetch the"
                " large ones with versions[].source, or use another server"
            )
            judged.append(Rejected(verdict.record, "TooLarge", message))
        else:
            used += size
            judged.append(verdict)
    return judged


def _judge_ensemble(
    verdict: Verdict,
    configs: Mapping[str, ModelConfig],
    versions: Versions,
    folders: Collection[str],
) -> Verdict:
    if not isinstance(verdict, Accepted) or not is_ensemble(verdict.config):
        return verdict
    if problem := check_ensemble(verdict.model.model_name, configs, versions):
        orphaned = not set(folders).issuperset(members(verdict.config))
        return Rejected(verdict.record, "InvalidEnsemble", problem, orphaned=orphaned)
    return verdict


def _build_generation(model: TritonModel, config: ModelConfig) -> Generation:
    versions = tuple(
        VersionContent(
            version=version.version,
            source=_build_source(version.source) if version.source else None,
            files=dict(version.files),
        )
        for version in model.spec.versions
    )
    files = dict(model.spec.files)
    digest = generation_hash(render(config), files, versions)
    return Generation(
        object=model.metadata.name,
        hash=digest,
        config=render(with_hash(config, digest)),
        files=files,
        versions=versions,
    )


def _build_source(source: Source) -> SourceRef:
    secret = source.secret_ref.name if source.secret_ref is not None else None
    return SourceRef(source.uri, source.sha256, secret)
