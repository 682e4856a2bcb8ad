"""Which versions of a model are served."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from triton_operator.api.model_config.message import Int64, ProtoMessage
from triton_operator.api.rules import Rule, Schema


class VersionPolicyLatest(ProtoMessage):
    """Serves the newest versions."""

    rules = (
        Rule(
            cel="has(self.numVersions)",
            message="numVersions must be 1 or more, or no version is served: set it, or leave out"
            " versionPolicy for the newest one",
            holds=lambda self: self.num_versions > 0,
        ),
    )

    num_versions: Annotated[int, Field(ge=1, le=2**32 - 1), Schema({"format": "int64"})] = 0
    """How many of them."""


class VersionPolicyAll(ProtoMessage):
    """Serves every version."""


class VersionPolicySpecific(ProtoMessage):
    """Serves the versions that are listed."""

    versions: Annotated[tuple[Int64, ...], Field(max_length=128)] = ()
    """The versions to serve."""


class ModelVersionPolicy(ProtoMessage):
    """Which versions of a model are served."""

    oneofs: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "policy_choice": ("latest", "all", "specific")
    }

    latest: VersionPolicyLatest | None = None
    """Serve the newest versions; the newest one is Triton's default."""
    all: VersionPolicyAll | None = None
    """Serve every version."""
    specific: VersionPolicySpecific | None = None
    """Serve the versions that are listed."""
