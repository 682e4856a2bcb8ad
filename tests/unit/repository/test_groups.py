"""Which models change together."""

import time

from triton_operator.repository.config_pbtxt import parse_text, render
from triton_operator.repository.groups import called_models, find_groups

Groups = set[frozenset[str]]


def groups(changing: str, *states: dict[str, str]) -> Groups:
    return set(find_groups(set(changing), *states))


def together(*names: str) -> Groups:
    return {frozenset(name) for name in names}


def test_what_calls_nothing_changes_alone() -> None:
    assert groups("abc", {"a": ""}, {}) == together("a", "b", "c")


def test_an_ensemble_changes_with_the_members_that_change() -> None:
    assert groups("eab", {}, {"e": "abx"}) == together("eab")
    assert groups("eb", {}, {"e": "abx"}) == together("eb")


def test_members_are_held_together_by_an_ensemble_that_stays() -> None:
    assert groups("ab", {"e": "ab"}, {"e": "ab"}) == together("ab")


def test_ensembles_that_share_a_member_which_stays_change_alone() -> None:
    assert groups("ef", {}, {"e": "x", "f": "x"}) == together("e", "f")
    assert groups("efx", {}, {"e": "x", "f": "x"}) == together("efx")


def test_an_ensemble_of_an_ensemble_reaches_what_that_one_calls() -> None:
    assert groups("ox", {}, {"o": "i", "i": "x"}) == together("ox")


def test_what_an_ensemble_called_before_goes_when_it_changes() -> None:
    assert groups("eax", {"e": "a"}, {"e": "x"}) == together("eax")


def test_many_models_are_not_compared_with_each_other() -> None:
    """It is asked for each generation that is there, while others are still fetched."""
    singles = {f"model-{number}": frozenset[str]() for number in range(4000)}
    chains = {f"chain-{number}": {f"model-{number}"} for number in range(1000)}
    state = {**singles, **chains}
    begun = time.process_time()
    assert len(find_groups(list(state), state, state)) == len(singles)
    assert time.process_time() - begun < 0.5


def test_a_circle_ends() -> None:
    assert groups("ab", {"a": "b", "b": "a"}) == together("ab")


def test_what_an_ensemble_calls_is_in_its_config() -> None:
    config = parse_text(
        'name: "chain" platform: "ensemble" ensemble_scheduling { step ['
        ' { model_name: "first" model_version: -1 input_map { key: "IN" value: "x" } },'
        " { model_name: 'second-2' model_version: 1 } ] }"
    )

    assert called_models(render(config)) == {"first", "second-2"}
    assert called_models('parameters { key: "model_name" value { string_value: "x" } }') == set()
