"""``kubectl triton``, called through kubectl itself, about models that are really served."""

import json
import os
import secrets
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.cluster.settings import PERF_IMAGE
from tests.cluster.support.kube import kubectl
from tests.cluster.support.load import Load
from tests.cluster.support.manifests import SMALL, adds, model, server, version
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World, names

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
QUICK = ("--measurement-interval", "500", "--stability-percentage", "900")
"""Arguments of perf_analyzer: a machine busy with other tests is not asked for steady times."""
MEANS = """\
import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        picture = pb.get_input_tensor_by_name(request, "PICTURE").as_numpy()
        means = picture.mean(axis=(1, 2)).astype(np.float32)
        return pb.InferenceResponse([pb.Tensor("MEANS", means)])
"""


@dataclass(frozen=True)
class Plugin:
    """The console script that pip makes, in a folder that kubectl looks for its plugins in."""

    folder: Path
    namespace: str

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "operator"),
            "COLUMNS": "200",
        }

    def command(self, command: str, *arguments: str) -> list[str]:
        return ["kubectl", "triton", command, "-n", self.namespace, *arguments]

    def call(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment() | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextmanager
    def running(self, *arguments: str, **streams: Any) -> Iterator["subprocess.Popen[str]"]:
        """Start a command that can be interrupted; what then still runs is ended with the block."""
        # A shell that runs the tests in its background has interrupts ignored.
        command = ["env", "--default-signal=INT", *self.command(*arguments)]
        process = subprocess.Popen(command, env=self.environment(), text=True, **streams)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def says(self, *arguments: str) -> str:
        """Return what a command that has to succeed prints."""
        done = self.call(*arguments)
        assert done.returncode == 0, f"exit status {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def refuses(self, *arguments: str, code: int, **environment: str) -> str:
        """Return what a command says that has to fail, in one line and without a stack."""
        done = self.call(*arguments, **environment)
        assert done.returncode == code, f"exit status {done.returncode}: {done.stdout}{done.stderr}"
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("kubectl triton: ")
        assert "Traceback" not in done.stderr
        return last


@pytest.fixture(scope="module")
def plugin(world: World, tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["kubectl-triton"].partition(":")
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "kubectl-triton"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
    )
    script.chmod(0o755)
    return Plugin(folder, world.namespace)


@pytest.fixture(scope="module", autouse=True)
def served(world: World) -> World:
    """A model with its own server of two pods, which adds one."""
    world.apply(model("plus", version(1, adds(1)), server={**SMALL, "replicas": 2}))
    world.wait_ready("plus")
    world.wait_pods("plus", 2)
    world.service("plus")
    return world


def test_status_shows_what_the_cluster_knows(served: World, plugin: Plugin) -> None:
    status = served.status("TritonModel", "plus")
    text = plugin.says("status", "plus")

    assert f"{served.namespace}/plus  2/2 ready" in text
    assert f"Ready  Serving  version 1  {status['configHash'][:10]}  on 2/2 pods" in text
    for pod in served.pods("plus"):
        assert f"{pod.name}  ready  on {pod.node}" in text


def test_status_for_programs_asks_each_pod_what_it_serves(served: World, plugin: Plugin) -> None:
    (found,) = json.loads(plugin.says("status", "plus", "--ask", "-o", "json"))["servers"]

    config_hash = served.status("TritonModel", "plus")["configHash"]
    assert found["models"][0]["configHash"] == config_hash
    assert {pod["name"]: pod["serves"] for pod in found["pods"]} == {
        pod.name: {"plus": config_hash} for pod in served.pods("plus")
    }


def test_status_says_what_is_wrong(served: World, plugin: Plugin) -> None:
    served.apply(model("lost", version(1, adds(1)), on="nowhere"))
    served.wait_condition("TritonModel", "lost", "Ready", "False")

    text = plugin.says("status")

    assert f"{served.namespace}/nowhere  there is no TritonServer of this name" in text
    assert "lost  not ready  ServerNotFound" in text


def test_top_measures_servers_without_autoscaling(served: World, plugin: Plugin) -> None:
    with Load(served.service("plus"), "plus", http_clients=1, grpc_clients=0) as load:
        head, *rows = plugin.says("top", "--once", "--interval", "2").splitlines()
    assert not load.failed()

    columns = head.split()
    row = next(line.split() for line in rows if line.startswith("plus"))
    assert columns[:3] == ["MODEL", "SERVER", "REQ/S"]
    assert 1 < float(row[2]) < 60
    assert row[-2:] == ["2/2", "2"]


def test_logs_of_all_pods(served: World, plugin: Plugin) -> None:
    lines = plugin.says("logs", "plus").splitlines()

    for pod in served.pods("plus"):
        said = [line for line in lines if line.startswith(f"{pod.name}  ")]
        assert any("successfully loaded 'plus'" in line for line in said)


def test_logs_of_the_last_sync(served: World, plugin: Plugin) -> None:
    (job,) = served.all("Job", "plus")

    lines = plugin.says("logs", "plus", "--sync").splitlines()

    assert lines
    assert all(line.startswith(f"{job['metadata']['name']}-") for line in lines)


def test_logs_are_followed(served: World, plugin: Plugin, tmp_path: Path) -> None:
    served.apply(server("shared"), model("first", version(1, adds(1)), on="shared"))
    served.wait_ready("first")
    output = tmp_path / "log"
    with (
        output.open("w") as file,
        plugin.running("logs", "shared", "--follow", stdout=file) as process,
    ):
        wait_for("the log so far", lambda: "'first'" in output.read_text(), 30)
        served.apply(model("second", version(1, adds(2)), on="shared"))
        wait_for(
            "what happens since",
            lambda: "successfully loaded 'second'" in output.read_text(),
            30,
            seen=output.read_text,
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


def test_infer_with_a_value(plugin: Plugin) -> None:
    text = plugin.says("infer", "plus", "--input", "IN=41")

    assert "→ IN  FP32 [1, 1]  41" in text
    assert "← OUT  FP32 [1, 1]  42" in text
    assert "ms, through the API server" in text


def test_infer_with_random_data(plugin: Plugin, figure: Callable[[str], None]) -> None:
    sent = plugin.says("infer", "plus", "--seed", "7", "--repeat", "20")
    answer = json.loads(plugin.says("infer", "plus", "--seed", "7", "-o", "json"))

    (output,) = answer["outputs"]
    assert output["shape"] == [1, 1]
    assert 1 <= output["data"][0] < 2
    assert f"← OUT  FP32 [1, 1]  {output['data'][0]:.6g}" in sent
    figure(f"kubectl triton infer: {sent.splitlines()[-1]}")


def test_infer_with_files(plugin: Plugin, tmp_path: Path) -> None:
    values = tmp_path / "values.json"
    values.write_text("[[1], [2], [3]]")

    text = plugin.says("infer", "plus", "-i", f"@{values}", "--version", "1")

    assert "← OUT  FP32 [3, 1]  2 3 4" in text


def test_infer_with_a_picture(served: World, plugin: Plugin, tmp_path: Path) -> None:
    config = {
        "backend": "python",
        "maxBatchSize": 4,
        "input": [{"name": "PICTURE", "dataType": "TYPE_UINT8", "dims": [6, 4, 3]}],
        "output": [{"name": "MEANS", "dataType": "TYPE_FP32", "dims": [3]}],
        "instanceGroup": [{"kind": "KIND_CPU", "count": 1}],
    }
    served.apply(model("means", version(1, MEANS), config=config))
    served.wait_ready("means")
    served.service("means")
    picture = tmp_path / "picture.png"
    Image.new("RGB", (32, 16), (10, 20, 30)).save(picture)

    text = plugin.says("infer", "means", "-i", f"@{picture}")

    assert "→ PICTURE  UINT8 [1, 6, 4, 3]  10 20 30 10 20 30" in text
    assert "← MEANS  FP32 [1, 3]  10 20 30" in text


def test_profile_measures_with_perf_analyzer(served: World, plugin: Plugin) -> None:
    head, *rows = plugin.says(
        *("profile", "plus", "--image", PERF_IMAGE, "--concurrency", "1:2"),
        *("--", *QUICK),
    ).splitlines()

    assert head.split()[:2] == ["CONCURRENCY", "INFER/S"]
    assert [row.split()[0] for row in rows] == ["1", "2"]
    assert all(float(row.split()[1]) > 1 for row in rows)
    wait_for("its Job is gone", lambda: not profile_jobs(served), 20)


def test_profile_says_why_it_measured_nothing(served: World, plugin: Plugin) -> None:
    told = plugin.refuses("profile", "plus", "--image", PERF_IMAGE, "--version", "9", code=1)
    assert "exit code 99" in told
    assert "failed to get model metadata" in told

    told = plugin.refuses("profile", "plus", "--image", "localhost/no-such-image:1", code=1)
    assert "perf_analyzer cannot start: ErrImage" in told
    assert "--image names another" in told
    wait_for("their Jobs are gone", lambda: not profile_jobs(served), 20)


def test_profile_that_is_interrupted_leaves_nothing(served: World, plugin: Plugin) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    measured = ("profile", "plus", "--image", PERF_IMAGE, "--concurrency", "1:50")
    with plugin.running(*measured, **pipes) as process:
        assert process.stderr is not None
        # It measures by now.
        assert any("Request concurrency: 1" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "Traceback" not in told
    wait_for("its Job is gone", lambda: not profile_jobs(served), 20)


def profile_jobs(world: World) -> list[str]:
    return [name for name in names(world.all("Job")) if name.startswith("profile-")]


def test_what_cannot_be_done_is_told_with_the_mend(plugin: Plugin) -> None:
    assert "there is no TritonModel plsu" in plugin.refuses("infer", "plsu", code=2)
    assert "did you mean plus?" in plugin.refuses("status", "plsu", code=2)
    assert "its inputs are IN" in plugin.refuses("infer", "plus", "-i", "INN=1", code=2)
    assert "Triton refused" in plugin.refuses("infer", "plus", "--version", "9", code=1)
    nothing = plugin.refuses("status", code=1, KUBECONFIG="/nonexistent/config")
    assert "set KUBECONFIG" in nothing


@dataclass(frozen=True)
class Account:
    """A service account, and a kubeconfig that logs in as it."""

    name: str
    kubeconfig: str


@pytest.fixture
def nobody(served: World, tmp_path: Path) -> Account:
    """An account without any rights."""
    name = f"nobody-{secrets.token_hex(3)}"
    account = kubectl("create", "serviceaccount", name, "-n", served.namespace)
    assert account.returncode == 0, account.stderr
    token = kubectl("create", "token", name, "-n", served.namespace).stdout.strip()
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json").stdout)
    config["users"][0]["user"] = {"token": token}
    file = tmp_path / "config"
    file.write_text(json.dumps(config))
    return Account(name, str(file))


def test_who_may_not_is_told_what_is_missing(plugin: Plugin, nobody: Account) -> None:
    told = plugin.refuses("status", code=1, KUBECONFIG=nobody.kubeconfig)

    assert "you may not do this" in told
    assert "cannot list" in told


def test_the_rights_in_the_documentation_suffice(
    served: World, plugin: Plugin, nobody: Account
) -> None:
    page = (ROOT / "docs" / "kubectl-plugin.md").read_text()
    role = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    applied = kubectl("apply", "-n", served.namespace, "-f", "-", stdin=role)
    assert applied.returncode == 0, applied.stderr
    subject = f"--serviceaccount={served.namespace}:{nobody.name}"
    name = role["metadata"]["name"]
    bound = kubectl(
        "create", "rolebinding", name, "-n", served.namespace, f"--role={name}", subject
    )
    assert bound.returncode == 0, bound.stderr

    for arguments in (
        ("status", "--ask"),
        ("top", "--once"),
        ("logs", "plus", "--tail", "1"),
        ("infer", "plus"),
        ("profile", "plus", "--image", PERF_IMAGE, "--concurrency", "1", "--", *QUICK),
    ):
        done = plugin.call(*arguments, KUBECONFIG=nobody.kubeconfig)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
