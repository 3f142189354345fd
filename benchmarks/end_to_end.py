"""Training on a CPU with one update per env step: our trainer beside Stable-Baselines3 and SBX, interleaved.

    pip install stable-baselines3 sbx-rl
    python benchmarks/end_to_end.py --env Ant-v5 --algo sac --num-envs 8 --json OUT.json

All train on the same task with the same number of worlds, networks of 256x256, batches of 256 and as many updates as
transitions; what else they do is their default (ours: preset paper on the native backend). They take turns in one
process, a few hundred transitions each; ours is `Trainer.run` itself, paused in between. Each has `--capacity`
transitions of replay; ours is full from the start. The median of the ratios of neighbouring repeats is what to quote.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

from mjxrl.config.presets import default_config, merged
from mjxrl.envs import task_class
from mjxrl.machine import devices, threads, versions
from mjxrl.measurement.end_to_end import run_trainer
from mjxrl.measurement.setting import set_up
from mjxrl.training.trainer import Trainer

PEERS = {"Stable-Baselines3": "stable_baselines3", "SBX": "sbx"}
WARM_UP = 200  # transitions of the peers that are not counted, half of them before the first update


@dataclass(frozen=True)
class Options:
    env: str = "Ant-v5"
    """Task id."""
    algo: Literal["td3", "sac"] = "sac"
    """Algorithm."""
    num_envs: int = 8
    """Worlds stepped together, of each."""
    peers: tuple[str, ...] = tuple(PEERS)
    """Peers to compare with, those that are installed; Stable-Baselines3, SBX."""
    compile: bool = False
    """Ours with --learner.compile."""
    threads: int = 0
    """torch's threads; 0: by our rule."""
    steps: int = 400
    """Transitions per repeat."""
    repeats: int = 9
    """Repeats of each, after one that is not counted."""
    capacity: int = 100_000
    """Transitions of replay."""
    json: Path | None = None
    """Write the raw figures here."""


def main(options: Options) -> None:
    config = default_config(
        options.env, options.algo, num_envs=options.num_envs, backend="native", device="cpu", preset="paper"
    )
    learner = {"threads": options.threads, "compile": options.compile}
    row = {"replay": {"capacity": options.capacity}, "learner": learner, "log": {"every": 10**9}}
    config = merged(merged(config, row), {"task": task_class(options.env)()})
    setting = set_up(config, options.repeats, seconds=0)
    peers = {name: learn for name in options.peers if (learn := make_peer(PEERS[name], options))}
    order = ["mjxrl", *peers]
    seconds: dict[str, list[float]] = {name: [] for name in order}
    vector_steps = options.steps // options.num_envs

    def script(trainer: Trainer) -> Iterator[None]:
        for learn in peers.values():
            learn(WARM_UP)
        for _ in range(1 + options.repeats):
            started = time.perf_counter()
            for _ in range(vector_steps):
                yield
            seconds["mjxrl"].append(time.perf_counter() - started)
            for name, learn in peers.items():
                started = time.perf_counter()
                learn(vector_steps * options.num_envs)
                seconds[name].append(time.perf_counter() - started)

    run_trainer(setting, script)
    steps = vector_steps * options.num_envs
    rates = {name: [steps / s for s in values[1:]] for name, values in seconds.items()}
    ratios = {name: [a / b for a, b in zip(rates["mjxrl"], rates[name], strict=True)] for name in peers}
    print(f"{options.algo.upper()} on {options.env}, {options.num_envs} worlds, env-steps/s with an update for each")
    for name, values in rates.items():
        line = f"  {name:18} {statistics.median(values):7.1f}  ({min(values):.1f} to {max(values):.1f})"
        if name in ratios:
            found = ratios[name]
            line += f"   mjxrl / this: {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
        print(line)
    if options.json:
        report = {
            "env": options.env,
            "algo": options.algo,
            "num_envs": options.num_envs,
            "compile": options.compile,
            "transitions_per_repeat": steps,
            "device": devices.device_name("cpu"),
            "cores": threads.available_cores(),
            "threads": setting.machine.threads._asdict(),
            "load_average": os.getloadavg(),
            "versions": versions.versions() | {PEERS[name]: version_of(PEERS[name]) for name in peers},
            "order_of_each_repeat": order,
            "env_steps_per_s": rates,
            "median_ratio_of_mjxrl_to": {name: statistics.median(found) for name, found in ratios.items()},
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def make_peer(package: str, options: Options) -> Callable[[int], object] | None:
    """A function that trains on for so many transitions; None where the package is missing."""
    if version_of(package) is None:
        return None
    make_vec_env = importlib.import_module("stable_baselines3.common.env_util").make_vec_env
    device = {"device": "cpu"} if package == "stable_baselines3" else {}
    torch.manual_seed(0)
    model = getattr(importlib.import_module(package), options.algo.upper())(
        "MlpPolicy",
        make_vec_env(options.env, n_envs=options.num_envs, seed=0),
        batch_size=256,
        buffer_size=options.capacity,
        learning_starts=WARM_UP // 2,
        train_freq=1,
        gradient_steps=-1,  # as many as transitions since the last one
        policy_kwargs={"net_arch": {"pi": [256, 256], "qf": [256, 256]}},
        **device,
    )
    return lambda steps: model.learn(steps, reset_num_timesteps=False)


def version_of(package: str) -> str | None:
    try:
        return importlib.import_module(package).__version__
    except ImportError:
        return None


if __name__ == "__main__":
    main(tyro.cli(Options))
