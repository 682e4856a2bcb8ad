"""What a user of ``kubectl triton`` is told when something is missing, and how to mend it.

* PluginError        it did not work; exit code 1
  - UnusableError    the arguments cannot be used as they are; exit code 2
"""

from http import HTTPStatus
from typing import ClassVar

from triton_operator import names
from triton_operator.errors import ClusterError


class PluginError(Exception):
    """Something failed; the message says what, and the mend."""

    exit_code: ClassVar[int] = 1


class UnusableError(PluginError):
    """What the user asked for does not exist, or cannot be read."""

    exit_code = 2


def explain(error: ClusterError) -> PluginError:
    """Return what an answer of the API server means to the user."""
    match error.status:
        case None:
            return PluginError(
                f"the API server does not answer ({error.message}): is the cluster up, and is it"
                " the one of your current context (`kubectl config current-context`, --context)?"
            )
        case HTTPStatus.UNAUTHORIZED:
            return PluginError(
                "the API server does not know you: log in to the cluster again, or choose another"
                " --context"
            )
        case HTTPStatus.FORBIDDEN:
            return PluginError(
                f"you may not do this: {error.message}; docs/kubectl-plugin.md lists the rights"
                " that each command needs"
            )
        case HTTPStatus.NOT_FOUND if names.GROUP in str(error):
            return PluginError(
                f"this cluster does not know {names.API_VERSION}: install the operator's chart"
                " (`helm install`), or choose another --context"
            )
        case _:
            return PluginError(str(error))
