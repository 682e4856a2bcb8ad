"""The protobuf messages of ``config.pbtxt``, as ``tritonclient`` carries them, without its client.

``import tritonclient.grpc`` brings gRPC and numpy along: 0.15 s of processor time in every sync Job
and every ``validate``, which need the messages only.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

_NAME = "tritonclient.grpc.model_config_pb2"


def _load() -> ModuleType:
    if _NAME in sys.modules:
        return sys.modules[_NAME]
    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("tritonclient is not installed", name="tritonclient")
    folder, *_ = package.submodule_search_locations
    spec = importlib.util.spec_from_file_location(
        _NAME, Path(folder, "grpc", "model_config_pb2.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[_NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import (
        DataType,
        ModelConfig,
        ModelEnsembling,
        ModelInstanceGroup,
    )
else:
    _messages = _load()
    DataType = _messages.DataType
    ModelConfig = _messages.ModelConfig
    ModelEnsembling = _messages.ModelEnsembling
    ModelInstanceGroup = _messages.ModelInstanceGroup

__all__ = ["DataType", "ModelConfig", "ModelEnsembling", "ModelInstanceGroup"]
