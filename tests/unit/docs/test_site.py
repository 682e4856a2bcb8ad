"""The documentation's site: it builds, and no link in it is broken."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site; strict: a page that is not in the navigation, or a broken link, is an error.

    With --quiet mkdocs would not count its warnings.
    """
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_it_has_every_page(site: Path) -> None:
    sources = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")}
    names = {path.with_name("index") if path.name == "README" else path for path in sources}
    built = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}

    assert len(names) > 20
    assert names - built == set()


def test_it_fetches_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|link[^>]*stylesheet)[^>]*(?:src|href)="([^"]+)"',
                            page.read_text(encoding="utf-8"))  # fmt: skip
        assert [address for address in loaded if "//" in address] == []


def test_links_to_other_files_lead_into_the_repository(site: Path) -> None:
    page = (site / "autoscaling.html").read_text(encoding="utf-8")
    repository = "https://github.com/OWNER/triton-operator/blob/main/"
    targets = re.findall(rf'href="{repository}([^"]+)"', page)

    assert targets
    assert all((ROOT / target).exists() for target in targets)


def test_lists_and_tables_are_no_paragraphs(site: Path) -> None:
    """GitHub needs no empty line before them, the site does."""
    for page in site.rglob("*.html"):
        text = re.sub(r"<pre>.*?</pre>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert re.findall(r"^(?:- |\| |\d+\. ).*", text, re.MULTILINE) == [], page.name
