"""Objects as YAML that people read: every part in full, texts as blocks, nothing sorted.

``kubectl`` takes more words for numbers and truth values than PyYAML does; those are quoted.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

KUBECTLS_NUMBERS: Final = (
    ("tag:yaml.org,2002:float", re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+$")),
    ("tag:yaml.org,2002:int", re.compile(r"[-+]?0o[0-7]+$")),
)
"""Numbers to ``kubectl`` that are texts to PyYAML."""
STARTS_OF_NUMBERS: Final = list("-+.0123456789")


def _printable(line: str) -> str:
    return "".join(each if each.isprintable() else " " for each in line)


class _Dumper(yaml.SafeDumper):
    """Writes no aliases, and texts of several lines as blocks."""

    def ignore_aliases(self, data: object) -> bool:
        """Write what stands in several places in full each time."""
        return True

    def analyze_scalar(self, scalar: str) -> Any:
        """Allow blocks for texts with tabs, or blanks at the ends of lines, as programs have."""
        analysis = super().analyze_scalar(scalar)
        if analysis.multiline and _is_plain(scalar) and not scalar[0].isspace():
            analysis.allow_block = True
        return analysis


def _is_plain(text: str) -> bool:
    return all(each.isprintable() or each in "\n\t" for each in text)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if not _is_plain(text):
        style = '"'
    elif "\n" in text:
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
    numbers = bool(items) and all(isinstance(each, int | float) for each in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=numbers or None)


for _tag, _pattern in KUBECTLS_NUMBERS:
    _Dumper.add_implicit_resolver(_tag, _pattern, STARTS_OF_NUMBERS)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"[yYnN]$"), list("yYnN"))
_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)


def dump(manifest: Mapping[str, Any], *, comments: Iterable[str] = ()) -> str:
    """Return one document, begun with ``---`` and the comments, one a line."""
    lines = (line for comment in comments for line in comment.splitlines() or [""])
    head = "".join(f"# {_printable(line)}".rstrip() + "\n" for line in lines)
    text: str = yaml.dump(
        dict(manifest), Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True
    )
    return f"---\n{head}{text}"
