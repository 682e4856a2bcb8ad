"""Loads: requests that arrive in each second, from a file or made from a seed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

Counts = np.ndarray
"""Requests in each second."""

_TRACES = Path(__file__).parent / "traces"


def read_counts(path: Path, seed: int, scale: float = 1.0) -> Counts:
    """Return the requests of each second of a file of numbers; fractions are drawn as Poisson."""
    try:
        rates = np.array([float(word) for word in path.read_text().split()]) * scale
    except ValueError as error:
        raise SystemExit(f"{path}: expected one number per second: {error}") from None
    if len(rates) == 0 or not np.all(np.isfinite(rates)) or np.any(rates < 0):
        raise SystemExit(f"{path}: expected requests per second, each a number of 0 or more")
    if np.all(rates == np.floor(rates)):
        return rates.astype(np.int64)
    return np.random.default_rng(seed).poisson(rates)


def _noise(random: np.random.Generator, seconds: int, correlation: float, sigma: float):
    """Return a lognormal factor of mean 1 whose logarithm forgets itself in that many seconds."""
    steps = random.normal(size=seconds)
    keep = np.exp(-1.0 / correlation)
    level = np.empty(seconds)
    current = random.normal()
    for k in range(seconds):
        current = keep * current + np.sqrt(1 - keep * keep) * steps[k]
        level[k] = current
    return np.exp(sigma * level - sigma * sigma / 2)


def diurnal(random: np.random.Generator, seconds: int) -> np.ndarray:
    """One day pressed into the length: low at night, two humps, slow wander."""
    day = np.linspace(0, 2 * np.pi, seconds, endpoint=False)
    shape = 0.5 - 0.4 * np.cos(day) + 0.12 * np.sin(2 * day)
    return 100 * shape * _noise(random, seconds, 300, 0.15)


def steps(random: np.random.Generator, seconds: int) -> np.ndarray:
    """Levels that change by a factor of 3 to 4, each held for 5 to 25 minutes."""
    rate = np.empty(seconds)
    low = 20 * random.uniform(0.8, 1.2)
    k = 0
    high = False
    while k < seconds:
        hold = int(random.uniform(300, 1500))
        rate[k : k + hold] = low * random.uniform(3, 4) if high else low
        high = not high
        k += hold
    return rate


def flash_crowds(random: np.random.Generator, seconds: int) -> np.ndarray:
    """A quiet base with a crowd every 20 minutes or so: up in 30 s to 5-8x, gone in minutes."""
    rate = np.full(seconds, 30.0)
    k = random.exponential(900)
    t = np.arange(seconds)
    while k < seconds:
        since = t - k
        crowd = np.where(
            since >= 0, np.minimum(since / 30, 1) * np.exp(-np.maximum(since, 0) / 180), 0
        )
        rate += 30 * random.uniform(4, 7) * crowd
        k += 300 + random.exponential(900)
    return rate


def on_off(random: np.random.Generator, seconds: int) -> np.ndarray:
    """Work for some minutes, nothing for some minutes."""
    rate = np.zeros(seconds)
    k = 0
    on = True
    while k < seconds:
        hold = int(random.exponential(240)) + 30
        if on:
            rate[k : k + hold] = random.uniform(60, 140)
        on = not on
        k += hold
    return rate


def bursty(random: np.random.Generator, seconds: int) -> np.ndarray:
    """A day with bursts on the scale of seconds and of minutes."""
    slow = diurnal(random, seconds)
    return 0.8 * slow * _noise(random, seconds, 120, 0.5) * _noise(random, seconds, 5, 0.6)


GENERATED: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "diurnal": diurnal,
    "steps": steps,
    "flash": flash_crowds,
    "on-off": on_off,
    "bursty": bursty,
}
RECORDED = {"conv": ("conv_rps_1s.txt", 10), "code": ("code_rps_1s.txt", 20)}
"""File and factor: every request stands for that many, so that there is something to scale."""


def build_counts(name: str, seed: int, seconds: int, factor: float = 1.0) -> Counts:
    """Return the requests of each second of a load known by name."""
    if name in RECORDED:
        file, scale = RECORDED[name]
        return read_counts(_TRACES / file, seed, scale)[:seconds]
    random = np.random.default_rng([seed, sum(name.encode())])
    return random.poisson(factor * GENERATED[name](random, seconds))
