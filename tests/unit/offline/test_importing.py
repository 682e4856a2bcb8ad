"""An imported repository is the same repository: config for config, file for file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from hypothesis import given, settings
from tritonclient.grpc import model_config_pb2 as pb

from tests.unit.api.strategies import messages_of
from triton_operator import names
from triton_operator.api.meta import Resource
from triton_operator.api.model import TritonModel
from triton_operator.api.model_config import ModelConfig
from triton_operator.cli.import_repository import run_import_repository
from triton_operator.cli.manifest_files import UnusableError
from triton_operator.errors import InvalidSpecError
from triton_operator.offline.check import check
from triton_operator.offline.documents import read_documents
from triton_operator.offline.folder import ModelFolder, RepositoryFolder, read_folder
from triton_operator.offline.importing import Import, Wishes, import_repository, plain
from triton_operator.offline.rendering import render_scope
from triton_operator.repository.config_pbtxt import build_config, from_proto, parse_text, to_proto
from triton_operator.settings import Settings

CONFIGS = sorted((Path(__file__).parent / "configs").glob("*.pbtxt"))
_WEB = "https://models.example/v1"
PREFIX = Wishes(uri_prefix="pvc://models/repository")

Files = Mapping[str, str | bytes]


def make(root: Path, files: Files) -> Path:
    """Write files below a folder; a path that ends with a slash is an empty folder."""
    for path, content in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/"):
            file.mkdir()
        else:
            file.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def imported(root: Path, files: Files, wishes: Wishes = PREFIX) -> Import:
    return import_repository(read_folder(make(root, files)), wishes)


def specs(result: Import, kind: str = names.KIND_MODEL) -> dict[str, dict[str, Any]]:
    return {
        each.manifest["metadata"]["name"]: each.manifest["spec"]
        for each in result.objects
        if each.manifest["kind"] == kind
    }


def text_of(result: Import) -> str:
    return "".join(each.to_yaml() for each in result.objects)


def rendered_configs(result: Import) -> dict[str, pb.ModelConfig]:
    """The configs that the operator would write, by model, without its hash."""
    checked = check([read_documents("f", text_of(result))], strict=True)
    assert checked.report.findings == ()
    configs = {}
    for server in render_scope(checked.scopes[0], Settings()):
        for model in server.models:
            proto = parse_text(model.config)
            del proto.parameters[names.CONFIG_HASH_PARAMETER]
            configs[model.name] = proto
    return configs


def named(text: str, name: str) -> pb.ModelConfig:
    proto = text_format.Parse(text, pb.ModelConfig())
    proto.name = name
    return proto


@pytest.mark.parametrize("own_servers", [False, True])
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_import_and_render_give_an_equal_config(
    path: Path, own_servers: bool, tmp_path: Path
) -> None:
    text, name = path.read_text(), path.stem
    files: dict[str, str | bytes] = {
        f"{name}/config.pbtxt": text, f"{name}/1/model.py": "pass", f"{name}/3/weights": b"\xff"
    }  # fmt: skip
    for step in named(text, name).ensemble_scheduling.step:
        files[f"{step.model_name}/{max(step.model_version, 1)}/model.py"] = "pass"

    result = imported(tmp_path, files, Wishes("pvc://models", own_servers=own_servers))

    assert result.problems == []
    assert rendered_configs(result)[name] == named(text, name)
    (spec,) = (s for n, s in specs(result).items() if s.get("modelName", n) == name)
    assert "configText" not in spec


def test_the_configs_are_of_every_kind() -> None:
    protos = [text_format.Parse(path.read_text(), pb.ModelConfig()) for path in CONFIGS]
    fields = {field.name for proto in protos for field, _ in proto.ListFields()}

    assert fields == {field.name for field in pb.ModelConfig.DESCRIPTOR.fields}


@pytest.mark.exhaustive
@given(messages_of(ModelConfig))
@settings(max_examples=300, deadline=None)
def test_every_config_that_the_api_can_hold_survives_import(config: Resource) -> None:
    assert isinstance(config, ModelConfig)
    try:
        proto = to_proto(config)
        from_proto(proto)
    except InvalidSpecError:
        return
    proto.name = ""
    if proto.version_policy.HasField("specific"):
        proto.version_policy.specific.versions.append(1)  # which is there, below
    text = text_format.MessageToString(proto, as_utf8=True)
    folder = RepositoryFolder(Path("/r"), (ModelFolder("m", text, (), ()),), ())

    result = import_repository(folder, Wishes())

    (document,) = (d for d in read_documents("f", text_of(result)) if d.kind == names.KIND_MODEL)
    body = {**document.body, "spec": {**document.body["spec"]}}
    body["spec"]["versions"] = [{"version": 1, "files": {"x": "y"}}]
    proto.name = "m"
    assert build_config(TritonModel.parse(body).spec, "m") == proto


@given(messages_of(ModelConfig))
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_what_was_set(config: Resource) -> None:
    assert plain(config) == config.manifest()


def test_small_texts_are_inline_and_the_rest_is_fetched(tmp_path: Path) -> None:
    result = imported(
        tmp_path,
        {
            "one/config.pbtxt": "",
            "one/1/model.onnx": b"\xff\x00",
            "one/1/vocabulary.txt": "a\nb\n",
            "one/labels.txt": "cat\ndog\n",
            "one/extra/notes.md": "x",
            "one/.git/x": "x",
            "two/12/model.savedmodel/saved_model.pb": b"\xff",
            "two/12/big.txt": "x" * 70_000,
            "two/3/model.py": "pass",
            "three/1/with space.pt": b"\xff",
        },
    )

    models = specs(result)
    assert result.problems == []
    assert models["one"]["files"] == {"labels.txt": "cat\ndog\n", "extra/notes.md": "x"}
    assert models["one"]["versions"] == [
        {
            "version": 1,
            "source": {"uri": "pvc://models/repository/one/1/model.onnx"},
            "files": {"vocabulary.txt": "a\nb\n"},
        }
    ]
    assert models["two"]["versions"] == [
        {"version": 3, "files": {"model.py": "pass"}},
        {"version": 12, "source": {"uri": "pvc://models/repository/two/12"}},
    ]
    assert models["three"]["versions"][0]["source"] == {"uri": "pvc://models/repository/three/1"}


def test_checksums_are_written_on_request(tmp_path: Path) -> None:
    wishes = Wishes("https://models.example/v1/", checksums=True)

    result = imported(tmp_path, {"a/1/model.pt": b"\xff"}, wishes)

    assert specs(result)["a"]["versions"][0]["source"] == {
        "uri": "https://models.example/v1/a/1/model.pt",
        "sha256": "a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89",
    }


def test_names_become_names_of_objects_and_clients_keep_theirs(tmp_path: Path) -> None:
    models = ["ResNet_50", "resnet-50", "50", "a" * 60, "x.y"]

    result = imported(tmp_path, {f"{name}/1/model.py": "pass" for name in models})

    names_of = {spec.get("modelName", name): name for name, spec in specs(result).items()}
    assert set(names_of) == set(models)
    assert names_of["50"] == "model-50"
    assert names_of["x.y"] == "x-y"
    assert all(len(name) <= 40 for name in names_of.values())
    assert check([read_documents("f", text_of(result))], strict=True).report.findings == ()


ENSEMBLE = """
platform: "ensemble"
input { name: "x" data_type: TYPE_FP32 dims: 1 }
output { name: "y" data_type: TYPE_FP32 dims: 1 }
ensemble_scheduling { step [ { model_name: "first" model_version: -1
  input_map { key: "a" value: "x" } output_map { key: "b" value: "y" } } ] }
"""


def test_an_ensemble_shares_one_server_with_all_that_it_calls(tmp_path: Path) -> None:
    files = {
        "pipe/config.pbtxt": ENSEMBLE,
        "pipe/1/": "",
        "outer/config.pbtxt": ENSEMBLE.replace("first", "pipe")
        .replace('"a"', '"x"')
        .replace('"b"', '"y"'),
        "first/config.pbtxt": 'backend: "python" instance_group { kind: KIND_CPU }',
        "first/1/model.py": "pass",
        "alone/config.pbtxt": "instance_group { gpus: [ 0, 2 ] } response_cache { enable: true }",
        "alone/1/model.py": "pass",
    }

    result = imported(tmp_path / "zoo", files, Wishes(own_servers=True))

    models = specs(result)
    assert specs(result, names.KIND_SERVER) == {"outer": {"gpus": 0}}
    assert {name: spec.get("serverRef") for name, spec in models.items()} == {
        "pipe": {"name": "outer"},
        "outer": {"name": "outer"},
        "first": {"name": "outer"},
        "alone": None,
    }
    assert models["alone"]["server"] == {"gpus": 3, "responseCache": {"size": "256Mi"}}
    assert "versions" not in models["pipe"]
    assert rendered_configs(result).keys() == set(models)


def test_without_a_wish_all_share_a_server_that_is_called_like_the_folder(tmp_path: Path) -> None:
    files = {"a/1/model.py": "pass", "b/1/model.py": "pass"}

    by_folder = imported(tmp_path / "Model_Zoo", files, Wishes())
    by_name = imported(tmp_path / "other", files, Wishes(server="vision", namespace="ml"))

    assert specs(by_folder, names.KIND_SERVER) == {"model-zoo": {}}
    assert specs(by_name, names.KIND_SERVER) == {"vision": {}}
    assert {each.manifest["metadata"].get("namespace") for each in by_name.objects} == {"ml"}


def test_what_cannot_be_carried_is_told(tmp_path: Path) -> None:
    result = imported(
        tmp_path,
        {
            "a/config.pbtxt": "backend python",
            "a/1/model.py": "pass",
            "b/warmup/data": b"\xff",
            "b/1/model.py": "pass",
            "c/1/": "",
            "d/config.pbtxt": 'name: "other" parameters { key: "triton_operator_hash" value { } }',
            "d/1/model.py": "pass",
        },
    )

    told = {problem.removeprefix(f"{tmp_path}/").split(": ")[0] for problem in result.problems}
    assert told == {"a/config.pbtxt", "b/warmup/data", "c/1/"}
    assert "# Left out: warmup/data is no small text" in text_of(result)
    assert specs(result)["a"]["configText"] == "backend python"
    assert "'other' is not the folder's" in text_of(result)
    assert "config" not in specs(result)["d"]


@pytest.mark.parametrize(
    ("files", "fetched"),
    [
        ({"net/1/model.onnx": b"\0"}, f"{_WEB}/net/1/model.onnx"),
        ({"net/1/model.onnx": b"\0", "net/1/labels.txt": "a"}, f"{_WEB}/net/1/model.onnx"),
        ({"net/1/model.onnx": b"\0", "net/1/model.onnx.data": b"\0"}, None),
        ({"net/1/model dir/model.onnx": b"\0"}, None),
    ],
)
def test_a_folder_on_the_web_cannot_be_fetched(
    tmp_path: Path, files: Files, fetched: str | None
) -> None:
    """Nothing there lists it: its address would be taken for that of a file."""
    other = {"net/2/model.py": "pass"}
    result = imported(tmp_path, {**files, **other}, Wishes(uri_prefix=f"{_WEB}/"))
    versions = specs(result)["net"]["versions"]
    assert {"version": 2, "files": {"model.py": "pass"}} in versions
    assert [each["source"] for each in versions if each["version"] == 1] == (
        [{"uri": fetched}] if fetched else []
    )
    why = "1/ has to be fetched as a folder, which HTTP cannot list"
    assert [why.removeprefix("1/ ") in problem for problem in result.problems] == (
        [] if fetched else [True]
    )
    assert (f"# Left out: {why}" in text_of(result)) == (fetched is None)


def test_too_much_text_for_one_server_is_told(tmp_path: Path, capsys: Any) -> None:
    make(tmp_path, {f"m{i}/1/model.py": "x" * 60_000 for i in range(18)})
    fewer = Wishes(uri_prefix="pvc://models", inline_limit=1000)

    assert run_import_repository(str(tmp_path), output_dir="", wishes=Wishes()) == 1
    assert "there is room for" in capsys.readouterr().err
    assert run_import_repository(str(tmp_path), output_dir="", wishes=fewer) == 0


def test_a_config_that_the_api_cannot_hold_stays_text_and_is_told(
    tmp_path: Path, capsys: Any
) -> None:
    text = "dynamic_batching { max_queue_delay_microseconds: 18446744073709551615 }"
    make(tmp_path, {"a/config.pbtxt": text, "a/1/model.py": "pass"})

    assert run_import_repository(str(tmp_path), output_dir="", wishes=Wishes()) == 1

    shown = capsys.readouterr()
    assert "# As text, because the typed form cannot hold it: " in shown.out
    assert yaml.safe_load(shown.out.split("---")[2])["spec"]["configText"]
    assert "TritonModel a: spec.configText" in shown.err


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    make(tmp_path, {"store/model.py": "pass", "repository/a/1/x": "y"})
    version = tmp_path / "repository" / "a" / "2"
    version.symlink_to(tmp_path / "store")
    (tmp_path / "store" / "loop").symlink_to(tmp_path / "store")

    result = import_repository(read_folder(tmp_path / "repository"), Wishes())

    assert specs(result)["a"]["versions"][1] == {"version": 2, "files": {"model.py": "pass"}}


def test_files_are_written_into_a_folder(tmp_path: Path, capsys: Any) -> None:
    root = make(tmp_path / "in", {"a/1/model.py": "pass", "docs/readme.md": "x"})
    out = tmp_path / "out"

    assert run_import_repository(str(root), output_dir=str(out), wishes=Wishes()) == 0

    assert {path.name for path in out.iterdir()} == {"server-in.yaml", "model-a.yaml"}
    assert "docs: passed over" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "wishes", "words"),
    [
        ({}, Wishes(), "holds no model"),
        ({"config.pbtxt": ""}, Wishes(), "folder of one model"),
        ({"a/1/x": b"\xff"}, Wishes(), "--uri-prefix"),
        ({"a/1/x": "y"}, Wishes(server="x", own_servers=True), "exclude each other"),
        ({"a/config.pbtxt": b"\xff"}, Wishes(), "decode"),
    ],
)
def test_what_cannot_be_imported_at_all_is_refused(
    files: Files, wishes: Wishes, words: str, tmp_path: Path
) -> None:
    make(tmp_path, files)

    with pytest.raises(UnusableError, match=words):
        run_import_repository(str(tmp_path), output_dir="", wishes=wishes)
