"""``TritonServer.spec.repository.sync``: how a server's sync Jobs fetch files."""

import re
from typing import Annotated, Literal, get_args

from pydantic import Field

from triton_operator.api.meta import Resource
from triton_operator.api.rules import Rule, Schema

ResourceName = Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
"""Name of a Secret, ConfigMap or ServiceAccount."""
DataKey = Annotated[str, Field(max_length=253, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$")]
Bandwidth = Annotated[str, Field(max_length=32, pattern=r"^[1-9][0-9]*(k|M|G|Ki|Mi|Gi)$")]
"""A quantity with a unit, and never none at all."""

SyncVariable = Literal[
    "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy",
    "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_SKIP_SIGNATURE", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "GOOGLE_SKIP_SIGNATURE", "STORAGE_EMULATOR_HOST",
    "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ENDPOINT", "AZURE_SKIP_SIGNATURE",
    "HF_ENDPOINT",
]  # fmt: skip
"""What a sync Job's environment may hold: where stores are, and the way there."""


_PART_OF_HOST = "[A-Za-z0-9-]{1,63}"
"""A region and a storage account become a part of the store's host name, and of no other host's."""


class SecretRef(Resource):
    """A Secret of the same namespace."""

    name: ResourceName
    """Name of the Secret; docs/sources.md lists the keys that are read."""


class CaBundle(Resource):
    """An entry of a ConfigMap of the same namespace."""

    name: ResourceName
    """Name of the ConfigMap."""
    key: DataKey = "ca.crt"
    """Key of the certificates, PEM."""


class SyncVariableValue(Resource):
    """One environment variable of the sync Jobs."""

    rules = (
        Rule(
            cel="!(self.name in ['AWS_REGION', 'AZURE_STORAGE_ACCOUNT_NAME']) ||"
            f" self.value.matches('^{_PART_OF_HOST}$')",
            message="env: a region or a storage account has letters, digits and '-' only: correct"
            " its value",
            holds=lambda self: (
                self.name not in {"AWS_REGION", "AZURE_STORAGE_ACCOUNT_NAME"}
                or re.fullmatch(_PART_OF_HOST, self.value) is not None
            ),
        ),
    )

    name: SyncVariable
    """Name of the variable: proxies, endpoints and regions of stores."""
    value: Annotated[str, Field(max_length=2048)]
    """Value of the variable; credentials belong into a Secret, see secretRef."""


class SyncOptions(Resource):
    """How sync Jobs fetch files."""

    schema_defaults = False

    service_account_name: ResourceName | None = None
    """Service account of the sync Jobs, for stores that know it (workload identity); the
    namespace's default if left out. Its token is not mounted."""
    secret_ref: SecretRef | None = None
    """Credentials for the sources that have no secretRef of their own."""
    env: Annotated[
        tuple[SyncVariableValue, ...],
        Field(max_length=len(get_args(SyncVariable))),
        Schema({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
        Rule(
            cel=None,
            message="env: a variable is listed twice: keep one of the entries",
            holds=lambda variables: len({each.name for each in variables}) == len(variables),
        ),
    ] = ()
    """Proxies, endpoints and regions."""
    ca_bundle: CaBundle | None = None
    """Certificates to trust besides the public ones."""
    bandwidth_limit: Bandwidth | None = None
    """Bytes per second that a sync Job reads at most, such as 50Mi; no limit if left out."""
    parallel_downloads: Annotated[int, Field(ge=1, le=32)] = 4
    """Connections of a sync Job at a time; 4 if left out."""
