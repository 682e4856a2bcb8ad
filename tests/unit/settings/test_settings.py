"""Settings are read from the environment, or refused."""

import pytest

from triton_operator.settings import Settings


def test_every_setting_has_its_variable() -> None:
    found = Settings.from_environment(
        {"TRITON_OPERATOR_METRICS_PORT": "9000", "TRITON_OPERATOR_LOG_FORMAT": "text"}
    )
    assert found == Settings(metrics_port=9000, log_format="text")
    assert Settings.from_environment({}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"), [("METRICS_PORT", "many"), ("LOG_FORMAT", "xml"), ("MAX_GPUS", "1.5")]
)
def test_what_cannot_be_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=value.replace(".", r"\.")):
        Settings.from_environment({f"TRITON_OPERATOR_{name}": value})
