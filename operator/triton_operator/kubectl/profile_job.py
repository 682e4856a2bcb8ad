"""The Job that measures a model with NVIDIA's perf_analyzer, from inside the cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from triton_operator import names
from triton_operator.api.pod_template import PodTemplate
from triton_operator.desired.metadata import Manifest
from triton_operator.desired.pod_security import build_container_security, build_pod_security
from triton_operator.desired.service import GRPC_PORT, HTTP_PORT

CONTAINER = "perf-analyzer"
MARK = "=== measured, as CSV ==="
"""The line of the log that comes before what was measured."""

SCRIPT = f"""\
perf_analyzer "$@" -f measured.csv
status=$?
if [ -s measured.csv ]; then echo "{MARK}"; cat measured.csv; fi
exit $status
"""
_FOLDER = "/tmp"
_KEPT_SECONDS = 600
"""How long the Job may stay if nobody is there to delete it."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is to be measured."""

    image: str
    concurrency: str
    """Requests under way at a time: START:END:STEP."""
    request_rate: str
    """Requests per second, whether answers come or not: START:END:STEP; instead of the former."""
    protocol: str
    """``grpc`` or ``http``."""
    version: str
    """Of the model; the latest that is served if empty."""
    seconds: int
    """How long all of it may take."""
    more: Sequence[str] = ()
    """Further arguments of perf_analyzer."""
    namespace: str = ""
    service: str = ""
    model: str = ""
    """Name that clients use."""

    def arguments(self) -> list[str]:
        """Return the arguments of perf_analyzer."""
        port = GRPC_PORT if self.protocol == "grpc" else HTTP_PORT
        load = (
            ("--request-rate-range", self.request_rate)
            if self.request_rate
            else ("--concurrency-range", self.concurrency)
        )
        return [
            *("-m", self.model),
            *(("-x", self.version) if self.version else ()),
            *("-u", f"{self.service}.{self.namespace}.svc:{port}"),
            *("-i", self.protocol),
            *load,
            *self.more,
        ]


def build_profile_job(name: str, wanted: Measurement) -> Manifest:
    """Return the Job; its log ends with ``MARK`` and a table.

    It carries none of the labels by which the operator knows its own Jobs and pods.
    """
    labels = {"app.kubernetes.io/name": CONTAINER, "app.kubernetes.io/part-of": names.MANAGED_BY}
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": wanted.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", SCRIPT, CONTAINER, *wanted.arguments()],
        "workingDir": _FOLDER,
        # NVIDIA's SDK image asks for all GPUs of the node.
        "env": [
            {"name": "HOME", "value": _FOLDER},
            {"name": names.ENV_GPUS, "value": names.NO_GPUS},
        ],
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}},
        "securityContext": build_container_security(),
        "volumeMounts": [{"name": "tmp", "mountPath": _FOLDER}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": wanted.namespace, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": wanted.seconds,
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "template": {
                "metadata": {"labels": dict(labels)},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 1,
                    "securityContext": build_pod_security(PodTemplate()),
                    "containers": [container],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                },
            },
        },
    }
