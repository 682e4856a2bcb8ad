"""The operator under kopf: kopf watches and keeps the watches alive, `Operator` does the work.

Only event handlers are registered. Daemons and change handlers would put a finalizer or an
annotation on every object, and with the operator away every deletion would hang on it.
"""

import logging
import os
import platform
from typing import Any, NoReturn

import kopf

from triton_operator.adapters.api_client import KINDS
from triton_operator.handlers.operator import (
    CHILD_KINDS,
    CHILD_SELECTOR,
    FOREIGN_KINDS,
    OWN_KINDS,
    Operator,
)
from triton_operator.settings import Settings

EXIT_LEASE_LOST = 3

_logger = logging.getLogger(__name__)


def run_operator() -> None:
    """Run until the process is told to stop."""
    settings = Settings.from_environment()
    json = settings.log_format == "json"
    kopf.configure(
        log_format=kopf.LogFormat.JSON if json else kopf.LogFormat.FULL,
        verbose=settings.log_level == "debug",
        quiet=settings.log_level == "warning",
    )
    # One line for every event of every object is no news.
    for chatty in ("kopf.objects", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    kopf.run(
        settings=build_kopf_settings(),
        memo=kopf.Memo(settings=settings),
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        # kopf would put the user's name into it, which a container's user need not have.
        identity=platform.node(),  # type: ignore[arg-type]
    )


def build_kopf_settings() -> kopf.OperatorSettings:
    """Return how kopf is to behave."""
    settings = kopf.OperatorSettings()
    # Events are ours, on transitions; a log line is not one.
    settings.posting.enabled = False
    # What is watched is known: no permission to read all CRDs and namespaces is needed.
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.persistence.progress_storage = _NoProgress()
    for kind in CHILD_KINDS:
        settings.watching.label_selectors[_resource(kind)] = CHILD_SELECTOR
    return settings


class _NoDiffs(kopf.DiffBaseStorage):
    """Keeps no last state: event handlers need none, and kopf copies each object to find it."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        """Return nothing of an object."""
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """Return no last state."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Keep nothing."""


class _NoProgress(kopf.ProgressStorage):
    """Keeps no progress of handlers: event handlers make none."""

    def fetch(self, *, key: Any, body: kopf.Body) -> Any:
        """Return no progress."""
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Keep nothing."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Keep nothing."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: Any) -> None:
        """Keep nothing."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """Return what was kept without progress, of which there is none."""
        return essence


@kopf.on.login()
def login(**arguments: Any) -> kopf.ConnectionInfo | None:
    """Log in as the pod's service account, or as the kubeconfig says."""
    return kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)


@kopf.on.startup(backoff=2.0)
async def start(memo: Any, **_: Any) -> None:
    """Connect before the first event comes in."""
    memo.operator = await Operator.start(memo.settings, end_process)


@kopf.on.cleanup()
async def stop(memo: Any, **_: Any) -> None:
    """End all work."""
    await memo.operator.stop()


def end_process(reason: str) -> NoReturn:
    """End at once, with nothing cleared away: another process may be acting already."""
    _logger.critical("this operator ends: %s", reason)
    os._exit(EXIT_LEASE_LOST)


async def object_changed(event: kopf.RawEvent, memo: Any, **_: Any) -> None:
    """Take in the news of an object that a watch sent."""
    operator: Operator = memo.operator
    operator.changed(event["object"], deleted=event["type"] == "DELETED")


def _resource(kind: str) -> tuple[str, str, str]:
    group, _, version = KINDS[kind].api.rpartition("/")
    return (group, version, KINDS[kind].plural)


for _kind in (*OWN_KINDS, *CHILD_KINDS, *FOREIGN_KINDS):
    kopf.on.event(*_resource(_kind), id=_kind)(object_changed)
