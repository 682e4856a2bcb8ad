"""Where artifacts are read from, by the scheme of their uri."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from triton_operator.adapters.claims import ClaimSources
from triton_operator.adapters.credentials import Secrets
from triton_operator.adapters.http_files import HttpSources
from triton_operator.adapters.hub import HubSources
from triton_operator.adapters.stores import StoreSources
from triton_operator.adapters.web import Web
from triton_operator.repository.manifest import SourceRef
from triton_operator.repository.sources import InvalidSourceError, SourceFile, Sources, public_uri


class SchemeSources:
    """Gives every uri to the source of its scheme."""

    def __init__(self, by_scheme: Mapping[str, Sources]) -> None:
        self._by_scheme = by_scheme

    def list_files(self, source: SourceRef) -> tuple[SourceFile, ...]:
        """Return the files that a uri names."""
        return self._source(source.uri).list_files(source)

    def read(
        self, file: SourceFile, start: int, stop: int | None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Open a part of a file."""
        return self._source(file.uri).read(file, start, stop)

    def _source(self, uri: str) -> Sources:
        scheme = uri.partition("://")[0]
        try:
            return self._by_scheme[scheme]
        except KeyError:
            known = ", ".join(f"{each}://" for each in self._by_scheme)
            raise InvalidSourceError(
                f"{public_uri(uri)}: this release reads {known}; put the artifact there"
            ) from None


def open_sources(
    claims: Mapping[str, Path],
    secrets: Secrets | None = None,
    *,
    ca_bundle: Path | None = None,
    timeout_seconds: float = 30.0,
) -> SchemeSources:
    """Return everything that this release can read.

    Args:
        claims: Where each claim is mounted, by name.
        secrets: The credentials.
        ca_bundle: Certificates to trust besides the system's, PEM.
        timeout_seconds: Longest silence of a server.

    """
    secrets = replace(secrets or Secrets(), foreign_ca=ca_bundle is not None)
    web = Web(ca_bundle=ca_bundle, timeout_seconds=timeout_seconds)
    http = HttpSources(web, secrets)
    stores = StoreSources(secrets, ca_bundle=ca_bundle, timeout_seconds=timeout_seconds)
    return SchemeSources(
        {
            "pvc": ClaimSources(claims),
            "s3": stores,
            "gs": stores,
            "az": stores,
            "hf": HubSources(web, secrets),
            "https": http,
            "http": http,
        }
    )
