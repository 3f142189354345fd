"""Every default that depends on the algorithm, the task or the number of worlds: tables, merged top to bottom.

A row replaces the fields it names; what no row names keeps the default in `config.py`. `--preset` picks the tables;
flags on the command line come last.

    paper    the form of the papers, one update per transition
    laptop   few CPU cores: few worlds, narrow networks, LayerNorm critics, compiled updates
    fast     thousands of worlds on a GPU: few, large updates per vector step
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from mjxrl.config.schema import Algorithm, Config, Preset
from mjxrl.machine import devices
from mjxrl.machine.devices import Backend, Device

Row = dict[str, Any]

MANY_WORLDS = 1024  # on a GPU, from here on `auto` means fast

# two layers of 256, batch 256, tau 0.005: `config.py` has what both algorithms share. In neither paper: 10 000 random
# transitions whatever the task, and critics that start near 0 (`ActorCritic`)
PAPER: dict[str, Row] = {
    "td3": {  # Fujimoto et al. 2018; sizes and step size as in the authors' later code
        "learner": {"policy_delay": 2, "actor_q": "first"},
    },
    "sac": {},  # Haarnoja et al. 2018
}

# On two cores narrow networks make more updates, and LayerNorm makes more of each; with few worlds each transition
# comes from a newer policy. TD3 on HalfCheetah-v5, 2 minutes, one seed: 3400 so, 730 with 64 worlds. Compiled, networks
# of this size make 1.5 times the updates.
LAPTOP: Row = {
    "learner": {"actor_hidden": (128, 128), "critic_hidden": (128, 128), "layer_norm": True, "compile": True},
    "log": {"every": 5_000},
    "eval": {"every": 10_000},
    "checkpoint": {"every": 50_000},
}
LAPTOP_WORLDS = 8

# A starting point after FastTD3 (arXiv 2505.22642), holosoma's FastSAC and PQL (arXiv 2307.12983); not yet tuned here.
FAST: dict[str, Row] = {
    "td3": {
        "learner": {
            "batch_size": 16_384,
            "n_step": 3,
            "policy_delay": 2,
            "actor_q": "min",
            "actor_hidden": (256, 256),
            "critic_hidden": (512, 512),
        },
        "td3": {"exploration_noise": 0.1, "exploration_noise_max": 0.8},
    },
    "sac": {
        "learner": {
            "batch_size": 8_192,
            "policy_delay": 4,
            "actor_q": "mean",
            "actor_hidden": (512, 512),
            "critic_hidden": (768, 768),
        },
        "sac": {"init_temperature": 0.001},
    },
}
FAST_COMMON: Row = {
    "total_steps": 50_000_000,
    "learner": {
        "updates_per_step": 8,
        "tau": 0.05,
        "critic": "categorical",
        "critic_activation": "silu",
        "layer_norm": True,
        "normalize_obs": True,
        "scale_rewards": True,
        "weight_decay": 0.001,
        "bf16": True,
    },
    "eval": {"every": 5_000_000},
    "checkpoint": {"every": 10_000_000},
}
ROWS_PER_WORLD = 1024  # replay, in vectorized steps
WARMUP_ROWS = 10  # random vectorized steps before the first update
LOG_ROWS = 50  # vectorized steps between two lines of metrics

# 1 where no row says otherwise. An ant's transitions are cheap beside updates, and it gains from more of them.
UPDATES_PER_TRANSITION = {("laptop", "Ant-v5", "td3"): 0.25, ("laptop", "Ant-v5", "sac"): 0.5}

PENDULUM: Row = {
    "learner": {"warmup_steps": 1_000, "gamma": 0.98, "actor_lr": 1e-3, "critic_lr": 1e-3},
    "sac": {"temperature_lr": 1e-3},
}
# tasks that want other values than the rest, by preset, task and algorithm
TASKS: dict[tuple[str, str, str], Row] = {
    # Uniformly random actions cost more than an ant earns by living, which teaches it to fall at once; those of a new
    # policy do not. A shorter horizon is learned sooner. 10 minutes on one core: 1803, 2009, 851 so; 363, 458 with
    # gamma 0.99 and an update per transition. TD3, one seed: 1037.
    ("laptop", "Ant-v5", "sac"): {"learner": {"warmup_steps": 1_000, "gamma": 0.97}},
    ("laptop", "Ant-v5", "td3"): {"learner": {"gamma": 0.98}},
    # 50 000 transitions, one seed: 400 so, 316 with the usual step sizes and warm-up, 282 at best with TD3. After 10
    # minutes, three seeds: 1033, 418, 3145.
    ("laptop", "Hopper-v5", "sac"): {
        "learner": {"warmup_steps": 1_000, "n_step": 3, "actor_lr": 1e-3, "critic_lr": 1e-3},
        "sac": {"temperature_lr": 1e-3},
    },
    # an easy task with a short horizon: reaches -200 within 10 000 (SAC) and 15 000 (TD3) transitions, see
    # benchmarks/pendulum.py
    ("laptop", "Pendulum-v1", "td3"): PENDULUM,
    ("laptop", "Pendulum-v1", "sac"): PENDULUM,
    ("fast", "Humanoid-v5", "td3"): {
        "learner": {
            "batch_size": 32_768,
            "updates_per_step": 4,
            "tau": 0.1,
            "atoms": 251,
            "actor_hidden": (512, 512),
            "critic_hidden": (1024, 1024),
        },
        "td3": {"exploration_noise": 0.05, "exploration_noise_max": 0.4, "target_noise": 0.1},
    },
}


def default_config(
    env: str,
    algo: Algorithm,
    num_envs: int | None = None,
    backend: Backend = "auto",
    device: Device = "auto",
    preset: Preset = "auto",
) -> Config:
    """What a run of `algo` on `env` gets when it is told nothing else; `preset` in it is never "auto".

    `num_envs` is 8 by default with the preset laptop, else 4096 where MJX runs on a GPU and 64 otherwise.
    `preset="auto"` is fast with many worlds on a GPU, else paper; `device="auto"` looks for a GPU.
    """
    on_gpu = device == "cuda" or (device == "auto" and devices.cuda_problem() is None)
    mjx_on_gpu = on_gpu and backend != "native"
    if num_envs is None:
        num_envs = LAPTOP_WORLDS if preset == "laptop" else 4096 if mjx_on_gpu else 64
    if preset == "auto":
        preset = "fast" if on_gpu and num_envs >= MANY_WORLDS else "paper"
    config = Config(env=env, algo=algo, preset=preset, num_envs=num_envs, backend=backend, device=device)
    for row in (*_tables(preset, env, algo, num_envs), TASKS.get((preset, env, algo), {})):
        config = merged(config, row)
    if preset == "fast":  # few worlds fill no large batch
        batch_size = min(config.learner.batch_size, WARMUP_ROWS * num_envs)
        config = merged(config, {"learner": {"batch_size": batch_size}})
    return config


def _tables(preset: str, env: str, algo: str, num_envs: int) -> tuple[Row, ...]:
    if preset == "fast":
        by_worlds: Row = {
            "learner": {"warmup_steps": WARMUP_ROWS * num_envs},
            "replay": {"capacity": ROWS_PER_WORLD * num_envs},
            "log": {"every": LOG_ROWS * num_envs},
        }
        return FAST_COMMON, FAST[algo], by_worlds
    updates = math.ceil(num_envs * UPDATES_PER_TRANSITION.get((preset, env, algo), 1))
    return PAPER[algo], LAPTOP if preset == "laptop" else {}, {"learner": {"updates_per_step": updates}}


def merged(config: Any, row: Row) -> Any:
    """The frozen dataclass `config` with the values of `row` in place; nested dicts reach into nested dataclasses."""
    changes = {
        name: merged(getattr(config, name), value) if isinstance(value, dict) else value for name, value in row.items()
    }
    return dataclasses.replace(config, **changes)
