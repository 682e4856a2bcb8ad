"""Settings are read from the environment, or refused."""

from dataclasses import replace

import pytest

from triton_operator.settings import ServerAccess, Settings

SETTINGS = {
    "server_image": ("triton:1", "triton:1"),
    "sync_image": ("operator:1", "operator:1"),
    "sync_image_pull_policy": ("Always", "Always"),
    "sync_memory_limit": ("2Gi", "2Gi"),
    "image_pull_secrets": ("a,b", ("a", "b")),
    "allowed_backends": ("tensorrt,onnxruntime", ("tensorrt", "onnxruntime")),
    "server_access": ('{"operator": [{}]}', ServerAccess(operator=({},))),
    "namespaces": ("a, b  c,", ("a", "b", "c")),
    "resync_seconds": ("5.5", 5.5),
    "autoscaling_interval_seconds": ("10", 10.0),
    "scrape_deadline_seconds": ("1.5", 1.5),
    "max_gpus": ("16", 16),
    "namespace_max_gpus": ('{"a": 8}', {"a": 8}),
    "log_level": ("debug", "debug"),
    "log_format": ("text", "text"),
    "probe_port": ("9090", 9090),
    "metrics_port": ("9091", 9091),
    "lease_namespace": ("home", "home"),
    "lease_name": ("ours", "ours"),
    "lease_seconds": ("20", 20),
    "identity": ("pod-1", "pod-1"),
}
"""Each with a text and what that means."""


def test_every_setting_has_its_variable() -> None:
    assert SETTINGS.keys() == Settings.__dataclass_fields__.keys()
    for name, (text, value) in SETTINGS.items():
        found = Settings.from_environment({f"TRITON_OPERATOR_{name.upper()}": text})
        assert found == replace(Settings(), **{name: value})
        assert type(getattr(found, name)) is type(value)


def test_what_is_empty_or_of_others_sets_nothing() -> None:
    others = {"TRITON_OPERATOR_SYNC_IMAGE": "", "SERVER_IMAGE": "x", "TRITON_OPERATOR_OTHER": "x"}
    assert Settings.from_environment(others) == Settings.from_environment({}) == Settings()


def test_who_may_connect_to_servers_is_read_from_json() -> None:
    name = "TRITON_OPERATOR_SERVER_ACCESS"
    text = '{"operator": [{"podSelector": {}}], "clients": [], "scrapers": []}'
    found = Settings.from_environment({name: text})

    assert found.server_access == ServerAccess(operator=({"podSelector": {}},))
    for wrong in ("[]", '{"who": []}', "{", '{"clients": []}', '{"operator": []}'):
        with pytest.raises(ValueError, match=r"SERVER_ACCESS|Expecting"):
            Settings.from_environment({name: wrong})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("METRICS_PORT", "many"),
        ("LOG_FORMAT", "xml"),
        ("MAX_GPUS", "1.5"),
        ("RESYNC_SECONDS", "soon"),
    ],
)
def test_what_cannot_be_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=value.replace(".", r"\.")):
        Settings.from_environment({f"TRITON_OPERATOR_{name}": value})
