"""Who is called when, what is counted, and what is made of it; nothing is said of how long anything takes."""

from __future__ import annotations

import pytest

from mjxrl.measurement.kernels import kernel_time
from mjxrl.measurement.timing import Contestant, calls_in, interleaved, rates, ratios, sample, timed, union


def test_a_sample_keeps_its_repeats() -> None:
    assert sample([3, 1, 2]) == {"median": 2, "low": 1, "high": 3, "repeats": [3, 1, 2]}


def test_ratios_are_of_neighbours() -> None:
    assert ratios([1, 4, 9], [1, 2, 3])["repeats"] == [1, 2, 3]
    assert rates([0.5, 0.25], 10)["repeats"] == [20, 40]


def test_contestants_take_turns_after_their_warm_up() -> None:
    said: list[str] = []
    contestants = {name: Contestant(lambda name=name: said.append(name)) for name in "ab"}
    times = interleaved(contestants, repeats=3, seconds=0, synchronize=lambda: None)
    assert "".join(said[-6:]) == "ababab"
    assert {name: len(found) for name, found in times.items()} == {"a": 3, "b": 3}


def test_preparation_comes_before_each_run_of_calls() -> None:
    said: list[str] = []
    contestant = Contestant(lambda: said.append("c"), lambda: said.append("p"), at_most=2)
    timed(contestant, 5, lambda: said.append("s"))
    assert "".join(said) == "psccs" * 2 + "pscs"


def test_a_repeat_is_one_call_at_least() -> None:
    assert calls_in(1.0, 0.25) == 4 and calls_in(1.0, 60.0) == 1


def test_overlaps_count_once() -> None:
    assert union([(0, 2), (1, 3), (5, 6), (5.5, 5.7)]) == 4
    assert union([]) == 0


def test_time_without_a_kernel() -> None:
    events = [
        {"cat": "kernel", "ts": 10.0, "dur": 4.0},
        {"cat": "gpu_memcpy", "ts": 12.0, "dur": 4.0},  # on another stream
        {"cat": "gpu_memset", "ts": 18.0, "dur": 2.0},
        {"cat": "gpu_user_annotation", "ts": 10.0, "dur": 10.0},
        {"cat": "cpu_op", "ts": 0.0, "dur": 99.0},
        {"ph": "M"},
    ]
    found = kernel_time(events, iterations=2)
    assert found["share_without_kernel"] == pytest.approx(0.2)
    assert found["kernel_s"] == pytest.approx(4e-6) and found["kernels_per_iteration"] == 1.5
    assert kernel_time([], iterations=2) == {"kernels_per_iteration": 0.0}
