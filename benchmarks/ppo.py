"""Stable-Baselines3's PPO on our worlds, scored as ours are; `mjxrl-compare RUN --ppo RUN_DIR` sets it beside them.

python benchmarks/ppo.py --env FetchReachDense-v4 --run-dir runs/ppo --max-minutes 6

Its own defaults, but for observations and rewards, which are normalised, and for the worlds, several of them, which
together fill the rollout of 2048 steps that one world does there. The folder gets metrics.csv, as of a run of ours, and
final.json: the settings, and every episode of the policy at the end, in Gymnasium where its environment is the task.
"""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import tyro
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import safe_mean
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

import mjxrl
from mjxrl.envs import task_class
from mjxrl.machine import devices, versions
from mjxrl.policy.evaluation import evaluate, evaluate_backend, unlike_gymnasium
from mjxrl.reporting.metrics import MetricsLogger
from mjxrl.worlds.vector_env import VectorEnv

CPU, ROLLOUT = torch.device("cpu"), 2048


@dataclass(frozen=True)
class Options:
    env: str
    """Task id, or my_module:MyTask."""
    run_dir: Path
    """Where metrics.csv and final.json go; a new folder."""
    num_envs: int = 16
    """Worlds; divides 2048."""
    total_steps: int = 1_000_000
    """Environment transitions, all worlds together."""
    max_minutes: float = float("inf")
    """Of training, evaluations included."""
    seed: int = 0
    """Of the run."""
    eval_every: int = 20_480
    """Transitions between two evaluations."""
    eval_episodes: int = 8
    """Episodes of each."""
    final_episodes: int = 100
    """Episodes that the policy is scored by at the end."""
    threads: int = 1
    """torch's: its networks are too small to share."""


class Report(BaseCallback):
    """A line of metrics after each rollout, and the end at the time limit."""

    def __init__(self, options: Options, policy: Any, worlds: VectorEnv, logger: MetricsLogger) -> None:
        super().__init__()
        self._options, self._policy, self._worlds, self._log = options, policy, worlds, logger
        self._started, self._evaluated = time.monotonic(), 0

    def _on_step(self) -> bool:
        return time.monotonic() - self._started < 60 * self._options.max_minutes

    def _on_rollout_end(self) -> None:
        steps, row = self.num_timesteps, {}
        if self.model.ep_info_buffer:
            row["train/return"] = safe_mean([info["r"] for info in self.model.ep_info_buffer])
        if steps // self._options.eval_every > self._evaluated:
            self._evaluated = steps // self._options.eval_every
            self._worlds.reset(seed=self._options.seed + 1)
            result = evaluate_backend(self._policy, self._worlds)
            row["eval/return"] = result.mean_return
            row |= {f"eval/{name}": mean for name, mean in result.means.items()}
        elapsed = time.monotonic() - self._started
        self._log.log(steps, {**row, "time/elapsed_s": elapsed, "time/env_steps_per_s": steps / elapsed})


def main(options: Options) -> None:
    torch.set_num_threads(options.threads)
    task = task_class(options.env)()
    worlds = mjxrl.sb3.make_vec_env(options.env, options.num_envs, backend="native", device="cpu", seed=options.seed)
    normalized = VecNormalize(worlds)
    model = PPO("MlpPolicy", normalized, n_steps=ROLLOUT // options.num_envs, seed=options.seed, device="cpu")

    def policy(obs: Tensor) -> Tensor:
        actions, _ = model.predict(normalized.normalize_obs(obs.numpy()), deterministic=True)
        return torch.from_numpy(actions)

    eval_worlds = VectorEnv(task, options.eval_episodes, backend="native", device=CPU)
    with MetricsLogger(options.run_dir, total_steps=options.total_steps) as logger:
        model.learn(options.total_steps, Report(options, policy, eval_worlds, logger))
    where = "native" if unlike_gymnasium(task) else "gymnasium"
    result = evaluate(policy, task, where, episodes=options.final_episodes, seed=options.seed, device=CPU)
    print(f"PPO in {where}: {result.in_words()}")
    content = {
        "steps": model.num_timesteps,
        "trained": result.as_json(),
        "options": dataclasses.asdict(options) | {"run_dir": str(options.run_dir)},
        "device": devices.device_name("cpu"),
        "versions": versions.versions() | {"stable-baselines3": version("stable-baselines3")},
    }
    (options.run_dir / "final.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
