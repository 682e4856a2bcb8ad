"""``render`` shows exactly what the operator makes."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.offline.files import documents_of, in_pool, pool
from tests.unit.reconcile.world import NAMESPACE, Operator, World
from tests.unit.samples.sample_files import FILES, documents
from triton_operator.api.server import TritonServer
from triton_operator.cli.render import run_render
from triton_operator.desired.control_key import ControlKey
from triton_operator.desired.deployment import build_deployment
from triton_operator.offline.check import check
from triton_operator.offline.rendering import PLACEHOLDER_KEY, RenderedServer, render_scope
from triton_operator.offline.scope import PLACEHOLDER_UID
from triton_operator.settings import Settings

SETTINGS = Settings(server_image="triton:test", sync_image="operator:test")
FOLDERS = sorted({path.parent for path in FILES})


class Recorder(World):
    """A world that keeps what is written into it, as it is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: dict[tuple[str, str], dict[str, Any]] = {}

    async def apply(self, manifest: Any) -> None:
        self._record(manifest)
        await super().apply(manifest)

    async def create(self, manifest: Any) -> None:
        self._record(manifest)
        await super().create(manifest)

    def _record(self, manifest: Any) -> None:
        copied = copy.deepcopy(dict(manifest))
        for owner in copied["metadata"].get("ownerReferences", ()):
            owner["uid"] = PLACEHOLDER_UID
        self.written[(copied["kind"], copied["metadata"]["name"])] = copied


def without_key(objects: dict[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    """The objects, but for what depends on the key: the hashes on a pod template."""
    for (kind, _), manifest in objects.items():
        if kind == "Deployment":
            template = manifest["spec"]["template"]["metadata"]
            template["annotations"] = sorted(template["annotations"])
    return objects


def rendered(*manifests: Any, namespace: str = NAMESPACE) -> tuple[RenderedServer, ...]:
    checked = check([documents_of(*manifests)], namespace=namespace, strict=True)
    assert checked.report.findings == ()
    return tuple(s for scope in checked.scopes for s in render_scope(scope, SETTINGS))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: "-".join(path.parts[-2:]))
async def test_it_is_what_the_first_passes_of_the_operator_write(folder: Path) -> None:
    bodies = [each for path in FILES if path.parent == folder for each in documents(path)]
    world = Recorder()
    for body in bodies:
        world.put(body["kind"], body["metadata"]["name"], body["spec"])
    operator = Operator(world)
    for _ in range(2):  # the first sync of a shared server is the second pass's
        await operator.run_once()

    shown = {
        (manifest["kind"], manifest["metadata"]["name"]): copy.deepcopy(dict(manifest))
        for server in rendered(*bodies)
        for _, manifest in server.objects
        if manifest["kind"] != "Secret"
    }

    assert without_key(shown) == without_key(world.written)
    assert {kind for kind, _ in shown} >= {"Deployment", "Service", "ConfigMap", "Job"}


def test_the_key_and_the_uids_are_placeholders() -> None:
    (server,) = rendered(pool(), in_pool("a"))
    objects = dict(server.objects)

    assert yaml.safe_load(yaml.safe_dump(objects["secret-control-key"]))["data"] == {
        "key": "cGxhY2Vob2xkZXI="
    }
    meta = {"name": "pool", "namespace": "default", "uid": PLACEHOLDER_UID}
    expected = build_deployment(
        TritonServer.parse({"metadata": meta}),
        image="triton:test",
        replicas=1,
        control_key=ControlKey("pool-control-key", PLACEHOLDER_KEY),
        probe_model=None,
    )
    assert objects["deployment"] == expected


def test_the_same_objects_give_the_same_text_whatever_their_order() -> None:
    objects = [pool(), in_pool("a"), in_pool("b", files={"z": "1", "a": "2"})]

    (one,), (other,) = rendered(*objects), rendered(*reversed(objects))

    assert one.to_yaml() == other.to_yaml()
    assert dict(one.files()) == dict(other.files())


def test_the_text_is_yaml_with_the_configs_as_comments() -> None:
    text = 'parameters { key: "a" value { string_value: "b\\nkind: Secret" } }'
    (server,) = rendered(pool(), in_pool("a", configText=text))

    shown = server.to_yaml()

    assert list(yaml.safe_load_all(shown)) == [manifest for _, manifest in server.objects]
    (model,) = server.models
    assert f"#   {model.config.splitlines()[0]}" in shown


def test_files_go_into_a_folder_for_each_server(tmp_path: Path, capsys: Any) -> None:
    options: dict[str, Any] = {
        "namespace": "default", "exclude": (), "server_image": "", "sync_image": "mine:1",
    }  # fmt: skip
    paths = [str(folder) for folder in FOLDERS if folder.name == "gpu"]

    assert run_render(paths, output_dir=str(tmp_path), **options) == 0
    assert capsys.readouterr().out == ""
    pcb = tmp_path / "default" / "pcb"
    assert {path.name for path in pcb.glob("*.yaml")} == {
        "secret-control-key.yaml", "service.yaml",
        "deployment.yaml", "configmap-manifest.yaml", "job-sync.yaml",
    }  # fmt: skip
    assert (pcb / "models" / "pcb_pipeline" / "config.pbtxt").is_file()
    assert "mine:1" in (pcb / "job-sync.yaml").read_text()
    assert (tmp_path / "default" / "resnet50" / "tritonserver.yaml").is_file()


def test_what_validate_refuses_is_not_rendered(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(in_pool("a", modelName="a/b")))
    options: dict[str, Any] = {
        "namespace": "default", "exclude": (), "server_image": "", "sync_image": "",
    }  # fmt: skip

    assert run_render([str(file)], output_dir="", **options) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "spec.modelName" in shown.err
    assert "spec.serverRef.name" in shown.err

    file.write_text("[")
    assert run_render([str(file)], output_dir="", **options) == 2
