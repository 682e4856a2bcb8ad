"""One bucket of an object store, and what its errors mean to the user of a source."""

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from triton_operator.adapters.credentials import blot_out
from triton_operator.adapters.web import CHUNK_BYTES
from triton_operator.repository.sources import (
    InvalidSourceError,
    SourceChangedError,
    SourceFile,
    SourceNotFoundError,
    SourceRefusedError,
    SourceUnreachableError,
    SyncError,
)

_STATUS = re.compile(r"\b([45]\d\d) [A-Z][a-z]+")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_NOT_FOUND, _SERVER_ERROR = 404, 500
_TRY_LATER = frozenset({408, 429})


class Bucket:
    """One bucket, seen with one set of credentials."""

    def __init__(self, store: Any, endpoint: str, values: Mapping[str, str]) -> None:
        self._store = store
        self._values = values
        self.endpoint = endpoint

    def head(self, key: str, uri: str) -> Mapping[str, Any] | None:
        """Return what the store says of an object, None if there is none."""
        obstore = load_obstore("obstore")
        try:
            return dict(self._call(lambda: obstore.head(self._store, key), uri))
        except SourceNotFoundError:
            return None

    def list(self, prefix: str, uri: str) -> list[Mapping[str, Any]]:
        """Return all objects below a prefix."""
        obstore = load_obstore("obstore")

        def collect() -> list[Mapping[str, Any]]:
            pages: Iterable[Any] = obstore.list(self._store, prefix or None)
            return [each for page in pages for each in page]

        found: list[Mapping[str, Any]] = self._call(collect, uri)
        return found

    def read(self, key: str, file: SourceFile, start: int, stop: int | None) -> Iterator[bytes]:
        """Yield a part of an object, sure to be of the state that was listed."""
        obstore = load_obstore("obstore")
        options: dict[str, Any] = {}
        if stop is not None:
            options["range"] = (start, stop)
        if file.validator.startswith('"'):
            options["if_match"] = file.validator
        result = self._call(lambda: obstore.get(self._store, key, options=options), file.uri)
        if validator_of(result.meta) != file.validator:
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
        exceptions = load_obstore("obstore.exceptions")
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


def load_obstore(module: str) -> Any:
    """Import a part of obstore.

    Only once an object is read: a Job that has nothing to download does not wait for it.
    """
    return importlib.import_module(module)


def validator_of(meta: Mapping[str, Any]) -> str:
    """Return what changes with an object's content.

    Azure's lists, and others', have entity tags without the quotes that their answers have.
    """
    tag = str(meta["e_tag"] or "")
    if tag and not tag.startswith(('"', "W/")):
        tag = f'"{tag}"'
    return tag or str(meta["last_modified"].isoformat())


def _changed(uri: str) -> SourceChangedError:
    return SourceChangedError(f"{uri} changed while it was fetched; it is tried again")
