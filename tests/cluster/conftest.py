"""Fixtures of the tests on a cluster: its API, the operator on it, a namespace for each module.

The cluster is the one that ``KUBECONFIG`` names; ``make test`` starts one. Tests talk to pods and
Services by their addresses, as the test cluster lets them.
"""

import os
import re
import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.support import report
from tests.cluster.support.installation import Installation
from tests.cluster.support.kube import Kube, proxy
from tests.cluster.support.waiting import wait_for
from tests.cluster.support.world import World

_LAST = ("test_chart", "test_rights", "test_uninstall")
"""Modules that take the operator away from all others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem in _LAST)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    result = outcome.get_result()  # type: ignore[attr-defined]
    world = getattr(item, "funcargs", {}).get("world")
    if result.failed and isinstance(world, World):
        result.sections.append(("the cluster", report.dump(world.namespace)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if report.FIGURES:
        terminalreporter.section("measured on the cluster")
        for line in report.FIGURES:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def kube() -> Iterator[Kube]:
    """The cluster's API."""
    if not os.environ.get("KUBECONFIG"):
        pytest.fail(
            "these tests need a cluster: run `make test`, or start one with"
            ' `python3 -m tests.cluster up` and set KUBECONFIG (eval "$(python3 -m tests.cluster'
            ' env)"); leave them out with -m "not cluster"',
            pytrace=False,
        )
    with proxy() as kube:
        yield kube


@pytest.fixture(scope="session")
def operator(kube: Kube) -> Installation:
    """The operator, installed with its chart, from the image that the cluster has now."""
    installation = Installation(kube)
    before = installation.pods()
    installation.install()
    if before and installation.pods() == before:
        # The same release: but the image of the same name may be another.
        installation.refresh()
    return installation


@pytest.fixture(scope="session")
def namespaces(kube: Kube) -> Iterator[Callable[[str], str]]:
    """Makes namespaces; at the end of the session all of them must go."""
    made: list[str] = []

    def make(hint: str) -> str:
        name = f"t-{hint}-{secrets.token_hex(3)}"
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        made.append(name)
        return name

    yield make
    for name in made:
        kube.delete("Namespace", "", name)
    for name in made:
        wait_for(
            f"namespace {name} is gone",
            lambda name=name: kube.get("Namespace", "", name) is None,
            120,
            seen=lambda name=name: kube.get("Namespace", "", name),
        )


@pytest.fixture(scope="module")
def world(
    request: pytest.FixtureRequest,
    kube: Kube,
    operator: Installation,
    namespaces: Callable[[str], str],
) -> Iterator[World]:
    """The module's namespace; it goes at the end of the module, with all that is in it."""
    hint = re.sub(r"[^a-z0-9]+", "-", request.path.stem.removeprefix("test_"))
    name = namespaces(hint)
    yield World(kube, name)
    # Its end is awaited at the end of the session: the next module need not wait for it.
    kube.delete("Namespace", "", name)


@pytest.fixture(scope="session")
def figure() -> Callable[[str], None]:
    """Keeps a line for the end of the run."""
    return report.FIGURES.append
