"""Defaults that depend on the algorithm and on how many worlds there are: one table, merged top to bottom.

A row replaces the fields it names; what no row names keeps the default in `config.py`. No task differs from the others
yet: one that needs other values gets a row, chosen by its id in `default_config`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from mjxrl import runtime
from mjxrl.config import Config

MANY_WORLDS = 1024  # on a GPU, from here on the recipe for massive parallelism replaces the papers'

# the papers': one update per transition, two layers of 256, batch 256
PAPER: dict[str, dict[str, Any]] = {
    "td3": {
        "learner": {"policy_delay": 2},  # Fujimoto et al. 2018; sizes and step size as in the authors' later code
    },
    "sac": {},  # Haarnoja et al. 2018
}

# a starting point for thousands of worlds on a GPU: few, large updates per step and faster targets; not yet tuned here
MASSIVE: dict[str, dict[str, Any]] = {
    "td3": {
        "learner": {
            "batch_size": 16_384,
            "updates_per_step": 8,
            "n_step": 3,
            "tau": 0.05,
            "policy_delay": 2,
            "actor_hidden": (256, 256),
            "critic_hidden": (512, 512),
        },
    },
    "sac": {
        "learner": {
            "batch_size": 8_192,
            "updates_per_step": 8,
            "tau": 0.05,
            "policy_delay": 4,
            "actor_hidden": (512, 512),
            "critic_hidden": (768, 768),
        },
        "sac": {"init_temperature": 0.001},
    },
}
MASSIVE_COMMON: dict[str, Any] = {
    "total_steps": 50_000_000,
    "learner": {"layer_norm": True, "normalize_obs": True},
    "eval": {"every": 5_000_000},
    "checkpoint": {"every": 10_000_000},
}
ROWS_PER_WORLD = 1024  # replay, in vectorized steps
WARMUP_ROWS = 10  # random vectorized steps before the first update
LOG_ROWS = 50  # vectorized steps between two lines of metrics


def default_config(
    env: str, algo: str, num_envs: int | None = None, backend: str = "auto", device: str = "auto"
) -> Config:
    """What a run of `algo` on `env` gets when it is told nothing else.

    `num_envs` is 4096 by default where MJX runs on a GPU and 64 otherwise; `device="auto"` looks for a GPU.
    """
    on_gpu = device == "cuda" or (device == "auto" and runtime.cuda_problem() is None)
    mjx_on_gpu = on_gpu and backend != "native"
    if num_envs is None:
        num_envs = 4096 if mjx_on_gpu else 64
    config = Config(env=env, algo=algo, num_envs=num_envs, backend=backend, device=device)
    if on_gpu and num_envs >= MANY_WORLDS:
        by_worlds = {
            "learner": {"warmup_steps": WARMUP_ROWS * num_envs},
            "replay": {"capacity": ROWS_PER_WORLD * num_envs},
            "log": {"every": LOG_ROWS * num_envs},
        }
        rows = (MASSIVE_COMMON, MASSIVE[algo], by_worlds)
    else:
        rows = (PAPER[algo], {"learner": {"updates_per_step": num_envs}})
    for row in rows:
        config = merged(config, row)
    return config


def merged(config: Any, row: dict[str, Any]) -> Any:
    """The frozen dataclass `config` with the values of `row` in place; nested dicts reach into nested dataclasses."""
    changes = {
        name: merged(getattr(config, name), value) if isinstance(value, dict) else value for name, value in row.items()
    }
    return dataclasses.replace(config, **changes)
