"""From a model repository on disk to the objects that make the operator write the same one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from triton_operator import names
from triton_operator.api.meta import Resource
from triton_operator.errors import InvalidSpecError
from triton_operator.offline.dump import dump
from triton_operator.offline.folder import ModelFolder, RepositoryFile, RepositoryFolder
from triton_operator.offline.naming import Naming
from triton_operator.offline.pools import Pool, build_server_spec, plan_pools
from triton_operator.repository.config_pbtxt import from_proto, parse_text, render, to_proto
from triton_operator.repository.model_config_schema import ModelConfig
from triton_operator.repository.sources import is_web

INLINE_LIMIT: Final = 65_536
"""Bytes of a text file that is still written into the object."""
_MAX_INLINE_FILES: Final = 64


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user decides about an import."""

    uri_prefix: str = ""
    """Where the repository lies for the cluster; its models' folders are right below."""
    namespace: str = ""
    server: str = ""
    """Name of the server for all models; empty for the name of the folder."""
    own_servers: bool = False
    """A server for each model, but one for an ensemble and all that it calls."""
    inline_limit: int = INLINE_LIMIT
    checksums: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """One object that was made."""

    manifest: dict[str, Any]
    comments: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """A name for a file of its own."""
        kind = "server" if self.manifest["kind"] == names.KIND_SERVER else "model"
        return f"{kind}-{self.manifest['metadata']['name']}.yaml"

    def to_yaml(self) -> str:
        """Return the object as a document."""
        return dump(self.manifest, comments=self.comments)


@dataclass
class Import:
    """What became of a repository."""

    objects: list[Imported] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What the objects cannot carry: path and reason."""
    needs_prefix: bool = False
    """Files must be fetched from somewhere, but no prefix was given."""


@dataclass(frozen=True, slots=True)
class _Config:
    """A config as it was read, without its name and what the operator wrote into it."""

    proto: ModelConfig
    fields: Mapping[str, Any]
    """What it becomes in the spec."""
    comments: tuple[str, ...] = ()


def import_repository(folder: RepositoryFolder, wishes: Wishes) -> Import:
    """Return the objects of all models of a repository, servers first."""
    result = Import()
    naming = Naming()
    configs = {model.name: _read_config(model, folder, result) for model in folder.models}
    objects = {model.name: naming.object_name(model.name) for model in folder.models}
    pools = plan_pools(
        {name: config.proto for name, config in configs.items()},
        objects,
        shared=None if wishes.own_servers else wishes.server or folder.root.resolve().name,
    )
    for pool in pools:
        if pool.server is not None:
            result.objects.append(_build_server(pool, configs, wishes))
    by_model = {name: pool for pool in pools for name in pool.models}
    for model in folder.models:
        pool = by_model[model.name]
        spec: dict[str, Any] = {}
        if objects[model.name] != model.name:
            spec["modelName"] = model.name
        if pool.server is not None:
            spec["serverRef"] = {"name": pool.server}
        elif own := build_server_spec([configs[model.name].proto]):
            spec["server"] = own
        spec |= configs[model.name].fields
        content = _Content(folder, model, wishes, result)
        spec |= content.fields(configs[model.name].proto)
        manifest = _manifest(names.KIND_MODEL, objects[model.name], spec, wishes)
        comments = (*configs[model.name].comments, *content.comments)
        result.objects.append(Imported(manifest, comments))
    return result


def _build_server(pool: Pool, configs: Mapping[str, _Config], wishes: Wishes) -> Imported:
    assert pool.server is not None
    spec = build_server_spec([configs[name].proto for name in pool.models])
    comments = []
    if "responseCache" in spec:
        comments.append("responseCache: its size was an argument of tritonserver; set it to yours.")
    return Imported(_manifest(names.KIND_SERVER, pool.server, spec, wishes), tuple(comments))


def _manifest(kind: str, name: str, spec: Mapping[str, Any], wishes: Wishes) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": wishes.namespace} if wishes.namespace else {})
    return {
        "apiVersion": names.API_VERSION,
        "kind": kind,
        "metadata": metadata,
        "spec": dict(spec),
    }


def _read_config(model: ModelFolder, folder: RepositoryFolder, result: Import) -> _Config:
    """Return a config, typed if that says all of it, else as text."""
    if model.config is None:
        return _Config(ModelConfig(), {})
    where = f"{folder.root / model.name}/config.pbtxt"
    try:
        proto = parse_text(model.config)
    except InvalidSpecError as error:
        message = str(error).removeprefix("spec.configText: ")
        result.problems.append(f"{where}: {message}")
        return _Config(ModelConfig(), {"configText": model.config}, (f"Unreadable: {message}",))
    comments = []
    if proto.name not in ("", model.name):
        comments.append(f"The config's name {proto.name!r} is not the folder's and was left out.")
    proto.ClearField("name")
    proto.parameters.pop(names.CONFIG_HASH_PARAMETER, None)
    try:
        typed = from_proto(proto)
        if to_proto(typed) == proto:
            fields = plain(typed)
            return _Config(proto, {"config": fields} if fields else {}, tuple(comments))
        why = "its typed form would not say the same"
    except InvalidSpecError as error:
        why = str(error)
    comments.append(f"As text, because the typed form cannot hold it: {why}")
    return _Config(proto, {"configText": render(proto)}, tuple(comments))


def plain(value: Any) -> Any:
    """Return a typed value as JSON, with what is set in it, maps sorted by their keys."""
    match value:
        case Resource():
            fields = type(value).model_fields
            return {
                str(fields[name].alias): plain(getattr(value, name))
                for name in fields
                if name in value.model_fields_set and getattr(value, name) is not None
            }
        case Mapping():
            return {str(key): plain(value[key]) for key in sorted(value)}
        case tuple():
            return [plain(each) for each in value]
    return value


class _Content:
    """The files of one model: inline what is small text, fetch the rest."""

    def __init__(
        self, folder: RepositoryFolder, model: ModelFolder, wishes: Wishes, result: Import
    ) -> None:
        self._folder, self._model, self._wishes, self._result = folder, model, wishes, result
        self.comments: list[str] = []

    def fields(self, config: ModelConfig) -> dict[str, Any]:
        """Return ``versions`` and ``files`` of the spec."""
        versions = []
        for number, files in self._model.versions:
            if files:
                versions += self._version(number, files)
            elif not config.HasField("ensemble_scheduling"):
                self._lose(f"{number}/", "is empty: a version needs files")
        fields: dict[str, Any] = {"versions": versions} if versions else {}
        texts, others = self._split(self._model.files)
        for file in others:
            self._lose(file.path, "is no small text, and only a version can fetch files")
        return fields | ({"files": texts} if texts else {})

    def _version(self, number: int, files: tuple[RepositoryFile, ...]) -> list[dict[str, Any]]:
        """Return one version, none if its files cannot be fetched."""
        texts, others = self._split(files)
        if len(texts) > _MAX_INLINE_FILES:
            texts, others = {}, list(files)
        fields: dict[str, Any] = {"version": number}
        if others:
            source = self._source(number, others)
            if source is None:
                self._lose(
                    f"{number}/",
                    "has to be fetched as a folder, which HTTP cannot list: put it on a claim or"
                    " into a bucket",
                )
                return []
            fields["source"] = source
        return [fields | ({"files": texts} if texts else {})]

    def _source(self, number: int, files: list[RepositoryFile]) -> dict[str, str] | None:
        """Return where files are fetched from, None if they cannot be from below the prefix."""
        if not self._wishes.uri_prefix:
            self._result.needs_prefix = True
        uri = f"{self._wishes.uri_prefix.rstrip('/')}/{self._model.name}/{number}"
        name = files[0].path
        simple = name.isascii() and name.isprintable() and "/" not in name and " " not in name
        if len(files) > 1 or not simple:
            return None if is_web(uri) else {"uri": uri}
        checksum = {"sha256": files[0].sha256()} if self._wishes.checksums else {}
        return {"uri": f"{uri}/{name}"} | checksum

    def _split(
        self, files: Iterable[RepositoryFile]
    ) -> tuple[dict[str, str], list[RepositoryFile]]:
        """Return the small texts by path, and the other files."""
        texts, others = {}, []
        for file in files:
            text = file.read_text(self._wishes.inline_limit)
            if text is None:
                others.append(file)
            else:
                texts[file.path] = text
        return texts, others

    def _lose(self, path: str, why: str) -> None:
        self._result.problems.append(f"{self._folder.root / self._model.name}/{path}: {why}")
        self.comments.append(f"Left out: {path} {why}.")
