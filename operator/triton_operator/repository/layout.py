"""Where everything lies on a claim, and which names may become part of a path.

::

    blobs/<sha256>                       every downloaded artifact once
    generations/<model object>/<hash>/   config.pbtxt, 1/…, 2/…  immutable; files link to blobs
    servers/<server>/<model name>        -> ../../generations/<model object>/<hash>
    revisions/<server>/<digest>/<model name>   the same links as they once were; immutable
    .index/<hash>                        -> ../blobs/<sha256>, by what a source says of its file
    .staging/<server>.<random>/          half-built generations and the like, of one run; links to
                                         generations that it built or took a link off
    .staging/<server>.<hash>/            a download that the next run goes on with

Names come from users' objects. Each is checked here, where it becomes part of a path, so that no
other code has to remember to.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from triton_operator.errors import InvalidSpecError

CONFIG_FILE = "config.pbtxt"
RECORD_FILE = ".artifacts.json"
"""What a generation was made of; beside ``config.pbtxt``, where Triton looks at nothing else."""
EMPTY_VERSION = 1
"""The version folder of a model without any; Triton refuses an ensemble that has none."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HASH = re.compile(r"[0-9a-f]{1,64}")
_MAX_COMPONENT = 255


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of the operator on the claim mounted at ``root``."""

    root: Path

    @property
    def blobs(self) -> Path:
        """Folder of all downloaded artifacts."""
        return self.root / "blobs"

    @property
    def generations(self) -> Path:
        """Folder of one folder per model object."""
        return self.root / "generations"

    @property
    def servers(self) -> Path:
        """Folder of one folder per server."""
        return self.root / "servers"

    @property
    def revisions(self) -> Path:
        """Folder of one folder per server, which holds its revisions."""
        return self.root / "revisions"

    @property
    def staging(self) -> Path:
        """Folder of what is not finished; Triton never reads it."""
        return self.root / ".staging"

    @property
    def index(self) -> Path:
        """Folder of links from what sources say of their files to the blobs that they became."""
        return self.root / ".index"

    def download(self, server: str, identity: str) -> Path:
        """Return the folder of a download that outlives its run."""
        return self.staging / f"{check_name(server)}.{check_sha256(identity)}"

    def blob(self, digest: str) -> Path:
        """Return where the artifact with this sha256 lies."""
        return self.blobs / check_sha256(digest)

    def object(self, name: str) -> Path:
        """Return the folder of all generations of a model object."""
        return self.generations / check_name(name)

    def generation(self, name: str, hash_: str) -> Path:
        """Return the folder of one generation."""
        if not _HASH.fullmatch(hash_):
            raise InvalidSpecError(f"{hash_!r} is not the hash of a generation")
        return self.object(name) / hash_

    def server(self, name: str) -> Path:
        """Return the folder of links that the pods of a server read while they change."""
        return self.servers / check_name(name)

    def revision(self, server: str, digest: str) -> Path:
        """Return the folder of links that the pods of one revision of a server read."""
        if not _HASH.fullmatch(digest):
            raise InvalidSpecError(f"{digest!r} is not the digest of a revision")
        return self.revisions / check_name(server) / digest

    def link_target(self, folder: Path, name: str, hash_: str) -> str:
        """Return what a link to a generation says that lies in a folder of this claim."""
        up = "../" * len(folder.relative_to(self.root).parts)
        return f"{up}{self.generation(name, hash_).relative_to(self.root).as_posix()}"


def read_link_target(target: str) -> tuple[str, str] | None:
    """Return (object, hash) of a link's target, None if it is no link of ours."""
    match PurePosixPath(target).parts:
        case ("..", "..", "generations", name, hash_) if _HASH.fullmatch(hash_):
            return name, hash_
        case ("..", "..", "..", "generations", name, hash_) if _HASH.fullmatch(hash_):
            return name, hash_
        case _:
            return None


def is_blob_name(name: str) -> bool:
    """Tell whether a file of this name in ``blobs/`` is one of ours."""
    return _SHA256.fullmatch(name) is not None


def staging_owner(entry: str) -> str | None:
    """Return the server whose run made an entry of ``.staging/``, None if it is not ours."""
    server, dot, random = entry.rpartition(".")
    return server if dot and _HASH.fullmatch(random) else None


def is_download(entry: str) -> bool:
    """Tell whether an entry of ``.staging/`` is a download that outlives its run."""
    return staging_owner(entry) is not None and is_blob_name(entry.rpartition(".")[2])


def check_sha256(digest: str) -> str:
    """Return the digest in lower case, or refuse it."""
    if not _SHA256.fullmatch(digest.lower()):
        raise InvalidSpecError(f"{digest!r} is not a sha256: give 64 hexadecimal digits")
    return digest.lower()


def check_name(name: str) -> str:
    """Return a name that is safe as one component of a path, or refuse it."""
    if (
        name in {"", ".", ".."}
        or "/" in name
        or "\\" in name
        or not name.isprintable()
        or len(name.encode()) > _MAX_COMPONENT
    ):
        raise InvalidSpecError(f"{name!r} cannot be the name of a file or folder")
    return name


def check_path(path: str) -> PurePosixPath:
    """Return a relative path that cannot leave the folder it is joined to, or refuse it."""
    parts = path.split("/")
    try:
        for part in parts:
            check_name(part)
    except InvalidSpecError as error:
        raise InvalidSpecError(
            f"{path!r} is not a path inside the model's folder: {error}"
        ) from error
    return PurePosixPath(*parts)


def check_version(version: int) -> str:
    """Return the name of a version's folder, or refuse it: Triton ignores those below 1."""
    if version < 1:
        raise InvalidSpecError(f"version {version} is never served: versions start at 1")
    return str(version)


def check_files(paths: Iterable[str]) -> None:
    """Refuse paths of which one would have to be a file and a folder at once."""
    files = {check_path(path) for path in paths}
    for file in files:
        for parent in file.parents:
            if parent in files:
                raise InvalidSpecError(f"'{parent}' cannot be a file and the folder of '{file}'")


def check_model_files(paths: Iterable[str]) -> None:
    """Refuse files beside ``config.pbtxt`` that would change what Triton finds there."""
    paths = tuple(paths)
    check_files(paths)
    for path in paths:
        first, *below = check_path(path).parts
        if first == CONFIG_FILE:
            raise InvalidSpecError(f"'{path}' is written by the operator: use the model's config")
        if first == RECORD_FILE:
            raise InvalidSpecError(f"'{path}' is written by the operator: give it another name")
        if below and first[0].isdigit():
            # Triton reads folder names with stoll: "3.tmp" would be served as version 3.
            raise InvalidSpecError(f"'{path}' would be read as a version: list it under versions")
