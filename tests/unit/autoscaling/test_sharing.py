"""A limit of GPUs, shared out among servers."""

from hypothesis import given
from hypothesis import strategies as st

from triton_operator.autoscaling.sharing import Claim, share_gpus


def test_everyone_gets_what_it_needs_while_there_is_enough() -> None:
    claims = [Claim("a", 1, 1, 4), Claim("b", 2, 1, 3)]

    assert share_gpus(10, claims) == {"a": 4, "b": 3}


def test_scarce_gpus_are_shared_by_need() -> None:
    claims = [Claim("a", 1, 1, 12), Claim("b", 1, 1, 4)]

    assert share_gpus(8, claims) == {"a": 6, "b": 2}


def test_a_higher_priority_comes_first_but_not_before_the_least_of_others() -> None:
    claims = [Claim("batch", 1, 2, 8, priority=-1), Claim("live", 1, 1, 8)]

    assert share_gpus(8, claims) == {"batch": 2, "live": 6}


def test_a_smaller_pod_takes_what_a_larger_one_cannot() -> None:
    claims = [Claim("large", 4, 1, 3), Claim("small", 1, 1, 9)]

    assert share_gpus(7, claims) == {"large": 1, "small": 3}


def test_servers_without_gpus_are_not_limited() -> None:
    assert share_gpus(0, [Claim("cpu", 0, 1, 5), Claim("gpu", 1, 1, 5)]) == {"cpu": 5, "gpu": 0}


claims = st.lists(
    st.builds(
        lambda gpus, least, more, priority: (gpus, least, least + more, priority),
        st.integers(0, 8),
        st.integers(1, 5),
        st.integers(0, 20),
        st.integers(-2, 2),
    ),
    max_size=6,
).map(lambda rows: [Claim(f"s{index}", *row) for index, row in enumerate(rows)])


@given(st.integers(0, 100), claims)
def test_the_limit_is_kept_and_none_gets_more_than_it_needs(limit: int, asked: list[Claim]) -> None:
    shared = share_gpus(limit, asked)

    assert sum(each.gpus * shared[each.server] for each in asked) <= limit
    assert all(0 <= shared[each.server] <= each.need for each in asked)


@given(st.integers(0, 100), claims)
def test_no_gpu_is_left_over_that_someone_could_use(limit: int, asked: list[Claim]) -> None:
    shared = share_gpus(limit, asked)

    left = limit - sum(each.gpus * shared[each.server] for each in asked)
    assert all(each.gpus > left for each in asked if shared[each.server] < each.need)


@given(st.integers(0, 100), claims, st.randoms())
def test_the_order_of_the_servers_does_not_matter(limit: int, asked: list[Claim], random) -> None:
    mixed = list(asked)
    random.shuffle(mixed)

    assert share_gpus(limit, mixed) == share_gpus(limit, asked)
