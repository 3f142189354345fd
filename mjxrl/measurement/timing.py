"""Timing: contestants take turns, what prepares or warms them up is outside the timer, and no repeat is thrown away."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypedDict


class Sample(TypedDict):
    """Repeats of one measurement, in the order in which they were made."""

    median: float
    low: float
    high: float
    repeats: list[float]


class Contestant(NamedTuple):
    """Something to be timed."""

    call: Callable[[], object]
    """One unit of it: a vector step, an iteration."""
    prepare: Callable[[], object] = lambda: None
    """Called before each run of calls, outside the timer."""
    at_most: int = 10**9
    """Calls between two of `prepare`."""


def sample(values: Iterable[float]) -> Sample:
    """The repeats with their median and range."""
    repeats = [float(value) for value in values]
    return {"median": statistics.median(repeats), "low": min(repeats), "high": max(repeats), "repeats": repeats}


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Sample:
    """Ratios of neighbouring repeats, which drift less than the figures themselves."""
    return sample(a / b for a, b in zip(numerators, denominators, strict=True))


def rates(seconds: Iterable[float], amount: float) -> Sample:
    """Amounts per second from seconds per amount."""
    return sample(amount / s for s in seconds)


def interleaved(
    contestants: Mapping[str, Contestant], repeats: int, seconds: float, synchronize: Callable[[], object]
) -> dict[str, list[float]]:
    """Seconds per call of each contestant, `repeats` times, all taking turns.

    Args:
        seconds: that a repeat of each takes, about; it makes one call at least.
        synchronize: waits for the device; its wait is counted.
    """
    calls = {name: _calls(contestant, seconds, synchronize) for name, contestant in contestants.items()}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, contestant in contestants.items():
            times[name].append(timed(contestant, calls[name], synchronize))
    return times


def timed(contestant: Contestant, calls: int, synchronize: Callable[[], object]) -> float:
    """Seconds per call over `calls` calls."""
    total = 0.0
    for start in range(0, calls, contestant.at_most):
        contestant.prepare()
        synchronize()
        started = time.perf_counter()
        for _ in range(min(contestant.at_most, calls - start)):
            contestant.call()
        synchronize()
        total += time.perf_counter() - started
    return total / calls


def _calls(contestant: Contestant, seconds: float, synchronize: Callable[[], object]) -> int:
    """How many calls take about `seconds`; compiles and warms up on the way."""
    timed(contestant, 1, synchronize)
    return calls_in(seconds, timed(contestant, 2, synchronize))


def calls_in(seconds: float, seconds_per_call: float) -> int:
    """How many calls to make in a repeat: at least one."""
    return max(1, round(seconds / max(seconds_per_call, 1e-9)))


def union(intervals: Iterable[tuple[float, float]]) -> float:
    """Length that intervals (start, end) cover together, overlaps counted once."""
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered
