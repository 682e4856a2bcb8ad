"""The test cluster's own judgements: what it may end, remove and provision."""

import io
import json
import os
import socket
import tarfile
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.cluster import images, layout, leftovers, network, processes, provisioner, settings

FOLDERS = settings.Folders(cache=Path("/cache"), state=Path("/state"))


def test_rules_of_others_survive_the_removal_of_ours():
    saved = "*nat\n:KUBE-SERVICES - [0:0]\n-A POSTROUTING -j CNI-12\n-A INPUT -j ACCEPT\nCOMMIT\n"
    assert network.without_our_rules(saved) == "*nat\n-A INPUT -j ACCEPT\nCOMMIT\n"


def test_inner_mounts_are_unmounted_first_and_others_never():
    mountinfo = "\n".join(
        f"1 1 0:1 / {point} rw - tmpfs tmpfs rw" for point in ("/state/a", "/state/a/b", "/stated")
    )
    assert leftovers.mounts_below(Path("/state"), mountinfo) == ["/state/a/b", "/state/a"]


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        ([str(FOLDERS.bin / "kubelet"), "--config=/state/kubelet.json"], True),
        (["/usr/bin/etcd", "--data-dir=/state/etcd"], True),
        (["/usr/bin/python3", "-m", "tests.cluster.provisioner", "/state/k"], True),
        ([str(FOLDERS.bin / "kubectl"), "--kubeconfig", "/state/kubeconfig"], False),
        (["/usr/bin/etcd", "--data-dir=/var/lib/etcd"], False),
        (["/usr/bin/less", "/state/log/kubelet.log"], False),
        ([], False),
    ],
)
def test_only_programs_on_files_of_the_cluster_are_ended(words, ours):
    assert leftovers.is_program(words, FOLDERS) is ours


def test_a_process_id_that_somebody_else_holds_by_now_is_not_ours(tmp_path):
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (tmp_path / "pid").mkdir()
    record = processes.Record(pid=os.getpid(), started=1, boot=boot)
    (tmp_path / "pid" / "etcd").write_text(json.dumps(asdict(record)))
    assert processes.running(tmp_path, "etcd") is None


def test_a_claim_is_provisioned_once():
    claim = {"metadata": {}, "spec": {"storageClassName": settings.STORAGE_CLASS}}
    assert provisioner.wants_volume(claim)
    bound = {**claim, "spec": {**claim["spec"], "volumeName": "pvc-1"}}
    assert not provisioner.wants_volume(bound)


def test_an_archive_names_its_image_and_carries_only_the_wanted_blobs(tmp_path):
    blobs = tmp_path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (blobs / "aa").write_text("layer")
    manifest = {"config": {"digest": "sha256:cc"}, "layers": [{"digest": "sha256:aa"}]}
    file = io.BytesIO()
    layout.write_archive(file, "localhost/x:1", tmp_path, manifest, ["sha256:aa"])
    file.seek(0)
    with tarfile.open(fileobj=file) as archive:
        names = archive.getnames()
        index = json.load(archive.extractfile("index.json"))
    assert "blobs/sha256/aa" in names
    assert "blobs/sha256/cc" not in names
    assert "localhost/x:1" in index["manifests"][0]["annotations"].values()


def test_only_index_settings_of_the_host_reach_a_build():
    listed = "global.cert='/host/ca'\nglobal.index-url='http://index.test/simple'\n"
    text = images.pip_configuration(listed, "/run/secrets/ca")
    assert text == "[global]\ncert = /run/secrets/ca\nindex-url = http://index.test/simple\n"


def test_the_socket_for_device_plugins_goes_with_the_last_kubelet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("kubelet/device-plugins/kubelet.sock")  # an address has to be short
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as kubelet:
        kubelet.bind(str(path))
        kubelet.listen()
        leftovers.remove_device_socket(path)
        assert path.exists(), "somebody else's"

    leftovers.remove_device_socket(path)
    assert not path.parent.parent.exists()
