"""All children of one server together."""

from collections.abc import Iterable
from dataclasses import dataclass

from triton_operator.api.server import TritonServer
from triton_operator.desired.control_key import ControlKey
from triton_operator.desired.deployment import build_deployment
from triton_operator.desired.disruption_budget import build_disruption_budget
from triton_operator.desired.metadata import ChildNames, Manifest
from triton_operator.desired.network_policy import build_network_policy
from triton_operator.desired.service import build_headless_service, build_service
from triton_operator.repository.manifest import LINKS
from triton_operator.settings import ServerAccess


@dataclass(frozen=True, slots=True)
class Children:
    """The objects that a server needs.

    The claim, which only ever grows, is not here; nor are the Secrets and the sync Jobs, which are
    made once and never changed.
    """

    deployment: Manifest
    service: Manifest
    headless_service: Manifest | None
    network_policy: Manifest | None
    disruption_budget: Manifest | None

    def manifests(self) -> tuple[Manifest, ...]:
        """Return the objects that should exist, what others need first."""
        ordered = (
            self.service,
            self.headless_service,
            self.network_policy,
            self.disruption_budget,
            self.deployment,
        )
        return tuple(child for child in ordered if child is not None)

    def unwanted(self) -> tuple[tuple[str, str], ...]:
        """Return kind and name of the objects that should not exist."""
        child = ChildNames(self.deployment["metadata"]["name"])
        optional = (
            ("Service", child.headless_service, self.headless_service),
            ("NetworkPolicy", child.network_policy, self.network_policy),
            ("PodDisruptionBudget", child.disruption_budget, self.disruption_budget),
        )
        return tuple((kind, name) for kind, name, wanted in optional if wanted is None)


def build_children(
    server: TritonServer,
    *,
    default_image: str,
    replicas: int,
    control_key: ControlKey,
    probe_model: str | None,
    one_node: bool = False,
    repository: str = LINKS,
    startable: Iterable[str] = (),
    in_place: bool = False,
    access: ServerAccess | None = None,
) -> Children:
    """Return the children of a server that serve its models."""
    return Children(
        deployment=build_deployment(
            server,
            image=server.spec.image or default_image,
            replicas=replicas,
            control_key=control_key,
            probe_model=probe_model,
            one_node=one_node,
            repository=repository,
            startable=startable,
            in_place=in_place,
        ),
        service=build_service(server),
        headless_service=build_headless_service(server),
        network_policy=build_network_policy(server, access) if access is not None else None,
        disruption_budget=build_disruption_budget(server, replicas),
    )
