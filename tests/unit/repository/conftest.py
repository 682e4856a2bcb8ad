import pytest

from tests.unit.repository.claim import Claim, MemorySources


@pytest.fixture
def claim(tmp_path) -> Claim:
    root = tmp_path / "claim"
    root.mkdir()
    return Claim(root, MemorySources({}))
