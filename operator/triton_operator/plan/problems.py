"""What keeps a server from serving a model, whatever else it serves."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from triton_operator.api.model import TritonModel
from triton_operator.api.server import TritonServer
from triton_operator.repository.model_config_schema import ModelConfig, ModelInstanceGroup


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps a model from being served."""

    reason: str
    message: str


def find_problems(
    model: TritonModel,
    config: ModelConfig,
    server: TritonServer,
    *,
    backends: Collection[str] = (),
) -> Iterator[Problem]:
    """Yield everything that keeps a server from serving a model, whatever else it serves."""
    for message in _check_backend(model, config, backends):
        yield Problem("BackendNotAllowed", message)
    if config.response_cache.enable and server.spec.response_cache is None:
        message = (
            f"config.responseCache is on, but TritonServer {server.metadata.name!r} has no"
            " response cache; set its spec.responseCache or take config.responseCache out"
        )
        yield Problem("ResponseCacheOff", message)
    for message in _check_gpus(config, server):
        yield Problem("GPUNotAvailable", message)
    for message in (*_check_python(config, model), *_check_sources(model)):
        yield Problem("InvalidSpec", message)


def _check_backend(
    model: TritonModel, config: ModelConfig, allowed: Collection[str]
) -> Iterator[str]:
    """Refuse what would run in a backend that the administrator does not allow.

    A model that names none gets the one that its files look like, which nobody here knows.
    """
    runs_nothing = config.platform == "ensemble" and not config.backend
    found = config.backend or config.platform
    if not allowed or runs_nothing or found in allowed:
        return
    typed = "config.backend" if config.backend or not config.platform else "config.platform"
    where = typed if model.spec.config_text is None else "configText"
    said = f"{found} is not" if found else "the one that is named must be"
    yield (
        f"{where}: {said} among the backends that the administrator allows:"
        f" {', '.join(allowed)} (security.allowedBackends of the operator's chart)"
    )


def _check_gpus(config: ModelConfig, server: TritonServer) -> Iterator[str]:
    gpus = server.spec.gpus
    for index, group in enumerate(config.instance_group):
        where = f"config.instanceGroup[{index}]"
        if group.kind == ModelInstanceGroup.KIND_GPU and gpus == 0:
            yield (
                f"{where}.kind is KIND_GPU, but TritonServer {server.metadata.name!r} has no GPU"
                " (spec.gpus: 0); use KIND_CPU or give the server a GPU"
            )
            continue
        beyond = [gpu for gpu in group.gpus if gpu >= gpus]
        if beyond:
            yield (
                f"{where}.gpus names GPU {beyond[0]}, but pods of TritonServer"
                f" {server.metadata.name!r} see only {gpus} (spec.gpus), counted from 0"
            )


def _check_python(config: ModelConfig, model: TritonModel) -> Iterator[str]:
    """Refuse a Python model without its file: its load would never end, nor any later one."""
    if config.backend != "python":
        return
    name = config.default_model_filename or "model.py"
    for version in model.spec.versions:
        if version.source is None and name not in version.files:
            yield (
                f"versions: version {version.version} of a python model needs {name!r};"
                " add it to the version's files"
            )


def _check_sources(model: TritonModel) -> Iterator[str]:
    for index, version in enumerate(model.spec.versions):
        try:
            urlsplit(version.source.uri if version.source is not None else "")
        except ValueError as error:
            yield f"versions[{index}].source.uri is no address ({error}); correct it"
