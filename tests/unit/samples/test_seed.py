"""The script that fills the claim: its pod is one that a restricted namespace admits."""

import io
import tarfile
from pathlib import Path

from tests.unit.samples.test_weights import script

seed = script("seed")


def test_the_pod_meets_the_restricted_pod_security_standard() -> None:
    spec = seed.build_pod("model-storage", "image", 60)["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 1000
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["activeDeadlineSeconds"] == 60


def test_the_archive_holds_the_files_under_the_paths_of_the_samples(tmp_path: Path) -> None:
    path = tmp_path / "resnet50/1/model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")

    with tarfile.open(fileobj=io.BytesIO(seed.pack(tmp_path))) as archive:
        assert archive.getnames() == ["resnet50/1/model.onnx"]


def test_the_claim_can_be_read_by_many_pods() -> None:
    claim = seed.build_claim("model-storage", "1Gi", None)
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert "storageClassName" not in claim["spec"]
