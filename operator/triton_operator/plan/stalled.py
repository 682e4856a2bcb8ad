"""When waiting helps no more: ``Stalled``, which Flux and others that know kstatus read as failed.

It says that only a change of this very object helps. What another object may mend, such as a
server that comes later in the same push, is no failure yet: these tools would end at once.
"""

from triton_operator.repository.sources import LASTING_REASONS

_LASTING = LASTING_REASONS | {"InvalidSpec", "ClaimNotUsable", "LoadFailed", "BlockedByFailedLoad"}


def is_lasting(reason: str) -> bool:
    """Return whether the reason of ``Ready=False`` is one that only a change of the object ends."""
    return reason in _LASTING
