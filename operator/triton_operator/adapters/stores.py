"""``s3://``, ``gs://`` and ``az://``: object stores, through obstore.

obstore is imported when the first object is read: a Job that has nothing to download does not wait
for it.
"""

import importlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from triton_operator.adapters.credentials import Secrets, blot_out
from triton_operator.adapters.web import CHUNK_BYTES
from triton_operator.errors import InvalidSpecError
from triton_operator.repository.layout import check_name, check_path
from triton_operator.repository.manifest import SourceRef
from triton_operator.repository.sources import (
    InvalidSourceError,
    SourceChangedError,
    SourceFile,
    SourceNotFoundError,
    SourceRefusedError,
    SourceUnreachableError,
    SyncError,
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
_STATUS = re.compile(r"\b([45]\d\d) [A-Z][a-z]+")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_NOT_FOUND, _SERVER_ERROR = 404, 500
_TRY_LATER = frozenset({408, 429})


class StoreSources:
    """Objects, and all objects below a prefix."""

    def __init__(
        self, secrets: Secrets, *, ca_bundle: Path | None = None, timeout_seconds: float = 30.0
    ) -> None:
        """Prepare without connecting; ``timeout_seconds`` is the longest silence of a store."""
        self._secrets = secrets
        self._ca_bundle = ca_bundle
        self._timeout_seconds = timeout_seconds
        self._buckets: dict[tuple[str, str, str | None], _Bucket] = {}
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

    def _open(self, uri: str, secret: str | None) -> tuple["_Bucket", str]:
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
    ) -> "_Bucket":
        store = _obstore("obstore.store")
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
        return _Bucket(opened, endpoint, values)


class _Bucket:
    """One bucket, seen with one set of credentials."""

    def __init__(self, store: Any, endpoint: str, values: Mapping[str, str]) -> None:
        self._store = store
        self._values = values
        self.endpoint = endpoint

    def head(self, key: str, uri: str) -> Mapping[str, Any] | None:
        """Return what the store says of an object, None if there is none."""
        obstore = _obstore("obstore")
        try:
            return dict(self._call(lambda: obstore.head(self._store, key), uri))
        except SourceNotFoundError:
            return None

    def list(self, prefix: str, uri: str) -> list[Mapping[str, Any]]:
        """Return all objects below a prefix."""
        obstore = _obstore("obstore")

        def collect() -> list[Mapping[str, Any]]:
            pages: Iterable[Any] = obstore.list(self._store, prefix or None)
            return [each for page in pages for each in page]

        found: list[Mapping[str, Any]] = self._call(collect, uri)
        return found

    def read(self, key: str, file: SourceFile, start: int, stop: int | None) -> Iterator[bytes]:
        """Yield a part of an object, sure to be of the state that was listed."""
        obstore = _obstore("obstore")
        options: dict[str, Any] = {}
        if stop is not None:
            options["range"] = (start, stop)
        if file.validator.startswith('"'):
            options["if_match"] = file.validator
        result = self._call(lambda: obstore.get(self._store, key, options=options), file.uri)
        if _validator(result.meta) != file.validator:
            raise _changed(file.uri)
        stream = iter(result.stream(min_chunk_size=CHUNK_BYTES))
        while (chunk := self._call(lambda: next(stream, None), file.uri)) is not None:
            yield chunk

    def _call(self, action: Callable[[], Any], uri: str) -> Any:
        try:
            return action()
        except SyncError:
            raise
        except Exception as error:
            raise self._translate(error, uri) from None

    def _translate(self, error: Exception, uri: str) -> SyncError:
        """Return what to report; obstore's own text may hold signatures and answers."""
        exceptions = _obstore("obstore.exceptions")
        text = str(error)
        code = _CODE.search(text)
        said = f" ({code[1]})" if code else ""
        found = _STATUS.search(text)
        status = int(found[1]) if found else None
        match error:
            case _ if isinstance(error, FileNotFoundError) or status == _NOT_FOUND:
                return SourceNotFoundError(f"{uri} does not exist{said}: correct the uri")
            case exceptions.PermissionDeniedError() | exceptions.UnauthenticatedError():
                return SourceRefusedError(
                    f"{uri} may not be read{said}: name a Secret that may read it in secretRef"
                )
            case exceptions.PreconditionError():
                return _changed(uri)
        if "Error parsing Path" in text or "InvalidPath" in type(error).__name__:
            return InvalidSourceError(f"{uri} has a key with an empty, '.' or '..' part: rename it")
        if status is not None and status < _SERVER_ERROR and status not in _TRY_LATER:
            return SourceRefusedError(
                f"{uri} answers HTTP {status}{said}: correct the uri, region or credentials"
            )
        detail = f"answers HTTP {status}{said}" if status else f"fails: {self._cause(error)}"
        return SourceUnreachableError(f"{uri} {detail}; it is tried again")

    def _cause(self, error: Exception) -> str:
        text = blot_out(str(error).partition("Debug source")[0], self._values)
        return text.strip()[-160:] or type(error).__name__


def _obstore(module: str) -> Any:
    """Import a part of obstore; see the module docstring."""
    return importlib.import_module(module)


def _validator(meta: Mapping[str, Any]) -> str:
    """Return what changes with an object's content.

    Azure's lists, and others', have entity tags without the quotes that their answers have.
    """
    tag = str(meta["e_tag"] or "")
    if tag and not tag.startswith(('"', "W/")):
        tag = f'"{tag}"'
    return tag or str(meta["last_modified"].isoformat())


def _changed(uri: str) -> SourceChangedError:
    return SourceChangedError(f"{uri} changed while it was fetched; it is tried again")


def _describe(
    source: SourceRef, uri: str, path: str, meta: Mapping[str, Any], bucket: _Bucket
) -> SourceFile:
    return SourceFile(
        uri, path, meta["size"], _validator(meta), ranges=True, store=bucket.endpoint,
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
