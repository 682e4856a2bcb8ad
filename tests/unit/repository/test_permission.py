"""A claim that refuses to be written says whose it is, who we are and what would mend it."""

import errno
import os
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
            os.write(write, "\n".join([outcome.problem, *failures]).encode())
        finally:
            os._exit(0)  # no exception of the child may reach pytest
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a folder to another user")
def test_a_claim_of_another_user_is_told_with_both_users_and_the_mend(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    root = tmp_path / "claim"
    root.mkdir(mode=0o755)

    message = sync_as(NOBODY, root)

    assert f"{root} belongs to user 0 and group 0 with mode 0755" in message
    assert f"runs as user {NOBODY} with groups {NOBODY}" in message
    assert f"chown -R {NOBODY}:{NOBODY}" in message
    assert "spec.podTemplate.securityContext" in message

    os.chown(root, NOBODY, NOBODY)
    assert sync_as(NOBODY, root).strip() == ""
    assert (root / "servers/vision/script/config.pbtxt").read_text() == "python"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a folder to another user")
def test_what_another_user_wrote_is_served_on_but_cannot_be_changed(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    root = tmp_path / "claim"
    root.mkdir(mode=0o755)
    os.chown(root, NOBODY, NOBODY)
    sync_as(NOBODY, root)

    for path in root.rglob("*"):
        mode = path.stat().st_mode
        assert mode & 0o444 == 0o444, "everybody may read, whoever Triton runs as next"
        assert mode & 0o220 == 0o220, "the group may write"


def test_a_read_only_volume_is_called_so() -> None:
    assert "mounted read-only" in explain_refusal(OSError(errno.EROFS, "Read-only file system"))
    assert "check the claim's volume" in explain_refusal(OSError(errno.EIO, "Input/output error"))
