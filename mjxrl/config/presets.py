"""Every default that depends on the algorithm, the task, the number of worlds or the run's length.

Tables are merged top to bottom: a row replaces the fields it names, and what no row names keeps the default in
`schema.py`. `--preset` picks the tables. What is then too long for the run is shortened. Flags on the command line come
last.

    paper    the form of the papers, one update per transition
    laptop   few CPU cores: few worlds, narrow networks, compiled updates; after CrossQ and FlashSAC
    fast     thousands of worlds on a GPU: few, large updates per vector step; fast-2025 is what it was before
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from mjxrl.config.for_tasks import (
    MANY_TRANSITIONS,
    QUICK_WITH_TD3,
    RECENT_SHARE,
    TASKS,
    UPDATES_PER_TRANSITION,
    WITH_LAYER_NORM,
    Row,
)
from mjxrl.config.schema import GYMNASIUM, Algorithm, Config, Preset
from mjxrl.machine import devices
from mjxrl.machine.devices import Backend, Device

SOME_WORLDS = 8  # on a GPU, from here on `auto` means fast-2025, until a GPU has judged between the two
FULL_LENGTH_WORLDS = 1024  # with fewer of them a run of the same time is shorter
TABLED_WORLDS = 4096  # for which presets for many worlds name batches and updates
LEAST_BATCH = 256  # for few worlds there are fewer updates instead
FOR_MANY = "fast", "fast-2025"

# two layers of 256, batch 256, tau 0.005: `schema.py` has what both algorithms share. In neither paper: 10 000 random
# transitions for every task with long episodes, and critics that start near 0 (`ActorCritic`)
PAPER: dict[str, Row] = {
    "td3": {  # Fujimoto et al. 2018; sizes and step size as in the authors' later code
        "learner": {"policy_delay": 2, "actor_q": "first"},
    },
    "sac": {},  # Haarnoja et al. 2018
}

# On two cores narrow networks make more updates; with few worlds each transition comes from a newer policy. TD3 on
# HalfCheetah-v5, 2 minutes, one seed: 3400 so, 730 with 64 worlds. Compiled, networks of this size make 1.5 times the
# updates. Policies swing from one evaluation to the next; an average of their weights does so less.
LAPTOP: Row = {
    "learner": {"actor_hidden": (128, 128), "critic_hidden": (128, 128), "policy_average": 0.002, "compile": True},
    "log": {"every": 5_000},
    "eval": {"every": 10_000},
    "checkpoint": {"every": 50_000},
}
LAYER_NORM: Row = {"learner": {"critic_norm": "layer"}}
# CrossQ (Bhatt et al. 2024) at small widths, without a gradient through the half of the next states, whose critics are
# FlashSAC's (arXiv 2604.04539) distributions of scaled returns, with held noise and SAC's quiet start. Only together do
# they keep Humanoid-v5 on its feet after 60 000 transitions. TD3 needs more noise than the papers' .1: HalfCheetah-v5
# ends at 5526 with .3 and at 1787 with .1, Walker2d-v5 at 3976 and, with .5, at 567. docs/measurements.md has them all.
QUICK: Row = {
    "learner": {
        "critic_norm": "batch",
        "half_gradient": True,
        "critic": "categorical",
        "atoms": 51,
        "scale_rewards": True,
        "policy_delay": 3,
        "adam_beta1": 0.5,
        "actor_lr": 1e-3,
        "critic_lr": 1e-3,
        "warmup_steps": 1_000,
        "hold_noise": 16,
    },
    "sac": {"temperature_lr": 1e-3, "init_temperature": 0.01, "target_std": 0.25, "init_std": 0.25},
    "td3": {"exploration_noise": 0.3},
}
LAPTOP_WORLDS, SPARING_WORLDS = 8, 64

# A starting point after FastTD3 (arXiv 2505.22642), holosoma's FastSAC and PQL (arXiv 2307.12983); not yet tuned here.
FAST_2025: dict[str, Row] = {
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
FAST_2025_LEARNER: Row = {
    "tau": 0.05,
    "critic": "categorical",
    "critic_activation": "silu",
    "critic_norm": "layer",
    "normalize_obs": True,
    "scale_rewards": True,
    "weight_decay": 0.001,
}
FAST_2025_COMMON: Row = {
    "total_steps": 50_000_000,
    "learner": {**FAST_2025_LEARNER, "updates_per_step": 8, "bf16": True},
    "eval": {"every": 5_000_000},
    "checkpoint": {"every": 10_000_000},
}
# Of preset laptop, on tasks that gain more from transitions than from updates: the same learner, narrow. Ant-v5, ten
# minutes on one core, SAC, tuning seeds: 3348, 4200 and 2860; 1843 with a replay of a million; 1351 with
# the few worlds and BatchNorm critics of other tasks, less noise and gamma .97.
SPARING: Row = {
    "replay": {"capacity": 65_536},  # as many steps of 64 worlds as fast-2025 keeps
    "learner": {**FAST_2025_LEARNER, "batch_size": 512, "warmup_steps": 1_000},
    "log": {"every": 20_000},
    "eval": {"every": 50_000},
    "checkpoint": {"every": 200_000},
}

# After FlashSAC (arXiv 2604.04539), whose blocks have BatchNorm and targets besides: few updates of large batches on
# many old transitions, a quiet start, noise that is held. Not yet run on a GPU, nor tuned here.
FAST_SAC: Row = {"init_temperature": 0.01, "target_std": 0.15, "init_std": 0.25}
FAST: dict[str, Row] = {
    "td3": {
        "learner": {"n_step": 3, "policy_delay": 2, "actor_q": "min"},
        "td3": {"exploration_noise": 0.1, "exploration_noise_max": 0.8},
    },
    "sac": {"learner": {"policy_delay": 2, "actor_q": "min", "hold_noise": 16}, "sac": FAST_SAC},
}
FAST_COMMON: Row = {
    "total_steps": 50_000_000,
    "replay": {"capacity": 10_000_000},
    "learner": {
        "batch_size": 4_096,
        "updates_per_step": 8,
        "tau": 0.01,
        "blocks": True,
        "actor_hidden": (512, 512),
        "critic_hidden": (512, 512),
        "critic_norm": "layer",
        "critic": "categorical",
        "normalize_obs": True,
        "scale_rewards": True,
        "lr_schedule": "linear",
        "lr_final": 0.5,
        "bf16": True,
    },
    "eval": {"every": 5_000_000},
    "checkpoint": {"every": 10_000_000},
}
ROWS_PER_WORLD = 1024  # replay of fast-2025, in vectorized steps
WARMUP_ROWS = 10  # random vectorized steps before the first update
LOG_ROWS = 50  # vectorized steps between two lines of metrics


# Transitions in a minute, roughly (laptop: TD3 on HalfCheetah-v5, two cores). They stand for the length of a run that
# minutes end, and for nothing else: what is shortened by them is the same on every machine.
PER_MINUTE = {"paper": 6_000, "laptop": 20_000, "fast": 1_000_000, "fast-2025": 1_000_000}
# Of the run's length, at most: lines of metrics, evaluations, checkpoints, random actions, a batch
LOG_SHARE, EVAL_SHARE, CHECKPOINT_SHARE, WARMUP_SHARE, BATCH_SHARE = 20, 10, 4, 10, 4
WARMUP_EPISODES, SHORT_WARMUP = 10, 1_000  # of the time limit; no shorter than this because episodes are short
# What a replay of the newest transitions keeps at least. HalfCheetah-v5, TD3, ten minutes on one core, three seeds:
# 7757, 7462, 7923 with 20 000, and 5929, 4953, 8030 with a million
LEAST_RECENT = 20_000
COMPILING_PAYS = 30_000  # transitions: half a minute or more of compiling makes updates 1.5 times as fast


def default_config(
    env: str,
    algo: Algorithm,
    num_envs: int | None = None,
    backend: Backend = "auto",
    device: Device = "auto",
    preset: Preset = "auto",
    *,
    total_steps: int | None = None,
    max_minutes: float | None = None,
    time_limit: int = 1000,
) -> Config:
    """What a run of `algo` on `env` gets when it is told nothing else; `preset` in it is never "auto".

    `num_envs` is by default 8 with the preset laptop (64 on Ant) or in Gymnasium, else 4096 where MJX runs on a GPU,
    else 64.
    `preset="auto"` is laptop on a CPU, fast-2025 with 8 worlds or more on a GPU, else paper; `device="auto"` looks for
    a GPU. What backend "auto" means is `machine.backends`' to say.

    Args:
        total_steps: transitions after which the run ends, if that is known.
        max_minutes: minutes after which it ends, if that is known.
        time_limit: steps of the task's episodes at most.
    """
    task = env.removeprefix(GYMNASIUM)  # the same settings for whoever steps it
    if task != env:
        backend = "gymnasium"
    on_gpu = device == "cuda" or (device == "auto" and devices.cuda_problem() is None)
    many = LAPTOP_WORLDS if task != env else 4096 if on_gpu and backend != "native" else 64
    if preset == "auto":
        ours = task == env and (num_envs or many) >= SOME_WORLDS
        preset = "laptop" if not on_gpu else "fast-2025" if ours else "paper"
    if num_envs is None:
        few = SPARING_WORLDS if env in MANY_TRANSITIONS else LAPTOP_WORLDS
        num_envs = few if preset == "laptop" else many
    config = Config(env=env, algo=algo, preset=preset, num_envs=num_envs, backend=backend, device=device)
    for row in (*_tables(preset, task, algo, num_envs), TASKS.get((preset, task, algo), {})):
        config = merged(config, row)
    if preset in FOR_MANY:  # graphs are CUDA's
        config = merged(config, {"learner": {**_updates(config), "graphs": on_gpu, "compile": on_gpu}})
        length = max(1_000_000, config.total_steps * num_envs // FULL_LENGTH_WORLDS)
        config = dataclasses.replace(config, total_steps=min(config.total_steps, length))
    if total_steps is not None:
        config = dataclasses.replace(config, total_steps=total_steps)
    return _shortened(dataclasses.replace(config, max_minutes=max_minutes), time_limit)


def _updates(config: Config) -> Row:
    """Batch and updates of a vector step by which a transition is sampled as often with any number of worlds.

    Batches follow the worlds first, down to LEAST_BATCH and to what the random steps at the start can fill.
    """
    worlds, learner = config.num_envs, config.learner
    samples = learner.updates_per_step * learner.batch_size * worlds / TABLED_WORLDS
    batch_size = min(max(LEAST_BATCH, learner.batch_size * worlds // TABLED_WORLDS), WARMUP_ROWS * worlds)
    return {"batch_size": batch_size, "updates_per_step": max(1, round(samples / batch_size))}


def _shortened(config: Config, time_limit: int) -> Config:
    """`config` with as much of everything as its run has room for."""
    minutes, learner, capacity = config.max_minutes, config.learner, config.replay.capacity
    per_minute = PER_MINUTE[config.preset]
    if config.preset == "laptop" and config.env in MANY_TRANSITIONS:
        per_minute *= 2
    length = min(config.total_steps, math.inf if minutes is None else int(minutes * per_minute))

    def at_most(value: int, share: int) -> int:
        return max(1, min(value, int(length // share)))

    warmup = learner.warmup_steps
    if config.preset not in FOR_MANY:  # whose warm-up follows the worlds
        warmup = min(warmup, max(SHORT_WARMUP, WARMUP_EPISODES * time_limit))
    recent = RECENT_SHARE.get((config.preset, config.env.removeprefix(GYMNASIUM), config.algo))
    if recent:
        capacity = max(LEAST_RECENT, at_most(capacity, recent))
    row = {
        "replay": {"capacity": capacity},
        "learner": {
            "warmup_steps": at_most(warmup, WARMUP_SHARE),
            "batch_size": at_most(learner.batch_size, BATCH_SHARE),
            "compile": learner.compile and length >= COMPILING_PAYS,
        },
        "log": {"every": at_most(config.log.every, LOG_SHARE)},
        "eval": {"every": at_most(config.eval.every, EVAL_SHARE)},
        "checkpoint": {"every": at_most(config.checkpoint.every, CHECKPOINT_SHARE)},
    }
    return merged(config, row)


def _tables(preset: str, task: str, algo: str, num_envs: int) -> tuple[Row, ...]:
    if preset in FOR_MANY:
        by_worlds: Row = {"learner": {"warmup_steps": WARMUP_ROWS * num_envs}, "log": {"every": LOG_ROWS * num_envs}}
        if preset == "fast":
            return FAST_COMMON, FAST[algo], by_worlds
        return FAST_2025_COMMON, FAST_2025[algo], by_worlds, {"replay": {"capacity": ROWS_PER_WORLD * num_envs}}
    updates = math.ceil(num_envs * UPDATES_PER_TRANSITION.get((preset, task, algo), 1))
    by_updates: Row = {"learner": {"updates_per_step": updates}}
    if preset == "paper":
        return PAPER[algo], by_updates
    if task in MANY_TRANSITIONS:
        return FAST_2025[algo], by_updates, LAPTOP, SPARING
    quick = task not in WITH_LAYER_NORM if algo == "sac" else task in QUICK_WITH_TD3
    return PAPER[algo], by_updates, LAPTOP, QUICK if quick else LAYER_NORM


def merged(config: Any, row: Row) -> Any:
    """The frozen dataclass `config` with the values of `row` in place; nested dicts reach into nested dataclasses."""
    changes = {
        name: merged(getattr(config, name), value) if isinstance(value, dict) else value for name, value in row.items()
    }
    return dataclasses.replace(config, **changes)
