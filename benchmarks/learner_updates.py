"""Gradient updates per second on a CPU: our learners beside Stable-Baselines3's and SBX's, interleaved, in one process.

    pip install stable-baselines3 sbx-rl
    python benchmarks/learner_updates.py --json benchmarks/results/learner_updates.json

All make the same update: two critics and an actor of 256x256, batch 256, observations and actions of Ant-v5's size,
from a replay that each fills itself with random numbers; sampling is counted, compiling is not. The median of the
ratios of neighbouring repeats is what to quote: it drifts less than either number. `taskset -c 0` gives each the same
one core.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
import tyro

from mjxrl.config.presets import default_config, merged
from mjxrl.learners import make_learner
from mjxrl.machine import devices, threads, versions
from mjxrl.replay import Replay
from mjxrl.worlds.worlds import StepResult

OBS, ACTION, ROWS, WORLDS = 105, 8, 2000, 8
PEERS = {"Stable-Baselines3": "stable_baselines3", "SBX": "sbx"}
Update = Callable[[int], object]  # makes that many updates


@dataclass(frozen=True)
class Options:
    algo: tuple[str, ...] = ("td3", "sac")
    """Algorithms."""
    peers: tuple[str, ...] = tuple(PEERS)
    """Peers to compare with, those that are installed; Stable-Baselines3, SBX."""
    also: tuple[Literal["bf16", "compile"], ...] = ()
    """Ours with these switches too, each alone and all together."""
    threads: int = 0
    """torch's threads; 0: as many as cores."""
    updates: int = 100
    """Updates per repeat."""
    repeats: int = 15
    """Repeats of each, after two that are not counted."""
    cpu_time: bool = False
    """Count processor time, not wall-clock time: steadier on a busy machine, but only to be compared on one core."""
    json: Path | None = None
    """Write the raw figures here."""


class Nothing(gymnasium.Env):
    """An environment of the right widths that is never stepped."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBS,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (ACTION,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        return np.zeros(OBS, np.float32), {}


def ours(algo: str, **settings: Any) -> Update:
    config = merged(default_config("Ant-v5", algo, num_envs=1, device="cpu", preset="paper"), {"learner": settings})
    learner = make_learner(config, OBS, ACTION, "cpu")
    replay = Replay(WORLDS, OBS, ACTION, capacity=ROWS * WORLDS, time_limit=1000, device="cpu")
    g = torch.Generator().manual_seed(0)
    replay.start(torch.randn(WORLDS, OBS, generator=g))
    no = torch.zeros(WORLDS, dtype=torch.bool)
    for _ in range(ROWS):
        obs, action = torch.randn(WORLDS, OBS, generator=g), torch.rand(WORLDS, ACTION, generator=g) * 2 - 1
        replay.append(action, StepResult(obs, torch.randn(WORLDS, generator=g), no, no, obs))
    learner.warm_up(replay)
    return lambda updates: learner.update(replay, updates, g)


def peer(package: str, algo: str) -> Update:
    kind = getattr(importlib.import_module(package), algo.upper())
    widths = {"pi": [256, 256], "qf": [256, 256]}
    device = {"device": "cpu"} if package == "stable_baselines3" else {}
    model = kind("MlpPolicy", Nothing(), batch_size=256, buffer_size=ROWS * WORLDS, learning_rate=3e-4,
                 policy_kwargs={"net_arch": widths}, **device)  # fmt: skip
    model._setup_learn(10**6)
    rng = np.random.default_rng(0)
    for _ in range(ROWS * WORLDS):
        obs, following = rng.normal(size=(2, 1, OBS)).astype(np.float32)
        action = rng.uniform(-1, 1, (1, ACTION)).astype(np.float32)
        model.replay_buffer.add(obs, following, action, rng.normal(size=1), np.zeros(1), [{}])
    if package == "sbx":
        return lambda updates: model.train(gradient_steps=updates, batch_size=256)
    return lambda updates: model.train(updates, 256)


def seconds(update: Update, updates: int, clock: Callable[[], float]) -> float:
    started = clock()
    update(updates)
    return clock() - started


def main(options: Options) -> None:
    threads.set_torch_threads(options.threads or threads.available_cores())
    clock = time.process_time if options.cpu_time else time.perf_counter
    report: dict[str, Any] = {
        "device": devices.device_name("cpu"),
        "torch_threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0)),
        "clock": "processor time" if options.cpu_time else "wall-clock time",
        "load_average": os.getloadavg(),
        "versions": versions.versions() | {package: version_of(package) for package in PEERS.values()},
        "updates_per_repeat": options.updates,
        "results": {},
    }
    for algo in options.algo:
        runs = {"mjxrl": ours(algo)} | {f"mjxrl {name}": ours(algo, **{name: True}) for name in options.also}
        if len(options.also) > 1:
            runs["mjxrl " + " ".join(options.also)] = ours(algo, **dict.fromkeys(options.also, True))
        runs |= {name: peer(PEERS[name], algo) for name in options.peers if version_of(PEERS[name])}
        rates: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(2 + options.repeats):
            for name, update in runs.items():
                rates[name].append(options.updates / seconds(update, options.updates, clock))
        rates = {name: values[2:] for name, values in rates.items()}
        print(f"{algo.upper()}, updates/s")
        ratios: dict[str, dict[str, float]] = {}
        for name, values in rates.items():
            print(f"  {name:20} {statistics.median(values):7.1f}  ({min(values):.1f} to {max(values):.1f})", end="")
            if name.startswith("mjxrl"):
                ratios[name] = {other: median_ratio(values, rates[other]) for other in PEERS if other in rates}
            print(*[f"  / {other}: {ratio:.2f}" for other, ratio in ratios.get(name, {}).items()])
        report["results"][algo] = {"updates_per_s": rates, "median_ratios": ratios}
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def version_of(package: str) -> str | None:
    try:
        return importlib.import_module(package).__version__
    except ImportError:
        return None


if __name__ == "__main__":
    main(tyro.cli(Options))
