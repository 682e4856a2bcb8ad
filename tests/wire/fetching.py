"""What the tests of sources do with them: list, fetch, look at what came."""

from dataclasses import dataclass, field
from pathlib import Path

from triton_operator.repository.downloads import Downloads, Limits
from triton_operator.repository.manifest import SourceRef
from triton_operator.repository.partial import Partial
from triton_operator.repository.sources import Sources


@dataclass
class Fetcher:
    """Fetches with sources, as a sync Job does, but never waits."""

    sources: Sources
    folder: Path
    limits: Limits = field(default_factory=Limits)
    waits: list[float] = field(default_factory=list)
    count: int = 0

    def read(self, uri: str, secret: str | None = None) -> bytes:
        """Return the content of the one file of a uri."""
        (content,) = self.read_all(uri, secret).values()
        return content

    def read_all(self, uri: str, secret: str | None = None) -> dict[str, bytes]:
        """Return the content of all files of a uri, by path."""
        found = {}
        downloads = Downloads(self.sources, self.limits, sleep=self.waits.append)
        for file in downloads.list_files(SourceRef(uri, secret=secret)):
            self.count += 1
            with Partial.create(self.folder / str(self.count)) as partial:
                downloads.fetch(file, partial, lambda _: None)
                partial.finish()
                found[file.path] = partial.path.read_bytes()
            assert file.size in {None, len(found[file.path])}
        return found
