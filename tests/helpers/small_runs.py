"""Small runs that several test modules make: seconds each, on the CPU."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from mjxrl.config import Algorithm, Config
from mjxrl.config.presets import default_config, merged
from mjxrl.envs.half_cheetah import HalfCheetah
from mjxrl.training.launch import train as launch


@dataclass(frozen=True)
class Brief(HalfCheetah):
    """HalfCheetah with a time limit that a test can wait for."""

    max_episode_steps: int = 20
    gymnasium_id: ClassVar = None


def small(algo: str, **changes: Any) -> Config:
    """640 transitions of 8 worlds, with everything that happens at an interval happening."""
    row: dict[str, Any] = {
        "learner": {
            "batch_size": 32,
            "updates_per_step": 2,
            "warmup_steps": 64,
            "actor_hidden": (16,),
            "critic_hidden": (16,),
            "threads": 1,
        },
        "replay": {"capacity": 400},
        "eval": {"every": 320, "episodes": 2, "final_episodes": 1},
        "log": {"every": 80},
        "checkpoint": {"every": 0, "keep_replay": True},
        "total_steps": 640,
        "num_envs": 8,
        "env": "tests.helpers.small_runs:Brief",
        "backend": "native",
        "device": "cpu",
        "task": Brief(),
    }
    config = default_config("HalfCheetah-v5", cast(Algorithm, algo), num_envs=8, device="cpu", preset="paper")
    return merged(merged(config, row), changes)


def train(config: Config) -> Path:
    """Run to the end; returns the run's folder."""
    assert launch(config) == 0
    path = config.resume or config.run_dir
    assert path is not None
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    """metrics.csv without its wall-clock columns."""
    with (path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{name: cell for name, cell in row.items() if not name.startswith("time/")} for row in rows]
