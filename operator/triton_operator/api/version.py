"""One version of a model: where its files come from."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from triton_operator.api.meta import Resource
from triton_operator.api.paths import MAX_PATH, is_file_name
from triton_operator.api.rules import Rule, Schema
from triton_operator.api.sync import SecretRef

MAX_VERSIONS = 64
_NAME = "[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
_URI = (
    f"^((https?://[!-.0-~]+|(pvc|s3|gs|az)://{_NAME})/[!-~]+"
    f"|hf://((datasets|spaces)/)?{_NAME}/{_NAME}(@[A-Za-z0-9._-]+)?(/[!-~]*)?)$"
)

Files = Annotated[
    Mapping[str, Annotated[str, Field(max_length=262_144)]],
    Field(max_length=64),
    Rule(
        cel=f"self.all(path, size(path) <= {MAX_PATH} && path.split('/').all(part,"
        " part != '' && part != '.' && part != '..'))",
        message="files: paths must stay inside their folder: remove a leading '/' and every"
        " empty, '.' or '..' part",
        holds=lambda files: all(len(path) <= MAX_PATH and is_file_name(path) for path in files),
    ),
    Rule(
        cel=None,  # would cost the API server the square of the number of files
        message="files: a path is a file and the folder of another one: rename one of them",
        holds=lambda files: (
            not any(other.startswith(f"{path}/") for path in files for other in files)
        ),
    ),
]
"""Contents of small text files, by path."""


class Source(Resource):
    """Where the files of a version come from."""

    uri: Annotated[
        str,
        Field(max_length=2048),
        Rule(
            cel=f"self.matches('{_URI}') && !self.split('/').exists(part, part == '..')",
            message="uri must be https://<host>/<path>, s3://, gs:// or az://<bucket>/<path>,"
            " hf://<owner>/<repository>/<path>, or pvc://<claim>/<path> for what lies on a claim,"
            " in ASCII without spaces and '..'",
            holds=lambda uri: re.fullmatch(_URI, uri) is not None and ".." not in uri.split("/"),
        ),
    ]
    """File or folder to copy: s3://, gs:// or az://<bucket>/<path>, pvc://<claim>/<path> on a
    claim of the same namespace, hf://<owner>/<repository>[@<revision>]/<path>, or a file at
    https://<host>/<path>."""
    sha256: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the file, in lower-case hexadecimal; what does not match is not served."""
    secret_ref: SecretRef | None = None
    """Credentials; those of the server's repository.sync if left out."""


class ModelVersion(Resource):
    """One version folder of the model."""

    rules = (
        Rule(
            cel="has(self.source) || (has(self.files) && size(self.files) > 0)",
            message="a version needs a source or files: set source.uri, or write the files inline",
            holds=lambda self: self.source is not None or bool(self.files),
        ),
    )

    version: Annotated[
        int,
        Field(le=2**31 - 1),
        Schema({"format": "int64"}),
        Rule(
            cel="self >= 1",
            message="version must be 1 or more: Triton ignores the others",
            holds=lambda version: version >= 1,
        ),
    ]
    """Number of the version, and name of its folder."""
    source: Source | None = None
    """Where the files come from."""
    files: Files = Field(default_factory=dict)
    """Small text files written here, by path inside the version's folder."""
