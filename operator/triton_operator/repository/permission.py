"""Why the claim refuses to be written: who owns it, who we are, and what would mend it."""

import errno
import os
import stat
from pathlib import Path


def explain_refusal(error: OSError) -> str:
    """Return what to do about a write that the claim's volume refused."""
    if error.errno == errno.EROFS:
        return "the volume is mounted read-only: use a claim that may be written"
    if error.errno not in {errno.EACCES, errno.EPERM}:
        return "check the claim's volume"
    user, group = os.geteuid(), os.getegid()
    mend = (
        f"give it to them (chown -R {user}:{group}), which Kubernetes does only where the volume"
        " supports fsGroup (NFS does not), or set runAsUser, runAsGroup and fsGroup in"
        " spec.podTemplate.securityContext of the TritonServer to its owner"
    )
    place = _existing(Path(os.fsdecode(error.filename))) if error.filename else None
    try:
        status = place.stat() if place is not None else None
    except OSError:
        status = None
    if status is None:
        return f"user {user} and group {group} may not write there: {mend}"
    groups = ", ".join(str(each) for each in sorted({group, *os.getgroups()}))
    return (
        f"{place} belongs to user {status.st_uid} and group {status.st_gid} with mode"
        f" {stat.S_IMODE(status.st_mode):04o}, and the sync Job runs as user {user} with groups"
        f" {groups}: {mend}"
    )


def _existing(path: Path) -> Path:
    """Return the folder that an entry would be written to."""
    return next((each for each in path.parents if os.path.lexists(each)), Path("/"))
