"""The documentation says what the code does."""

import re
from pathlib import Path

import yaml

from tests.unit.adapters.pages import families, labels_of_families
from triton_operator.adapters.telemetry import PREFIX
from triton_operator.api.model import TritonModel
from triton_operator.api.server import TritonServer

ROOT = Path(__file__).parents[3]
CODE = ROOT / "operator" / "triton_operator"


def reasons() -> set[str]:
    """Every reason that a condition, a failure or an Event can have, as the code spells it."""
    patterns = (
        r'reason(?:: ClassVar\[str\])? = "([A-Z][A-Za-z]+)"',
        r'Rejected\(\s*\w+(?:\.\w+)*, "([A-Z][A-Za-z]+)"',
        r'Problem\("([A-Z][A-Za-z]+)"',
        r'Finding\(\s*ConditionType\.\w+,\s*[\w. >!=0]+,\s*"([A-Z][A-Za-z]+)"',
        r'_report\(\s*record, "([A-Z][A-Za-z]+)"',
        r'report_unserved\(\s*\w+, "([A-Z][A-Za-z]+)"',
        r'Event\("\w+", "([A-Z][A-Za-z]+)"',
        r'"([A-Z][A-Za-z]+)" (?:if|else)',
        r'else "([A-Z][A-Za-z]+)"',
        r"(?:LOAD_FAILED|SERVER_DIED|LOAD_TIMED_OUT|BREAKS_ENSEMBLE|SYNC_BLOCKED|SERVER_INVALID"
        r"|FOREIGN_AUTOSCALER)"
        r' = "([A-Z][A-Za-z]+)"',
        r'Hold\("([A-Z][A-Za-z]+)"',
    )
    not_reasons = {"Error", "Retrying", "ServerUnreachable", "InProgress", "Job", "Service"}
    not_reasons |= {"Done", "Incomplete", "Unclear", "Warning", "GET"}  # of metrics, and verbs
    text = "\n".join(path.read_text() for path in CODE.rglob("*.py"))
    found = {match for pattern in patterns for match in re.findall(pattern, text)}
    return found - not_reasons - {"True", "False", "Background", "Foreground"}


def test_troubleshooting_has_every_reason():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    documented = set(re.findall(r"`([A-Z][A-Za-z]+)`", page))
    assert len(reasons()) > 25
    assert reasons() <= documented


def test_telemetry_has_every_metric_with_its_labels():
    page = (ROOT / "docs" / "telemetry.md").read_text()
    rows = re.findall(rf"^\| `({PREFIX}_\w+)` \|(.*?)\| \S", page, re.MULTILINE)
    described: dict[str, set[str]] = {}
    for name, cell in rows:
        before = described[rows[len(described) - 1][0]] if "the same" in cell else set()
        described[name] = before | set(re.findall(r"`(\w+)`", cell))
    assert len(described) == len(rows)
    assert set(described) == set(families())
    for name, labels in labels_of_families().items():
        assert described[name] == labels, name


def test_telemetry_has_every_alert():
    page = (ROOT / "docs" / "telemetry.md").read_text()
    rules = (ROOT / "charts" / "triton-operator" / "files" / "alerts.yaml").read_text()
    told = re.findall(r"^\| `(Triton\w+)` \|", page, re.MULTILINE)
    assert told == re.findall(r"alert: (\w+)", rules)


def test_the_objects_in_the_readme_are_valid():
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    objects = [each for block in blocks for each in yaml.safe_load_all(block)]
    assert {each["kind"] for each in objects} == {"TritonModel", "TritonServer"}
    for each in objects:
        (TritonModel if each["kind"] == "TritonModel" else TritonServer).parse(each)


def test_links_between_documents_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+)\)", prose):
            if not target.startswith("https://"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_what_the_threat_model_names_as_shown_is_a_test():
    page = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", page)
    assert len(named) > 25
    for path, test in named:
        assert re.search(rf"^(async )?def {test}\(", (ROOT / path).read_text(), re.M), test
    for line in page.split("## Threats")[1].split("##")[0].splitlines():
        assert not line.startswith("| ") or "::" in line or "shown by" in line, line
