"""A pool of Triton pods, request by request.

The counters move as Triton's do: when a request completes, with the batch's compute time added for
every request in it; queue time of completed requests only; pending counts what waits to be
executed. A pod that leaves finishes what it has. Times are in seconds unless a name says otherwise.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numba import njit

MAX_PODS = 512
QUEUE_LIMIT = 1 << 14
MAX_INSTANCES = 4
MAX_BATCH = 32
CONNECTIONS = 128
DRAIN_SECONDS = 15.0

ABSENT, STARTING, READY, DRAINING = range(4)


class Routing(IntEnum):
    """How a request finds its pod."""

    RANDOM = 0
    ROUND_ROBIN = 1
    POWER_OF_TWO = 2
    LEAST_PENDING = 3
    STICKY = 4
    """Connections that stay with a pod until they reach their maximal age."""


@dataclass(frozen=True)
class Service:
    """What one pod can do: ``s(b) = fixed + each·b`` seconds for a batch of b."""

    fixed: float = 0.1
    each: float = 0.0
    max_batch: int = 1
    instances: int = 1
    variation: float = 0.0
    """Standard deviation over mean of the service time (gamma)."""

    @property
    def capacity(self) -> float:
        """Requests per second of a pod with full batches."""
        return self.instances * self.max_batch / (self.fixed + self.each * self.max_batch)


@njit(cache=True)
def _execute(pod, now, queue, head, length, free, job, counters, sizes, service, target, totals):
    """Run everything that starts on a pod up to ``now``; count what completes."""
    instances = int(service[3])
    while True:
        best = 0
        for i in range(1, instances):
            if free[pod, i] < free[pod, best]:
                best = i
        if job[pod, best, 0] > 0 and free[pod, best] <= now:
            _complete(pod, best, job, counters, sizes)
        if length[pod] == 0:
            break
        first = head[pod]
        start = max(free[pod, best], queue[pod, first])
        if start > now:
            break
        batch = 0
        waited = 0.0
        while batch < service[2] and length[pod] > 0 and queue[pod, head[pod]] <= start:
            wait = start - queue[pod, head[pod]]
            waited += wait
            totals[0] += 1
            totals[2] += wait
            if wait > target:
                totals[1] += 1
            head[pod] = (head[pod] + 1) % QUEUE_LIMIT
            length[pod] -= 1
            batch += 1
        duration = service[0] + service[1] * batch
        if service[4] > 0:
            shape = 1.0 / (service[4] * service[4])
            duration *= np.random.gamma(shape, 1.0 / shape)
        free[pod, best] = start + duration
        job[pod, best, 0] = batch
        job[pod, best, 1] = waited
        job[pod, best, 2] = duration
    for i in range(instances):
        if job[pod, i, 0] > 0 and free[pod, i] <= now:
            _complete(pod, i, job, counters, sizes)


@njit(cache=True)
def _complete(pod, i, job, counters, sizes):
    batch = job[pod, i, 0]
    counters[pod, 0] += batch
    counters[pod, 1] += job[pod, i, 1]
    counters[pod, 2] += batch * job[pod, i, 2]
    counters[pod, 3] += 1
    counters[pod, 4] += job[pod, i, 2]
    sizes[pod, int(batch), 0] += 1
    sizes[pod, int(batch), 1] += job[pod, i, 2]
    job[pod, i, 0] = 0


@njit(cache=True)
def _in_flight(pod, instances, length, job):
    count = length[pod]
    for i in range(instances):
        count += int(job[pod, i, 0])
    return count


@njit(cache=True)
def _seed(seed):
    np.random.seed(seed)


@njit(cache=True)
def _second(  # noqa: PLR0912
    now, arrivals, routing, ready, turn, connections, max_age,
    state, queue, head, length, free, job, counters, sizes, service, target, totals, concurrency,
):  # fmt: skip
    """Simulate one second with ``arrivals`` requests; returns whose turn is next."""
    instances = int(service[3])
    times = np.sort(np.random.random(arrivals)) + now
    n = len(ready)
    for t in times:
        if routing == 0:
            pod = ready[np.random.randint(n)]
        elif routing == 1:
            turn = (turn + 1) % n
            pod = ready[turn]
        elif routing == 2:
            pod, other = ready[np.random.randint(n)], ready[np.random.randint(n)]
            for each in (pod, other):
                _execute(
                    each,
                    t,
                    queue,
                    head,
                    length,
                    free,
                    job,
                    counters,
                    sizes,
                    service,
                    target,
                    totals,
                )
            if _in_flight(other, instances, length, job) < _in_flight(pod, instances, length, job):
                pod = other
        elif routing == 3:
            pod = -1
            fewest = 1 << 30
            offset = np.random.randint(n)
            for k in range(n):
                each = ready[(k + offset) % n]
                _execute(
                    each,
                    t,
                    queue,
                    head,
                    length,
                    free,
                    job,
                    counters,
                    sizes,
                    service,
                    target,
                    totals,
                )
                count = _in_flight(each, instances, length, job)
                if count < fewest:
                    fewest = count
                    pod = each
                if count == 0:
                    break
        else:
            c = np.random.randint(CONNECTIONS)
            pod = int(connections[c, 0])
            if state[pod] != READY or connections[c, 1] < t:
                pod = ready[np.random.randint(n)]
                connections[c, 0] = pod
                connections[c, 1] = t + max_age * (0.9 + 0.2 * np.random.random())
        _execute(pod, t, queue, head, length, free, job, counters, sizes, service, target, totals)
        if length[pod] >= QUEUE_LIMIT:
            counters[pod, 5] += 1
            totals[0] += 1
            totals[1] += 1
            continue
        queue[pod, (head[pod] + length[pod]) % QUEUE_LIMIT] = t
        length[pod] += 1
    end = now + 1.0
    for pod in range(MAX_PODS):
        if state[pod] >= READY:
            _execute(
                pod, end, queue, head, length, free, job, counters, sizes, service, target, totals
            )
            concurrency[pod] += _in_flight(pod, instances, length, job)
    return turn


@dataclass
class Pool:
    """The pods, and what is known of them from outside."""

    service: Service
    routing: Routing
    startup: float
    target: float
    seed: int
    initial: int
    max_pods: int = 60

    def __post_init__(self) -> None:
        self.now = 0.0
        self.desired = 0
        self.generation = np.zeros(MAX_PODS, np.int64)
        self.state = np.zeros(MAX_PODS, np.int64)
        self.created = np.zeros(MAX_PODS)
        self.ready_at = np.full(MAX_PODS, np.inf)
        self.counters = np.zeros((MAX_PODS, 6))
        """success, queue s, compute s (per request), executions, busy s, rejected"""
        self.batches = np.zeros((MAX_PODS, MAX_BATCH + 1, 2))
        """executions and busy s, by size of the batch"""
        self.length = np.zeros(MAX_PODS, np.int64)
        self.concurrency = np.zeros(MAX_PODS)
        """Requests in flight, summed over seconds."""
        self.totals = np.zeros(3)
        self.pod_seconds = 0.0
        self._queue = np.zeros((MAX_PODS, QUEUE_LIMIT), np.float64)
        self._head = np.zeros(MAX_PODS, np.int64)
        self._free = np.zeros((MAX_PODS, MAX_INSTANCES))
        self._job = np.zeros((MAX_PODS, MAX_INSTANCES, 3))
        self._connections = np.zeros((CONNECTIONS, 2))
        self._turn = 0
        self._random = np.random.default_rng(self.seed)
        self._parameters = np.array(
            [self.service.fixed, self.service.each, self.service.max_batch,
             self.service.instances, self.service.variation]
        )  # fmt: skip
        _seed(self.seed)
        self.scale(self.initial)
        self.state[self.state == STARTING] = READY
        self.ready_at[self.state == READY] = 0.0

    def scale(self, desired: int) -> None:
        """Ask for a number of pods, as a Deployment does: starting pods leave first."""
        desired = max(1, min(self.max_pods, desired))
        alive = [p for p in range(MAX_PODS) if self.state[p] in {STARTING, READY}]
        for _ in range(desired - len(alive)):
            self._create()
        if desired < len(alive):
            # Kubernetes deletes pods that are not ready first, then the youngest.
            alive.sort(key=lambda p: (self.state[p], -self.created[p]))
            for pod in alive[: len(alive) - desired]:
                starting = self.state[pod] == STARTING
                self.state[pod] = ABSENT if starting else DRAINING
                self.ready_at[pod] = self.now + DRAIN_SECONDS
        self.desired = desired

    def _create(self) -> None:
        pod = int(np.argmax(self.state == ABSENT))
        self.state[pod] = STARTING
        self.generation[pod] += 1
        self.created[pod] = self.now
        self.ready_at[pod] = self.now + self.startup * self._random.uniform(0.9, 1.1)
        self.counters[pod] = 0
        self.batches[pod] = 0
        self.concurrency[pod] = 0
        self.length[pod] = 0
        self._job[pod] = 0
        self._free[pod] = 0

    def advance(self, arrivals: int) -> None:
        """Simulate one second in which that many requests arrive."""
        self.state[(self.state == STARTING) & (self.ready_at <= self.now)] = READY
        ready = np.flatnonzero(self.state == READY)
        if len(ready) == 0:
            raise RuntimeError("no pod is ready")
        self.pod_seconds += float(np.count_nonzero(self.state))
        self._turn = _second(
            self.now, arrivals, int(self.routing), ready, self._turn, self._connections, 60.0,
            self.state, self._queue, self._head, self.length, self._free, self._job, self.counters,
            self.batches, self._parameters, self.target, self.totals, self.concurrency,
        )  # fmt: skip
        self.now += 1.0
        gone = (self.state == DRAINING) & (self.length == 0) & (self.ready_at <= self.now)
        self.state[gone] = ABSENT

    def finish(self) -> None:
        """Count what still waits: it is answered, but not by the end."""
        for pod in np.flatnonzero(self.state >= READY):
            for k in range(self.length[pod]):
                arrived = self._queue[pod, (self._head[pod] + k) % QUEUE_LIMIT]
                self.totals[0] += 1
                self.totals[1] += self.now - arrived > self.target
