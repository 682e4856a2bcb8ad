"""What Triton's python backend gives to a model, as far as the samples use it."""

import sys
import types

import pytest

from tests.unit.samples.python_models import Response, Tensor


@pytest.fixture(autouse=True)
def triton_utils(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("triton_python_backend_utils")
    module.Tensor = Tensor  # type: ignore[attr-defined]
    module.InferenceResponse = Response  # type: ignore[attr-defined]
    module.TritonError = str  # type: ignore[attr-defined]
    module.get_input_tensor_by_name = (  # type: ignore[attr-defined]
        lambda request, name: Tensor(name, request[name])
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module)
