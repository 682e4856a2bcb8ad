"""Limits of GPUs, shared out among servers."""

from dataclasses import replace
from math import inf
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from triton_operator.autoscaling.sharing import EVERYWHERE, Budget, Claim, Share, share_gpus


def pods(limit: int, asked: list[Claim], **namespaces: int) -> dict[str, int]:
    shared = share_gpus({EVERYWHERE: limit, **namespaces}, asked)
    return {server: share.pods for server, share in shared.items()}


def test_everyone_gets_what_it_needs_while_there_is_enough() -> None:
    claims = [Claim("a", 1, 1, 4), Claim("b", 2, 1, 3)]

    assert pods(10, claims) == {"a": 4, "b": 3}


def test_scarce_gpus_are_shared_by_need() -> None:
    claims = [Claim("a", 1, 1, 12), Claim("b", 1, 1, 4)]

    assert pods(8, claims) == {"a": 6, "b": 2}


def test_a_higher_priority_comes_first_but_not_before_the_least_of_others() -> None:
    claims = [Claim("batch", 1, 2, 8, priority=-1), Claim("live", 1, 1, 8)]

    assert pods(8, claims) == {"batch": 2, "live": 6}


def test_a_smaller_pod_takes_what_a_larger_one_cannot() -> None:
    claims = [Claim("large", 4, 1, 3), Claim("small", 1, 1, 9)]

    assert pods(7, claims) == {"large": 1, "small": 3}


def test_servers_without_gpus_are_not_limited() -> None:
    claims = [Claim("cpu", 0, 1, 5, namespace="x"), Claim("gpu", 1, 1, 5, namespace="x")]

    assert pods(0, claims) == {"cpu": 5, "gpu": 0}
    assert share_gpus({"x": 2}, claims) == {"cpu": Share(5), "gpu": Share(2, "x")}


def test_what_a_namespace_may_not_have_is_left_to_the_others() -> None:
    claims = [
        Claim("a", 1, 1, 8, namespace="x"),
        Claim("b", 1, 1, 8, namespace="x"),
        Claim("c", 1, 1, 8, namespace="y"),
    ]

    assert share_gpus({EVERYWHERE: 10, "x": 3}, claims) == {
        "a": Share(2, "x"),
        "b": Share(1, "x"),
        "c": Share(7, EVERYWHERE),
    }


def test_priority_counts_within_a_namespace_and_beyond_it() -> None:
    claims = [
        Claim("first", 1, 1, 8, priority=1, namespace="x"),
        Claim("second", 1, 1, 8, namespace="x"),
        Claim("third", 1, 1, 8, namespace="y"),
    ]

    assert pods(8, claims, x=5) == {"first": 4, "second": 1, "third": 3}


NAMESPACES = ("x", "y", "z")

asked_claims = st.lists(
    st.builds(
        lambda gpus, least, more, priority, namespace: (
            gpus,
            least,
            least + more,
            priority,
            namespace,
        ),
        st.integers(0, 8),
        st.integers(1, 5),
        st.integers(0, 20),
        st.integers(-2, 2),
        st.sampled_from(NAMESPACES),
    ),
    max_size=6,
).map(lambda rows: [Claim(f"s{index}", *row) for index, row in enumerate(rows)])
all_limits = st.dictionaries(st.sampled_from((EVERYWHERE, *NAMESPACES)), st.integers(0, 100))


def used(scope: str, numbers: dict[str, int], asked: list[Claim]) -> int:
    """Return the GPUs of so many pods of the servers that a limit holds for."""
    return sum(each.gpus * numbers[each.server] for each in asked if scope in each.scopes())


def shared_out(limits: dict[str, int], asked: list[Claim]) -> dict[str, int]:
    return {server: share.pods for server, share in share_gpus(limits, asked).items()}


@given(all_limits, asked_claims)
def test_all_limits_are_kept_and_none_gets_more_than_it_needs(
    limits: dict[str, int], asked: list[Claim]
) -> None:
    shared = shared_out(limits, asked)

    assert all(used(scope, shared, asked) <= limit for scope, limit in limits.items())
    assert all(0 <= shared[each.server] <= each.need for each in asked)


@given(all_limits, asked_claims)
def test_everyone_has_its_least_where_the_limits_have_room_for_that(
    limits: dict[str, int], asked: list[Claim]
) -> None:
    least = {each.server: each.least for each in asked}
    room = all(used(scope, least, asked) <= limit for scope, limit in limits.items())
    shared = shared_out(limits, asked)

    assert not room or all(shared[each.server] >= each.least for each in asked)


@given(all_limits, asked_claims)
def test_no_gpu_is_left_over_that_someone_could_use(
    limits: dict[str, int], asked: list[Claim]
) -> None:
    shares = share_gpus(limits, asked)
    shared = shared_out(limits, asked)

    def left(scope: str) -> float:
        return limits.get(scope, inf) - used(scope, shared, asked)

    for each in asked:
        if shared[each.server] < each.need:
            # And the scope that is told is the one that has no more.
            assert each.gpus > left(shares[each.server].scope)


@given(all_limits, asked_claims, st.randoms())
def test_the_order_of_the_servers_does_not_matter(
    limits: dict[str, int], asked: list[Claim], random: Random
) -> None:
    mixed = list(asked)
    random.shuffle(mixed)

    assert share_gpus(limits, mixed) == share_gpus(limits, asked)


def carry_out(limits: dict[str, int], asked: list[Claim], random: Random) -> list[Claim]:
    """Return the claims after a tick in which each server wants any number, in any order."""
    budget = Budget(limits, asked)
    after = []
    for each in random.sample(asked, len(asked)):
        bound = budget.bound(each.server)
        pods = random.randint(0, 25)
        if bound is not None:
            # Down in steps, as the spec of a server says.
            pods = max(min(pods, bound.pods), random.randint(0, each.now))
        budget.take(each.server, pods)
        after.append(replace(each, now=pods))
    return after


having_claims = asked_claims.flatmap(
    lambda asked: st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 3)),
        min_size=len(asked),
        max_size=len(asked),
    ).map(
        lambda rows: [
            replace(each, now=now, extra=extra)
            for each, (now, extra) in zip(asked, rows, strict=True)
        ]
    )
)


def asked_for(scope: str, asked: list[Claim]) -> int:
    return used(scope, {each.server: each.now + each.extra for each in asked}, asked)


@given(all_limits, having_claims, st.randoms())
def test_whoever_decides_first_limits_that_are_kept_stay_kept_and_others_get_no_worse(
    limits: dict[str, int], asked: list[Claim], random: Random
) -> None:
    after = carry_out(limits, asked, random)

    assert all(
        asked_for(scope, after) <= max(limit, asked_for(scope, asked))
        for scope, limit in limits.items()
    )


@given(all_limits, having_claims)
def test_nobody_rises_where_a_limit_is_exceeded(limits: dict[str, int], asked: list[Claim]) -> None:
    budget = Budget(limits, asked)

    for each in asked:
        bound = budget.bound(each.server)
        if bound is not None and any(
            asked_for(scope, asked) > limits.get(scope, inf) for scope in each.scopes()
        ):
            assert bound.pods <= each.now


@given(all_limits, having_claims)
def test_everyone_comes_to_its_share_when_all_go_as_far_as_they_may(
    limits: dict[str, int], asked: list[Claim]
) -> None:
    shared = shared_out(limits, asked)
    asked = [replace(each, extra=0) for each in asked if each.gpus]

    for _ in range(21):
        budget = Budget(limits, asked)
        bounds = {each.server: budget.bound(each.server) for each in asked}
        asked = [
            replace(each, now=max(min(each.need, bound.pods), each.now - 1))
            for each in asked
            for bound in (bounds[each.server],)
            if bound is not None
        ]

    assert all(each.now == shared[each.server] for each in asked)


@given(having_claims)
def test_limits_that_leave_enough_for_all_bound_nobody(asked: list[Claim]) -> None:
    budget = Budget({EVERYWHERE: 8 * 6 * (23 + 25 + 25), "x": 8 * 6 * (23 + 25 + 25)}, asked)

    for each in asked:
        bound = budget.bound(each.server)
        if each.gpus:
            assert bound is not None
            assert bound.pods >= 25
        else:
            assert bound is None
