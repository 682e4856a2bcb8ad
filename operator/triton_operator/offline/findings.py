"""What was found in manifests."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from triton_operator.offline.documents import Document, Place


class Severity(StrEnum):
    """How bad a finding is."""

    MISTAKE = "mistake"
    """The API server or the operator would refuse the object."""
    WARNING = "warning"
    """Both would take it, and it may not do what is meant."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one object."""

    severity: Severity
    file: str
    place: Place
    kind: str
    namespace: str
    name: str
    field: str
    """Path of the field, as ``spec.versions[0].source.uri``; empty for the object as a whole."""
    reason: str
    """One word for programs: the operator's reason, or Refused for what admission refuses."""
    message: str

    def __str__(self) -> str:
        subject = " ".join(filter(None, (self.kind, self.name)))
        parts = (f"{self.file}:{self.place.line}", subject, self.field, self.message)
        return ": ".join(filter(None, parts))

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON."""
        return {
            "severity": self.severity.value,
            "file": self.file,
            "line": self.place.line,
            "column": self.place.column,
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "field": self.field,
            "reason": self.reason,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found, and in how much."""

    findings: tuple[Finding, ...]
    models: int
    servers: int
    passed_over: int
    """Objects of other kinds."""

    @property
    def mistakes(self) -> tuple[Finding, ...]:
        """What would be refused."""
        return self._of(Severity.MISTAKE)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What may not do what is meant."""
        return self._of(Severity.WARNING)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "models": self.models,
            "servers": self.servers,
            "passedOver": self.passed_over,
            "mistakes": [each.to_json() for each in self.mistakes],
            "warnings": [each.to_json() for each in self.warnings],
        }

    def _of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.severity is severity)


def find(
    document: Document,
    field: str,
    message: str,
    *,
    reason: str,
    severity: Severity = Severity.MISTAKE,
    place: Place | None = None,
) -> Finding:
    """Return a finding at the place of its field, or of the field that its message begins with."""
    named = _named_field(document, field, message)
    if not field and named:
        field, message = named, message.removeprefix(f"{named}: ")
    return Finding(
        severity=severity,
        file=document.file,
        place=place or document.place(named or field),
        kind=document.kind,
        namespace=str(document.metadata.get("namespace") or ""),
        name=document.name,
        field=field,
        reason=reason,
        message=message,
    )


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings by file and line, each once."""
    return tuple(sorted(set(findings), key=lambda f: (f.file, f.place, f.field, f.message)))


def _named_field(document: Document, field: str, message: str) -> str | None:
    """Return the path of the field below ``field`` that a message begins with, if it is there."""
    word = re.match(r"[A-Za-z][\w.\[\]]*", message)
    if word is None:
        return None
    name = word[0].rstrip(".")
    paths = [f"{field}.{name}".removeprefix("."), *([name] if field == "spec" else [])]
    return next((path for path in paths if document.has(path)), None)
