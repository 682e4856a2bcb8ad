"""Which models change together: an ensemble and what it calls, before the change or after it.

Where Triton finds a member that does not fit its ensemble, it serves neither.
"""

import re
from collections.abc import Collection, Iterable, Mapping

_CALLED = re.compile(r'model_name\s*:\s*"([^"]+)"')
"""In a config that the operator has rendered; only the steps of an ensemble have such a field."""


def called_models(config: str) -> frozenset[str]:
    """Return the models that an ensemble calls, by the text of its config; none for others."""
    return frozenset(_CALLED.findall(config)) if "ensemble_scheduling" in config else frozenset()


def find_groups(
    changing: Collection[str], *states: Mapping[str, Collection[str]]
) -> list[frozenset[str]]:
    """Return the changing models in groups, of which each has to change in one go.

    Args:
        changing: Names of the models.
        states: What each ensemble calls, as it is now and as it will be. An ensemble that stays
            as it is holds members together that change, too.

    """
    groups = {name: frozenset({name}) for name in changing}
    for calls in states:
        for ensemble, members in calls.items():
            if members:  # as few models have: a server may have very many
                tied = (groups[name] for name in find_called(ensemble, calls) if name in groups)
                group = frozenset[str]().union(*tied)
                groups |= dict.fromkeys(group, group)
    return list(set(groups.values()))


def find_called(ensemble: str, calls: Mapping[str, Collection[str]]) -> frozenset[str]:
    """Return an ensemble and what it calls, also through other ensembles."""
    found: set[str] = set()
    rest: Iterable[str] = (ensemble,)
    while new := set(rest) - found:
        found |= new
        rest = {member for name in new for member in calls.get(name, ())}
    return frozenset(found)
