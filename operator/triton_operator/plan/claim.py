"""What a claim allows: whether a server can use it, on how many nodes, and if it has a volume."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from triton_operator.api.server import TritonServer
from triton_operator.errors import InvalidSpecError
from triton_operator.observed import Claim, Pod
from triton_operator.plan.pods import is_unschedulable

MANY, ONE_NODE, ONE_POD = "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"

CLAIM_NOT_BOUND = "ClaimNotBound"

_UNBOUND = (
    "unbound immediate PersistentVolumeClaims",
    "didn't find available persistent volumes to bind",
    "binding volumes",
)
"""What the scheduler says of a pod whose claim gets no volume; it never says which claim."""


class ClaimNotUsableError(InvalidSpecError):
    """The server's pods and its sync Jobs cannot share the claim."""

    reason = "ClaimNotUsable"


class ClaimNotEnlargedError(InvalidSpecError):
    """The claim cannot be made as large as the spec says; all goes on with what there is."""

    reason = "ClaimNotEnlarged"


def access_modes(server: TritonServer, claim: Claim | None) -> frozenset[str]:
    """Return what a server's claim is asked to allow; nothing is known of one that is not there."""
    if server.spec.repository.claim_name is None:
        return frozenset(server.spec.repository.access_modes)
    return claim.access_modes if claim is not None else frozenset()


def check_claim(server: TritonServer, modes: frozenset[str]) -> None:
    """Refuse a claim on which a server cannot work.

    Raises
    ------
    ClaimNotUsableError
        Its access modes do not let sync Jobs write while pods read.

    """
    if not modes or modes & {MANY, ONE_NODE}:
        return
    why = (
        "lets one pod at a time use it, and a server's pods and its sync Jobs need it together"
        if ONE_POD in modes
        else "can only be read, and sync Jobs write the models there"
    )
    name, listed = server.spec.repository.claim_name, " and ".join(sorted(modes))
    raise ClaimNotUsableError(
        f"spec.repository.claimName: claim {name!r} is {listed}: it {why}; create a TritonServer"
        f" with a claim that is {MANY}, or {ONE_NODE} where all pods fit on one node"
    )


def needs_one_node(modes: frozenset[str]) -> bool:
    """Return whether only one node at a time can mount a claim and write to it."""
    return ONE_NODE in modes and MANY not in modes


def explain_one_node(server: TritonServer, modes: frozenset[str]) -> str:
    """Return what a claim for one node means for a server of several pods; empty for others."""
    spec = server.spec
    field, pods = ("replicas", spec.replicas or 0)
    if spec.autoscaling is not None:
        field, pods = ("autoscaling.maxReplicas", spec.autoscaling.max_replicas)
    if pods <= 1 or not needs_one_node(modes):
        return ""
    name = spec.repository.claim_name
    claim = f"claim {name!r}" if name else "spec.repository.accessModes"
    return (
        f"{claim} is {ONE_NODE}, so all {pods} pods (spec.{field}) and the"
        " sync Jobs have to fit on one node; to spread them create a TritonServer whose"
        f" spec.repository is {MANY}, or lower spec.{field}"
    )


def explain_unbound(claim: Claim | None, pods: Iterable[Pod], *, now: datetime) -> str:
    """Return that a claim gets no volume, which a server's pods wait for; empty unless they do.

    One whose class waits for the first pod that uses it has none until that pod has a node: while
    the scheduler says something else of the pods, that is no fault.
    """
    if claim is None or not claim.pending:
        return ""
    if not any(_waits_for_claim(pod) and is_unschedulable(pod, now=now) for pod in pods):
        return ""
    of = f"StorageClass {claim.storage_class!r}" if claim.storage_class else "no StorageClass"
    return f"claim {claim.name!r} ({of}) is not bound: kubectl describe pvc {claim.name} tells why"


def name_claim(pods: Iterable[Pod], unbound: str) -> tuple[Pod, ...]:
    """Return pods, of which those that wait for the claim say which one it is."""
    return tuple(
        replace(pod, unschedulable=f"{pod.unschedulable}: {unbound}")
        if unbound and _waits_for_claim(pod)
        else pod
        for pod in pods
    )


def _waits_for_claim(pod: Pod) -> bool:
    return any(words in pod.unschedulable for words in _UNBOUND)


@dataclass(frozen=True, slots=True)
class ClaimReport:
    """What there is to tell of a server's claim."""

    limit: str = ""
    """What the claim means for the number of pods."""
    problem: ClaimNotEnlargedError | None = None
    unbound: str = ""
    """Why pods wait for it; empty unless they do."""


def assess_claim(
    server: TritonServer,
    modes: frozenset[str],
    refusals: Iterable[InvalidSpecError | None],
    unbound: str = "",
) -> tuple[ClaimReport, InvalidSpecError | None]:
    """Sort what was refused: what to tell of the claim, and what the spec makes impossible.

    A claim that cannot grow is no reason for a server not to be ready.
    """
    found = [each for each in refusals if each is not None]
    growth = next((each for each in found if isinstance(each, ClaimNotEnlargedError)), None)
    rest = next((each for each in found if not isinstance(each, ClaimNotEnlargedError)), None)
    return ClaimReport(explain_one_node(server, modes), growth, unbound), rest
