"""The claims of servers: what they allow, and making or enlarging those that are ours."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from triton_operator.api.quantity import parse_quantity
from triton_operator.api.server import TritonServer
from triton_operator.desired.claim import build_claim
from triton_operator.desired.metadata import ChildNames
from triton_operator.errors import ClusterError, InvalidSpecError
from triton_operator.observed import Body, Claim
from triton_operator.plan.claim import (
    ClaimNotEnlargedError,
    access_modes,
    check_claim,
)
from triton_operator.ports import Clock, Cluster

_KNOWN_SECONDS = 600.0
"""How long a claim of the user's is taken for known: what it allows never changes."""
_PENDING_SECONDS = 10.0
"""The same for one that is not there, or has no volume yet."""
_REFUSED_SECONDS = 300.0
"""How long a refusal to enlarge a claim is taken for the answer."""


@dataclass(frozen=True, slots=True)
class _Looked:
    """What was found of a user's claim, and how long that holds."""

    claim: Claim | None
    until: float


@dataclass(frozen=True, slots=True)
class _Refused:
    """Why a claim was not enlarged to a size, and how long that holds."""

    size: str
    problem: ClaimNotEnlargedError
    until: float


class Claims:
    """What is known of the claims of all servers; costs few requests."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._now = clock
        self._looked: dict[tuple[str, str], _Looked] = {}
        self._refused: dict[str, _Refused] = {}

    async def find(
        self, server: TritonServer, children: Mapping[tuple[str, str], Body]
    ) -> Claim | None:
        """Return the server's claim, one of ours from ``children``; None where it is not there."""
        name = server.spec.repository.claim_name
        if name is not None:
            return await self._look((server.metadata.namespace, name))
        body = children.get(("PersistentVolumeClaim", ChildNames(server.metadata.name).claim))
        return Claim.parse(body) if body is not None else None

    async def modes(self, server: TritonServer) -> frozenset[str]:
        """Return the access modes of a server's claim; empty where it is not there yet.

        Raises
        ------
        ClaimNotUsableError
            No server can work on it.

        """
        modes = access_modes(server, await self.find(server, {}))
        check_claim(server, modes)
        return modes

    async def absent(self, namespace: str, names: Iterable[str]) -> frozenset[str]:
        """Return which of these claims are not there."""
        return frozenset([name for name in names if await self._look((namespace, name)) is None])

    async def provide(self, server: TritonServer, children: Mapping[tuple[str, str], Body]) -> None:
        """Make the server's claim, or enlarge the one that was made; never shrink it.

        Raises
        ------
        ClaimNotEnlargedError
            The cluster refuses; what there is stays as it is.
        OperatorError
            It cannot be made.

        """
        wanted = build_claim(server)
        if wanted is None:
            return
        claim = await self.find(server, children)
        if claim is None:
            await self._cluster.apply(wanted)
        elif parse_quantity(claim.requested) < parse_quantity(server.spec.repository.size):
            await self._enlarge(server, claim)

    async def _look(self, key: tuple[str, str]) -> Claim | None:
        now = self._now().timestamp()
        self._looked = {k: known for k, known in self._looked.items() if known.until > now}
        if key not in self._looked:
            claim = await self._cluster.claim(*key)
            pending = claim is None or claim.pending
            seconds = _PENDING_SECONDS if pending else _KNOWN_SECONDS
            self._looked[key] = _Looked(claim, now + seconds)
        return self._looked[key].claim

    async def _enlarge(self, server: TritonServer, claim: Claim) -> None:
        now = self._now().timestamp()
        self._refused = {uid: known for uid, known in self._refused.items() if known.until > now}
        uid, size = server.metadata.uid, server.spec.repository.size
        known = self._refused.get(uid)
        if known is not None and known.size == size:
            raise known.problem
        manifest = build_claim(server)
        assert manifest is not None
        try:
            await self._cluster.apply(manifest)
        except (ClusterError, InvalidSpecError) as error:
            if isinstance(error, ClusterError) and not error.is_refusal:
                raise
            said = error.message if isinstance(error, ClusterError) else str(error)
            problem = ClaimNotEnlargedError(
                f"claim {claim.name!r} stays at {claim.requested}, spec.repository.size is {size}:"
                f" {said}; let its StorageClass expand volumes (allowVolumeExpansion: true) or"
                " raise the quota that the message names. All models serve on"
            )
            self._refused[uid] = _Refused(size, problem, now + _REFUSED_SECONDS)
            raise problem from error
