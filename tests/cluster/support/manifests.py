"""Small objects for tests: models in a few lines of Python, servers that come and go quickly."""

from collections.abc import Mapping
from typing import Any

from tests.cluster.support.kube import Object

_API = "triton-operator.io/v1alpha1"

SMALL: Mapping[str, Any] = {
    "gpus": 0,
    "drainSeconds": 1,
    "sharedMemorySize": "256Mi",
    "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
    "repository": {"size": "1Gi"},
}
"""A server that fits many times on a small node."""

TENSORS: Mapping[str, Any] = {
    "input": [{"name": "IN", "dataType": "TYPE_FP32", "dims": [1]}],
    "output": [{"name": "OUT", "dataType": "TYPE_FP32", "dims": [1]}],
}

PYTHON: Mapping[str, Any] = {
    "backend": "python",
    "maxBatchSize": 8,
    **TENSORS,
    "instanceGroup": [{"kind": "KIND_CPU", "count": 1}],
}


def adds(amount: float) -> str:
    """Return a model.py that answers its input plus an amount."""
    return f"""\
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        given = pb.get_input_tensor_by_name(request, "IN").as_numpy()
        return pb.InferenceResponse([pb.Tensor("OUT", given + given.dtype.type({amount}))])
"""


def breaks_with(amount: float, flag: str) -> str:
    """Return a model.py that only loads where an environment variable is not set."""
    start = f"if os.environ.get({flag!r}):\n    raise RuntimeError('{flag} is set')\n"
    return f"import os\n\n{start}\n{adds(amount)}"


def slow(amount: float, seconds: float) -> str:
    """Return a model.py that takes long to be initialized."""
    start = f"    def initialize(self, args):\n        time.sleep({seconds})\n\n"
    code = adds(amount).replace("    def execute", f"{start}    def execute")
    return f"import time\n\n{code}"


def sleeps() -> str:
    """Return a model.py that takes as many seconds for a request as its input says."""
    wait = "        time.sleep(float(given[0][0]))\n        return pb.InferenceResponse"
    return f"import time\n\n{adds(0).replace('        return pb.InferenceResponse', wait)}"


def kills() -> str:
    """Return a model.py whose server dies: it takes the memory away that both of them share."""
    return """\
import os


class TritonPythonModel:
    def initialize(self, args):
        for name in os.listdir("/dev/shm"):
            os.truncate("/dev/shm/" + name, 0)
"""


def fails(message: str) -> str:
    """Return a model.py that cannot be initialized."""
    return f"""\
class TritonPythonModel:
    def initialize(self, args):
        raise RuntimeError({message!r})
"""


def version(number: int, code: str) -> Object:
    """Return a version that consists of a model.py."""
    return {"version": number, "files": {"model.py": code}}


def server(name: str, **spec: Any) -> Object:
    return {
        "apiVersion": _API,
        "kind": "TritonServer",
        "metadata": {"name": name},
        "spec": {**SMALL, **spec},
    }


def model(name: str, *versions: Object, on: str | None = None, **spec: Any) -> Object:
    """Return a model on a server, or with a small one of its own."""
    where = {"serverRef": {"name": on}} if on is not None else {"server": dict(SMALL)}
    body = {"config": dict(PYTHON), **where, **spec}
    if versions:
        body["versions"] = list(versions)
    return {
        "apiVersion": _API,
        "kind": "TritonModel",
        "metadata": {"name": name},
        "spec": body,
    }


def chain(name: str, on: str, *steps: str) -> Object:
    """Return an ensemble that sends one number through models in turn."""
    tensors = ["IN", *(f"between_{index}" for index in range(1, len(steps))), "OUT"]
    config = {
        "platform": "ensemble",
        "maxBatchSize": 8,
        **TENSORS,
        "ensembleScheduling": {
            "step": [
                {
                    "modelName": step,
                    "modelVersion": -1,
                    "inputMap": {"IN": tensors[index]},
                    "outputMap": {"OUT": tensors[index + 1]},
                }
                for index, step in enumerate(steps)
            ]
        },
    }
    return model(name, on=on, config=config)


def claim(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def looker(name: str, on_claim: str, image: str) -> Object:
    """Return a pod that mounts a claim, to look at it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": 600,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
            "containers": [
                {
                    "name": "looker",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", "600"],
                    "volumeMounts": [{"name": "claim", "mountPath": "/claim"}],
                }
            ],
            "volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": on_claim}}],
        },
    }
