"""What one server's part of a claim has to look like: the value that a sync Job makes true.

The operator writes a :class:`Manifest` as canonical JSON into a ConfigMap named for its digest;
the sync Job reads it back. Equal content is an equal value and equal text whatever the order it
was assembled in, so an unchanged world names the same ConfigMap.

Plain dataclasses, not pydantic: importing pydantic would double the time a sync Job takes to start.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from typing import Any, Self

MAX_GENERATIONS_BYTES = 1_020_000
"""What all generations of a manifest may take: a ConfigMap holds 1 MiB, and links need some."""
LINKS = "links"
"""What pods read whose models change while they run: ``servers/<server>``, and no revision."""
HASH_LENGTH = 16
"""Hex digits of generation hashes and manifest digests; 64 bits are plenty for one claim."""


@dataclass(frozen=True, slots=True)
class SourceRef:
    """Where a version's artifact comes from."""

    uri: str
    sha256: str | None = None
    """Expected digest of a single file, 64 lower-case hex digits; None accepts what arrives."""
    secret: str | None = None
    """Name of the Secret with the credentials; no part of what is served."""


@dataclass(frozen=True, slots=True)
class VersionContent:
    """One version folder: what is fetched into it and what is written into it."""

    version: int
    source: SourceRef | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    """Text by path relative to the version folder; wins over a fetched file of that path."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One immutable state of one model's folder."""

    object: str
    """Name of the ``TritonModel``."""
    hash: str
    """From :func:`generation_hash`."""
    config: str
    """Final text of ``config.pbtxt``, the hash parameter included."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Text by path relative to the model's folder."""
    versions: tuple[VersionContent, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "versions", _by_version(self.versions))


@dataclass(frozen=True, slots=True)
class Link:
    """What Triton finds under a model's name."""

    model: str
    """Folder name, and therefore the name under which the model is served."""
    object: str
    hash: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One server's part of a claim, whole: what it does not name is removed."""

    server: str
    generations: tuple[Generation, ...] = ()
    """Built if they are missing. A link may also point to a generation that is not listed."""
    links: tuple[Link, ...] = ()
    keep: tuple[tuple[str, str], ...] = ()
    """(object, hash) that must survive although neither linked nor listed, for rollback.

    Linked in place of a generation that cannot be made, where nothing is linked yet.
    """
    standing: tuple[tuple[str, str], ...] = ()
    """(object, hash) of ensembles that serve on until their wanted generation does.

    What they call keeps the link that it has, though nothing else names it.
    """
    immutable: bool = False
    """Publish the links as a revision, instead of moving those in ``servers/<server>``."""
    keep_revisions: tuple[str, ...] = ()
    """Digests of revisions that must survive, since pods may start from them; or LINKS."""
    remove: bool = False
    """The server goes away: take its links and its generations off the claim."""
    settings: str = ""
    """Hash of how artifacts are fetched: with other settings, what failed is tried again."""

    def __post_init__(self) -> None:
        generations = tuple(sorted(self.generations, key=lambda each: (each.object, each.hash)))
        links = tuple(sorted(self.links, key=lambda each: each.model))
        keep = tuple(sorted({(each[0], each[1]) for each in self.keep}))
        object.__setattr__(self, "generations", generations)
        object.__setattr__(self, "links", links)
        object.__setattr__(self, "keep", keep)
        object.__setattr__(self, "standing", tuple(sorted(set(self.standing))))
        object.__setattr__(self, "keep_revisions", tuple(sorted(set(self.keep_revisions))))

    def digest(self) -> str:
        """Return the short hex digest that names what is to be made.

        What is to be kept besides is no part of it: that alone is no reason to run a Job.
        """
        return replace(self, keep=(), keep_revisions=()).content_digest()

    def content_digest(self) -> str:
        """Return the short hex digest of all of it."""
        return short_digest(self.to_json())

    def to_json(self) -> str:
        """Return the canonical JSON text."""
        data = _fields(self)
        # What says nothing is left out: without it, manifests look as they always have.
        for name in ("settings", "standing"):
            if not data[name]:
                del data[name]
        return canonical_json(data)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote; unknown keys are ignored.

        Raises:
            ValueError: the text is not a manifest.

        """
        data = json.loads(text)
        try:
            return cls(
                server=_string(data["server"]),
                generations=tuple(_read_generation(each) for each in data.get("generations", ())),
                links=tuple(
                    Link(_string(each["model"]), _string(each["object"]), _string(each["hash"]))
                    for each in data.get("links", ())
                ),
                keep=_read_refs(data.get("keep", ())),
                standing=_read_refs(data.get("standing", ())),
                immutable=bool(data.get("immutable", False)),
                keep_revisions=tuple(map(_string, data.get("keep_revisions", ()))),
                remove=bool(data.get("remove", False)),
                settings=_string(data.get("settings", "")),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a repository manifest: {error!r}") from error


def generation_hash(
    config: str, files: Mapping[str, str], versions: tuple[VersionContent, ...]
) -> str:
    """Return the hash of everything that determines what Triton serves from a generation.

    Args:
        config: Text of ``config.pbtxt`` *without* the hash parameter, which will hold the result.
        files: Files beside it.
        versions: The version folders.

    """
    return short_digest(
        canonical_json(
            {
                "config": config,
                "files": dict(files),
                "versions": [
                    replace(each, source=each.source and replace(each.source, secret=None))
                    for each in _by_version(versions)
                ],
            }
        )
    )


def revision_digest(links: Iterable[Link]) -> str:
    """Return the name of the revision that holds exactly these links."""
    named = sorted([link.model, link.object, link.hash] for link in links)
    return short_digest(canonical_json(named))


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value or dataclass: sorted keys, no blanks, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_fields)


def _fields(value: Any) -> dict[str, Any]:
    """Return what a dataclass holds.

    A source without a Secret looks as it did before there were any: its hash stays what it was.
    """
    found = {each.name: getattr(value, each.name) for each in fields(value)}
    return {key: each for key, each in found.items() if not (key == "secret" and each is None)}


def short_digest(text: str) -> str:
    """Return a hash for names and comparisons."""
    return sha256(text.encode("ascii")).hexdigest()[:HASH_LENGTH]


def _by_version(versions: tuple[VersionContent, ...]) -> tuple[VersionContent, ...]:
    return tuple(sorted(versions, key=lambda each: each.version))


def _read_refs(data: Iterable[Any]) -> tuple[tuple[str, str], ...]:
    return tuple((_string(name), _string(hash_)) for name, hash_ in data)


def _read_generation(data: Mapping[str, Any]) -> Generation:
    return Generation(
        object=_string(data["object"]),
        hash=_string(data["hash"]),
        config=_string(data["config"]),
        files=_read_files(data.get("files", {})),
        versions=tuple(_read_version(each) for each in data.get("versions", ())),
    )


def _read_version(data: Mapping[str, Any]) -> VersionContent:
    source = data.get("source")
    return VersionContent(
        version=int(data["version"]),
        source=None if source is None else _read_source(source),
        files=_read_files(data.get("files", {})),
    )


def _read_source(data: Mapping[str, Any]) -> SourceRef:
    digest, secret = data.get("sha256"), data.get("secret")
    return SourceRef(
        _string(data["uri"]),
        None if digest is None else _string(digest),
        None if secret is None else _string(secret),
    )


def _read_files(data: Mapping[str, Any]) -> dict[str, str]:
    return {path: _string(text) for path, text in data.items()}


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r}")
    return value
