"""Hooks of MkDocs, for what its configuration cannot say."""

import posixpath
import re
from pathlib import Path
from typing import Any

_BLOCK = re.compile(r"(?:- |1\. |\| )")
_PROSE = re.compile(r"(?!- |\d+\. |\||#|<!--|```|\s)")
_LINK = re.compile(r"\]\(((?:\.\./)+[^)]+)\)")


def on_config(config: Any) -> Any:
    """Return the configuration with every decision in the navigation, in its order."""
    folder = Path(config.docs_dir)
    decisions = sorted(path for path in folder.glob("adr/[0-9]*.md"))
    section = next(each for each in config.nav if "Decisions" in each)
    section["Decisions"] += [path.relative_to(folder).as_posix() for path in decisions]
    return config


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Return the page as GitHub would show it.

    Links that leave docs/ lead into the repository; a list or table right after a line of text is
    one.
    """
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def replace(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link[1]))
        if path.startswith("docs/"):
            return link[0]
        return f"]({config.extra['repository']}/{path})"

    return _apart(_LINK.sub(replace, markdown))


def _apart(markdown: str) -> str:
    """Return a page with an empty line between text and a list or table that follows."""
    lines, before, code = [], "", False
    for line in markdown.split("\n"):
        code ^= line.startswith("```")
        if not code and before and _PROSE.match(before) and _BLOCK.match(line):
            lines.append("")
        lines.append(line)
        before = line
    return "\n".join(lines)
