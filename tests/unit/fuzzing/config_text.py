"""What must hold of every text of a config; real ones to begin with."""

from pathlib import Path

from google.protobuf.message import Message

from tests.unit.fuzzing.objects import FILES, body
from triton_operator.api.model import TritonModel
from triton_operator.errors import InvalidSpecError
from triton_operator.repository.config_pbtxt import build_config, render

FOLDER = Path(__file__).parents[1] / "offline" / "configs"
CONFIGS = sorted(FOLDER.glob("*.pbtxt"))


def read_twice(text: str) -> bool:
    """Return whether a text is read, as it will be written, too; it may only be refused as invalid.

    Raises
    ------
    AssertionError
        What was read of it is written in another way.

    """
    try:
        config = _read(text)
    except InvalidSpecError:
        return False
    assert _read(render(config)) == config, f"{text!r} is written as {render(config)!r}"
    return True


def _read(text: str) -> Message:
    model = TritonModel.parse(body({"configText": text, "versions": FILES}))
    return build_config(model.spec, model.model_name)
