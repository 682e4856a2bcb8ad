"""``s3://``, ``gs://`` and ``az://``: object stores, through obstore."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from triton_operator.adapters.bucket import Bucket, load_obstore, validator_of
from triton_operator.adapters.credentials import Secrets, blot_out
from triton_operator.errors import InvalidSpecError
from triton_operator.repository.layout import check_name, check_path
from triton_operator.repository.manifest import SourceRef
from triton_operator.repository.sources import (
    InvalidSourceError,
    SourceFile,
    SourceNotFoundError,
)

KEYS: Mapping[str, Mapping[str, str]] = {
    "s3": {
        "AWS_ACCESS_KEY_ID": "access_key_id",
        "AWS_SECRET_ACCESS_KEY": "secret_access_key",
        "AWS_SESSION_TOKEN": "session_token",
        "AWS_REGION": "region",
        "AWS_ENDPOINT_URL": "endpoint",
    },
    "gs": {"GOOGLE_APPLICATION_CREDENTIALS": "service_account_key"},
    "az": {
        "AZURE_STORAGE_ACCOUNT_NAME": "account_name",
        "AZURE_STORAGE_ACCOUNT_KEY": "account_key",
        "AZURE_STORAGE_SAS_TOKEN": "sas_key",
        "AZURE_STORAGE_ENDPOINT": "endpoint",
        "AZURE_TENANT_ID": "tenant_id",
        "AZURE_CLIENT_ID": "client_id",
        "AZURE_CLIENT_SECRET": "client_secret",
    },
}
"""By scheme: the keys that are read of a Secret, and obstore's names of them."""
_ENDPOINTS = {
    "s3": "AWS_ENDPOINT_URL",
    "gs": "STORAGE_EMULATOR_HOST",
    "az": "AZURE_STORAGE_ENDPOINT",
}
_SENT = frozenset(
    {"GOOGLE_APPLICATION_CREDENTIALS", "AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_SECRET"}
)
"""Credentials that go with a request, or let a token go with it; keys only sign."""


class StoreSources:
    """Objects, and all objects below a prefix."""

    def __init__(
        self, secrets: Secrets, *, ca_bundle: Path | None = None, timeout_seconds: float = 30.0
    ) -> None:
        """Prepare without connecting; ``timeout_seconds`` is the longest silence of a store."""
        self._secrets = secrets
        self._ca_bundle = ca_bundle
        self._timeout_seconds = timeout_seconds
        self._buckets: dict[tuple[str, str, str | None], Bucket] = {}
        self._lock = threading.Lock()

    def list_files(self, source: SourceRef) -> tuple[SourceFile, ...]:
        """Return the object of this key, or else all objects below it."""
        bucket, key = self._open(source.uri, source.secret)
        found = None if key == "" or key.endswith("/") else bucket.head(key, source.uri)
        if found is not None:
            return (_describe(source, source.uri, _checked_name(source.uri), found, bucket),)
        prefix = f"{key.rstrip('/')}/" if key else ""
        listed = {each["path"]: each for each in bucket.list(prefix, source.uri)}
        files = tuple(
            _describe(source, f"{source.uri.rstrip('/')}/{path}", path, listed[key], bucket)
            for key in sorted(listed)
            if (path := _relative(key, prefix, source.uri)) and not _is_marker(key, listed)
        )
        if not files:
            raise SourceNotFoundError(
                f"{source.uri} is neither an object nor a folder with objects: put the model "
                "there, or correct the uri"
            )
        return files

    @contextmanager
    def read(self, file: SourceFile, start: int, stop: int | None) -> Iterator[Iterator[bytes]]:
        """Open a part of the object."""
        bucket, key = self._open(file.uri, file.secret)
        yield bucket.read(key, file, start, stop)

    def _open(self, uri: str, secret: str | None) -> tuple[Bucket, str]:
        scheme, _, rest = uri.partition("://")
        name, _, key = rest.partition("/")
        with self._lock:
            at = (scheme, name, self._secrets.name_for(secret))
            if at not in self._buckets:
                values = self._secrets.read(secret, tuple(KEYS[scheme]), uri)
                self._buckets[at] = self._connect(scheme, name, values, secret, uri)
            return self._buckets[at], key

    def _connect(
        self, scheme: str, name: str, values: Mapping[str, str], secret: str | None, uri: str
    ) -> Bucket:
        store = load_obstore("obstore.store")
        endpoint = values.get(_ENDPOINTS[scheme]) or os.environ.get(_ENDPOINTS[scheme], "")
        if endpoint.startswith("http://") and not _SENT.isdisjoint(values):
            raise InvalidSourceError(
                f"{uri}: credentials are not sent unencrypted: use an https endpoint, or a Secret"
                " without them"
            )
        if values and endpoint and _ENDPOINTS[scheme] not in values:
            # The spec's, not the Secret's: even a signature helps to guess a weak key.
            self._secrets.check_receiver(secret, endpoint, uri)
        client: dict[str, Any] = {
            "connect_timeout": timedelta(seconds=self._timeout_seconds),
            "read_timeout": timedelta(seconds=self._timeout_seconds),
            "timeout": timedelta(days=7),  # of one part; read_timeout finds what hangs
            "allow_http": endpoint.startswith("http://"),
        }
        if self._ca_bundle is not None:
            client["root_certificate"] = self._ca_bundle.read_bytes()
        config: dict[str, Any] = {KEYS[scheme][key]: value for key, value in values.items()}
        if scheme == "gs" and endpoint:
            config |= {"base_url": endpoint, "skip_signature": not values}
        options = {"client_options": client, "retry_config": {"max_retries": 0}}
        try:
            match scheme:
                case "s3":
                    opened = store.S3Store(name, **config, **options)
                case "gs":
                    opened = store.GCSStore(name, **config, **options)
                case _:
                    opened = store.AzureStore(name, **config, **options)
        except Exception as error:
            raise InvalidSourceError(
                f"{uri}: the store cannot be used: {blot_out(str(error), values)[:200]}; "
                "correct the Secret"
            ) from None
        return Bucket(opened, endpoint, values)


def _describe(
    source: SourceRef, uri: str, path: str, meta: Mapping[str, Any], bucket: Bucket
) -> SourceFile:
    return SourceFile(
        uri, path, meta["size"], validator_of(meta), ranges=True, store=bucket.endpoint,
        secret=source.secret,
    )  # fmt: skip


def _checked_name(uri: str) -> str:
    try:
        return check_name(uri.rpartition("/")[2])
    except InvalidSpecError as error:
        raise InvalidSourceError(f"{uri}: {error}") from error


def _relative(key: str, prefix: str, uri: str) -> str:
    """Return a key's path below the prefix; empty for the prefix itself."""
    path = key.removeprefix(prefix) if f"{key}/" != prefix else ""
    try:
        return check_path(path).as_posix() if path else ""
    except InvalidSpecError as error:
        raise InvalidSourceError(f"{uri}: {error}") from error


def _is_marker(key: str, listed: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether an empty object only stands for the folder of others."""
    if listed[key]["size"]:
        return False
    return any(other.startswith(f"{key}/") for other in listed)
