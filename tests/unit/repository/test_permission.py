"""A claim that refuses to be written says whose it is, who we are and what would mend it."""

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.repository.claim import MemorySources, model, serving, version
from triton_operator.repository.materialize import materialize
from triton_operator.repository.permission import explain_refusal

MANIFEST = serving(model("script", "python", version(1, model_py="pass")))
NOBODY = 65534


def sync_as(uid: int, root: Path) -> str:
    """Run in a process of another user; return why it could not go on."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            outcome = materialize(root, MANIFEST, MemorySources({}), lambda _: None)
            failures = [failure.message for failure in outcome.failed.values()]
            os.write(
                write,
                "\n".join([outcome.problem.message if outcome.problem else "", *failures]).encode(),
            )
        finally:
            os._exit(0)  # no exception of the child may reach pytest
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


@pytest.fixture
def root() -> Iterator[Path]:
    """A claim of root's, where every user may go: pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a folder to another user")
def test_a_claim_of_another_user_is_told_with_both_users_and_the_mend(root: Path) -> None:
    message = sync_as(NOBODY, root)

    assert f"{root} belongs to user 0 and group 0 with mode 0755" in message
    assert f"runs as user {NOBODY} with groups {NOBODY}" in message
    assert f"chown -R {NOBODY}:{NOBODY}" in message
    assert "spec.podTemplate.securityContext" in message

    os.chown(root, NOBODY, NOBODY)
    assert sync_as(NOBODY, root).strip() == ""
    assert (root / "servers/vision/script/config.pbtxt").read_text() == "python"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a folder to another user")
def test_what_was_written_may_be_read_by_every_user_and_changed_by_the_group(root: Path) -> None:
    os.chown(root, NOBODY, NOBODY)
    assert sync_as(NOBODY, root).strip() == ""

    written = list(root.rglob("*"))
    assert len(written) > 5
    for path in written:
        mode = path.stat().st_mode
        assert mode & 0o444 == 0o444, "everybody may read, whoever Triton runs as next"
        assert mode & 0o220 == 0o220, "the group may write"


def test_a_read_only_volume_is_called_so() -> None:
    assert "mounted read-only" in explain_refusal(OSError(errno.EROFS, "Read-only file system"))
    assert "check the claim's volume" in explain_refusal(OSError(errno.EIO, "Input/output error"))
