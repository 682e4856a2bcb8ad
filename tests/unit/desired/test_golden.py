"""The whole set of objects of a server, as it is written into a cluster.

``UPDATE_GOLDEN=1 pytest tests/unit/desired`` writes the files anew: read the diff before it
is committed.
"""

import os
from pathlib import Path

import pytest
import yaml

from tests.unit.desired.servers import GOLDEN, Case, without_secrets

FOLDER = Path(__file__).parent / "golden"


class Dumper(yaml.SafeDumper):
    """Writes every object in full: an alias would hide that two objects share a part."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


Dumper.add_representer(str, _text)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.name)
def test_the_objects_of_a_server_are_as_recorded(case: Case) -> None:
    objects = [without_secrets(each) for each in case.objects()]
    text = yaml.dump_all(objects, Dumper=Dumper, sort_keys=False, width=100, explicit_start=True)
    path = FOLDER / f"{case.name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)

    assert text == path.read_text(), "see this module's docstring"
    assert list(yaml.safe_load_all(text)) == objects


def test_no_record_is_left_over() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {case.name for case in GOLDEN}
