"""One run of Stable-Baselines3 or SBX, for `learning.py`: train so long, play, print JSON; defaults but for the width.

python benchmarks/learning_peer.py --package sbx --algo td3 --env Hopper-v5 --minutes 10 --seed 0
"""

from __future__ import annotations

import importlib
import json
import time
from dataclasses import dataclass
from typing import Literal

import gymnasium
import torch
import tyro

KINDS = {"td3": "TD3", "sac": "SAC", "crossq": "CrossQ"}


@dataclass(frozen=True)
class Options:
    package: Literal["stable_baselines3", "sbx"]
    """Whose implementation."""
    algo: Literal["td3", "sac", "crossq"]
    """Algorithm; crossq is SBX's."""
    env: str
    """Gymnasium id."""
    minutes: float
    """Wall-clock time of `learn`, compilation included, imports and evaluation not."""
    seed: int = 0
    """Of the run."""
    episodes: int = 10
    """Episodes of the deterministic policy after training."""
    width: int = 0
    """Of both networks' two hidden layers; 0: as by default."""
    threads: int = 1
    """torch's threads (Stable-Baselines3)."""


def main(options: Options) -> None:
    torch.set_num_threads(options.threads)
    kind = getattr(importlib.import_module(options.package), KINDS[options.algo])
    networks = {"policy_kwargs": {"net_arch": [options.width] * 2}} if options.width else {}
    device = {"device": "cpu"} if options.package == "stable_baselines3" else {}
    model = kind("MlpPolicy", options.env, seed=options.seed, **device, **networks)
    deadline = time.monotonic() + 60 * options.minutes
    model.learn(10**9, callback=lambda _locals, _globals: time.monotonic() < deadline)
    env, returns = gymnasium.make(options.env), []
    for episode in range(options.episodes):  # the first states that ours are played from
        obs, _ = env.reset(seed=options.seed + episode)
        total, done = 0.0, False
        while not done:
            action, _ = model.predict(obs, deterministic=True)
            obs, reward, terminated, truncated, _ = env.step(action)
            total, done = total + float(reward), terminated or truncated
        returns.append(total)
    print(json.dumps({"steps": model.num_timesteps, "updates": int(model._n_updates), "returns": returns}))


if __name__ == "__main__":
    main(tyro.cli(Options))
