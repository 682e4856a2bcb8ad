"""Which pods are missed least."""

from collections.abc import Collection, Mapping

from triton_operator.autoscaling.samples import PodSample


def order_by_idleness(
    pods: Collection[str], before: Mapping[str, PodSample], now: Collection[PodSample]
) -> tuple[str, ...]:
    """Return the uids of pods, the idlest first.

    Pods that do not answer come before all others, then those with fewest requests waiting, then
    those that finished fewest per second since ``before``.
    """
    load = {each.uid: (_waiting(each), _rate(before.get(each.uid), each)) for each in now}
    return tuple(sorted(pods, key=lambda uid: (load.get(uid, (-1.0, 0.0)), uid)))


def _waiting(sample: PodSample) -> float:
    return sum(each.pending for each in sample.series.values() if each.pending > 0)


def _rate(before: PodSample | None, now: PodSample) -> float:
    """Return requests per second; 0 where that is not known yet, as for a pod that is new."""
    if before is None or before.started != now.started or now.at <= before.at:
        return 0.0
    finished = 0.0
    for key, counters in now.series.items():
        earlier = before.series.get(key)
        more = counters.success - (earlier.success if earlier is not None else 0.0)
        if more > 0:
            finished += more
    return finished / (now.at - before.at)
