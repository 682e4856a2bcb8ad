"""What pydantic refuses and takes; ``tests/cluster/test_admission.py`` asks a real API server."""

import pytest

from tests.unit.api.cases import ACCEPTED, REFUSED, Manifest, Refused
from triton_operator.api.model import TritonModel
from triton_operator.api.server import TritonServer
from triton_operator.errors import InvalidSpecError

KINDS = {"TritonModel": TritonModel, "TritonServer": TritonServer}


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_bad_object_is_refused_with_field_and_mend(case: Refused) -> None:
    with pytest.raises(InvalidSpecError) as refusal:
        KINDS[case.manifest["kind"]].parse(case.manifest)

    assert case.path in str(refusal.value)
    assert case.words in str(refusal.value)


@pytest.mark.parametrize("manifest", ACCEPTED.values(), ids=ACCEPTED)
def test_a_good_object_is_taken(manifest: Manifest) -> None:
    read = KINDS[manifest["kind"]].parse(manifest)

    assert KINDS[manifest["kind"]].parse(read.manifest()) == read
