"""Which models change together: an ensemble and what it calls, before the change or after it.

Where Triton finds a member that does not fit its ensemble, or is not there, it serves neither.
"""

import re
from collections.abc import Collection, Iterable, Mapping

from triton_operator.errors import InvalidSpecError
from triton_operator.repository.layout import CONFIG_FILE, Layout
from triton_operator.repository.links import GenerationRef
from triton_operator.repository.manifest import Link, Manifest

_CALLED = re.compile(r'model_name\s*:\s*"([^"]+)"')
"""In a config that the operator has rendered; only the steps of an ensemble have such a field."""

State = Mapping[str, GenerationRef]
"""What the links of models lead to."""
Calls = Mapping[str, Collection[str]]
"""What each model calls; nothing but for ensembles."""


class Groups:
    """What holds a server's links together, by the configs of the generations they lead to."""

    def __init__(self, layout: Layout, manifest: Manifest) -> None:
        self._layout = layout
        self._wanted = {link.model: (link.object, link.hash) for link in manifest.links}
        self._called: dict[GenerationRef, frozenset[str]] = {
            (each.object, each.hash): called_models(each.config) for each in manifest.generations
        }

    def with_tied(self, now: State, models: Collection[str]) -> set[str]:
        """Return models with those that have to change in one go with one of them."""
        groups = find_groups(self._find_changing(now), self._calls(now), self._calls(self._wanted))
        return {*models}.union(*(each for each in groups if not each.isdisjoint(models)))

    def members_first(self, links: Iterable[Link]) -> list[Link]:
        """Return links such that what an ensemble calls comes before it."""
        calls = self._calls(self._wanted)
        return sorted(links, key=lambda link: len(find_called(link.model, calls)))

    def find_broken(self, now: State, failed: Collection[str]) -> list[frozenset[str]]:
        """Return the groups that have to stay as they are, as models of theirs have failed."""
        changing = self._find_changing(now)
        return find_broken_groups(changing, failed, self._calls(now), self._calls(self._wanted))

    def find_needed(self, now: State, ensembles: Collection[GenerationRef]) -> frozenset[str]:
        """Return what is linked now and not wanted any more, and what these ensembles call."""
        if not ensembles:
            return frozenset()  # and nothing is read
        called = (name for ref in ensembles for name in self._call(ref))
        return find_all_called(called, self._calls(now)) & now.keys() - self._wanted.keys()

    def _find_changing(self, now: State) -> set[str]:
        names = now.keys() | self._wanted.keys()
        return {name for name in names if now.get(name) != self._wanted.get(name)}

    def _calls(self, state: State) -> Calls:
        return {name: self._call(ref) for name, ref in state.items()}

    def _call(self, ref: GenerationRef) -> frozenset[str]:
        """Return what a generation calls if it is an ensemble."""
        if ref not in self._called:
            try:
                path = self._layout.generation(*ref) / CONFIG_FILE
                self._called[ref] = called_models(path.read_text(errors="replace"))
            except (OSError, InvalidSpecError):
                return frozenset()  # not there, and so nothing that Triton could load
        return self._called[ref]


def called_models(config: str) -> frozenset[str]:
    """Return the models that an ensemble calls, by the text of its config; none for others."""
    return frozenset(_CALLED.findall(config)) if "ensemble_scheduling" in config else frozenset()


def find_groups(changing: Collection[str], *states: Calls) -> list[frozenset[str]]:
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


def find_broken_groups(
    changing: Collection[str], failed: Collection[str], now: Calls, then: Calls
) -> list[frozenset[str]]:
    """Return the groups that have to stay as they are, since some of each cannot be had.

    They are those around ensembles that are there and are to stay: one that serves nothing yet, or
    is deleted, holds nobody back.
    """
    there = [name for name, called in now.items() if called and name in then]
    around = ({name: find_called(name, calls) for name in there} for calls in (now, then))
    groups = find_groups(changing, *around)
    return [group for group in groups if len(group) > 1 and not group.isdisjoint(failed)]


def find_called(ensemble: str, calls: Calls) -> frozenset[str]:
    """Return an ensemble and what it calls, also through other ensembles."""
    return find_all_called((ensemble,), calls)


def find_all_called(models: Iterable[str], calls: Calls) -> frozenset[str]:
    """Return models and what they call, also through other ensembles."""
    found: set[str] = set()
    rest = models
    while new := set(rest) - found:
        found |= new
        rest = {member for name in new for member in calls.get(name, ())}
    return frozenset(found)
