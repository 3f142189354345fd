"""The time of sampling against the number of transitions stored: it should not depend on it."""

from __future__ import annotations

from typing import Any

import torch

from mjxrl.measurement.learner import read_batches
from mjxrl.measurement.setting import Setting
from mjxrl.measurement.timing import Contestant, interleaved, ratios, sample
from mjxrl.training import budget

CAPACITIES = (100_000, 1_000_000, 10_000_000)
MARGIN = 1.25  # free memory over what a replay takes


def measure(setting: Setting, capacities: tuple[int, ...] = CAPACITIES) -> dict[str, Any]:
    """Seconds that an update's sampling takes from full replays of each capacity, the largest against the smallest.

    All are there at once so that they can take turns; those that do not fit into memory are skipped, and named.
    """
    generator = torch.Generator(setting.device).manual_seed(0)
    updates = setting.config.learner.updates_per_step
    replays, skipped = {}, {}
    for capacity in capacities:
        size, free = budget.replay_size(setting.config, capacity), budget.free_bytes(setting.device.type)
        if size * MARGIN > free:
            skipped[str(capacity)] = f"takes {size / budget.GIB:.1f} GiB, {free / budget.GIB:.1f} GiB are free"
            continue
        replays[capacity] = setting.replay(capacity)
    contestants = {
        str(capacity): Contestant(lambda replay=replay: read_batches(setting, replay, generator))
        for capacity, replay in replays.items()
    }
    times = interleaved(contestants, setting.repeats, setting.seconds, setting.synchronize)
    report: dict[str, Any] = {
        "num_envs": setting.config.num_envs,
        "batch_size": setting.config.learner.batch_size,
        "sample_s": {name: sample(t / updates for t in seconds) for name, seconds in times.items()},
        "skipped": skipped,
    }
    if len(times) > 1:
        smallest, *_, largest = times.values()
        report["largest_against_smallest"] = ratios(largest, smallest)
    return report
