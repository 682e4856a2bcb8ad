"""The samples under ``model_repository/``, parsed once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format

from triton_operator.api.model import TritonModel
from triton_operator.api.server import TritonServer
from triton_operator.repository.config_pbtxt import build_config

FOLDER = Path(__file__).parents[3] / "model_repository"
FILES = sorted(FOLDER.glob("*/*/*.yaml"))


@dataclass(frozen=True)
class Form:
    """One form of one sample: what ``kubectl apply -f <sample>/<form>/`` creates."""

    sample: str
    form: str
    models: dict[str, TritonModel]
    """By the name that clients use."""
    servers: dict[str, TritonServer]

    @property
    def id(self) -> str:
        return f"{self.sample}-{self.form}"


def documents(path: Path) -> Iterator[dict[str, Any]]:
    yield from yaml.load_all(path.read_text(), yaml.CSafeLoader)


def config_of(model: TritonModel) -> dict[str, Any]:
    """The final config as JSON, with protobuf's own field names."""
    proto = build_config(model.spec, model.model_name)
    return json_format.MessageToDict(proto, preserving_proto_field_name=True)


def _load(folder: Path) -> Form:
    models: dict[str, TritonModel] = {}
    servers: dict[str, TritonServer] = {}
    for path in sorted(folder.glob("*.yaml")):
        for document in documents(path):
            if document["kind"] == "TritonServer":
                server = TritonServer.parse(document)
                servers[server.metadata.name] = server
            else:
                model = TritonModel.parse(document)
                models[model.model_name] = model
    return Form(folder.parent.name, folder.name, models, servers)


FORMS = [_load(folder) for folder in sorted({path.parent for path in FILES})]
BOTH = [
    (gpu, cpu)
    for gpu in FORMS
    for cpu in FORMS
    if gpu.sample == cpu.sample and (gpu.form, cpu.form) == ("gpu", "cpu")
]


def inline_code(sample: str, form: str, model: str) -> str:
    """The ``model.py`` that is written in a sample's YAML."""
    found = next(each for each in FORMS if (each.sample, each.form) == (sample, form))
    return found.models[model].spec.versions[0].files["model.py"]
