"""How findings are shown: to people, to programs, and in GitHub's pull requests."""

import json
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from triton_operator.offline.documents import UnreadableError
from triton_operator.offline.findings import Finding, Report, Severity

EXIT_FINE = 0
EXIT_MISTAKES = 1
EXIT_UNUSABLE = 2

_COLOURS = {Severity.MISTAKE: "bold red", Severity.WARNING: "bold yellow"}


def show_report(report: Report, unreadable: Iterable[UnreadableError], *, output: str) -> int:
    """Write a report to standard output, its summary to standard error; return the exit code."""
    errors = tuple(unreadable)
    match output:
        case "json":
            _write_json(report, errors)
        case "github":
            _write_annotations(report, errors)
        case _:
            write_findings(report, errors, error=False)
    if output != "json":
        Console(stderr=True, highlight=False).print(_summary(report), soft_wrap=True)
    if errors:
        return EXIT_UNUSABLE
    return EXIT_MISTAKES if report.mistakes else EXIT_FINE


def write_findings(report: Report, unreadable: Iterable[UnreadableError], *, error: bool) -> None:
    """Write one line for each finding, in colours if a terminal reads them."""
    console = Console(stderr=error, highlight=False)
    for each in unreadable:
        console.print(_line(f"{each.file}:{each.line}", "", each.message), soft_wrap=True)
    for finding in report.findings:
        console.print(_finding(finding), soft_wrap=True)


def _finding(finding: Finding) -> Text:
    subject = " ".join(filter(None, (finding.kind, finding.name)))
    text = Text(f"{finding.file}:{finding.place.line}", style="bold")
    text.append(f": {subject}: ", style="not bold")
    if finding.severity is Severity.WARNING:
        text.append("warning: ", style=_COLOURS[finding.severity])
    if finding.field:
        text.append(finding.field, style="cyan not bold").append(": ", style="not bold")
    return text.append(finding.message, style="not bold")


def _line(place: str, subject: str, message: str) -> Text:
    parts = filter(None, (subject, message))
    return Text(place, style="bold").append(f": {': '.join(parts)}", style="not bold")


def _summary(report: Report) -> Text:
    mistakes, warnings = len(report.mistakes), len(report.warnings)
    text = Text(
        f"{_count(mistakes, 'mistake')}, {_count(warnings, 'warning')} in"
        f" {_count(report.models, 'TritonModel')} and {_count(report.servers, 'TritonServer')}"
    )
    if report.passed_over:
        text.append(f"; {_count(report.passed_over, 'object')} of other kinds passed over")
    text.stylize(_COLOURS[Severity.MISTAKE] if mistakes else "green")
    return text


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _write_json(report: Report, unreadable: Iterable[UnreadableError]) -> None:
    problems = [
        {"file": each.file, "line": each.line, "message": each.message} for each in unreadable
    ]
    sys.stdout.write(json.dumps({**report.to_json(), "unreadable": problems}, indent=2) + "\n")


def _write_annotations(report: Report, unreadable: Iterable[UnreadableError]) -> None:
    """Write workflow commands, which GitHub shows beside the lines of a pull request."""
    for each in unreadable:
        sys.stdout.write(f"::error file={_property(each.file)},line={each.line}::")
        sys.stdout.write(f"{_escaped(each.message)}\n")
    for finding in report.findings:
        level = "error" if finding.severity is Severity.MISTAKE else "warning"
        place = f"file={_property(finding.file)},line={finding.place.line}"
        place += f",col={finding.place.column}"
        subject = f"{finding.kind} {finding.name}"
        message = ": ".join(filter(None, (subject, finding.field, finding.message)))
        sys.stdout.write(f"::{level} {place}::{_escaped(message)}\n")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
