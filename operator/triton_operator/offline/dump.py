"""Objects as YAML that people read: every part in full, texts as blocks, nothing sorted."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Writes no aliases, and texts of several lines as blocks."""

    def ignore_aliases(self, data: object) -> bool:
        """Write what stands in several places in full each time."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_text)


def dump(manifest: Mapping[str, Any], *, comments: Iterable[str] = ()) -> str:
    """Return one document, begun with ``---`` and the comments, one a line."""
    lines = (line for comment in comments for line in comment.splitlines() or [""])
    head = "".join(f"# {line}".rstrip() + "\n" for line in lines)
    text: str = yaml.dump(
        dict(manifest), Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True
    )
    return f"---\n{head}{text}"
