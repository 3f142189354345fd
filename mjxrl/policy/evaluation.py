"""Episodes of the deterministic policy: side by side on a backend, or one by one in Gymnasium's own environment."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from torch import Tensor

from mjxrl.config import Config
from mjxrl.envs.task import Task
from mjxrl.errors import RunError
from mjxrl.learners import make_learner
from mjxrl.storage import checkpoint
from mjxrl.storage.run_dir import load_config
from mjxrl.worlds.vector_env import VectorEnv
from mjxrl.worlds.worlds import Worlds

Policy = Callable[[Tensor], Tensor]  # obs (N, O) to actions (N, A) in [-1, 1]

LONGEST = 10_000  # steps after which an episode that need not end is cut short


class EvalResult(NamedTuple):
    """Undiscounted returns and lengths, in steps, of each episode."""

    returns: list[float]
    lengths: list[int]

    @property
    def mean_return(self) -> float:
        return statistics.fmean(self.returns)

    @property
    def std_return(self) -> float:
        """Standard deviation over the episodes (0 for a single one)."""
        return statistics.pstdev(self.returns)


@torch.no_grad()
def evaluate_backend(policy: Policy, env: Worlds) -> EvalResult:
    """One whole episode in each world of `env`, from a fresh reset."""
    obs = env.reset()
    returns = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
    lengths = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
    running = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    for _ in range(env.max_episode_steps or LONGEST):
        result = env.step(policy(obs))
        returns += torch.where(running, result.reward, 0.0)
        lengths += running
        running &= ~result.done
        obs = result.obs
        if not running.any():
            break
    return EvalResult(returns.tolist(), lengths.tolist())


@torch.no_grad()
def evaluate_gymnasium(policy: Policy, task: Task, episodes: int, seed: int, device: torch.device) -> EvalResult:
    """Episodes in `gymnasium.make(id)` with the task's keywords; actions are scaled to its action space.

    Raises:
        ValueError: the task has no Gymnasium id.
    """
    if task.gymnasium_id is None:
        raise ValueError(f"{type(task).__name__} is not a Gymnasium environment: evaluate it on a backend")
    env = gymnasium.make(task.gymnasium_id, **gymnasium_keywords(task))
    space = env.action_space
    assert isinstance(space, gymnasium.spaces.Box)
    center, half = (space.high + space.low) / 2, (space.high - space.low) / 2
    returns, lengths = [], []
    for episode in range(episodes):
        obs, _ = env.reset(seed=seed + episode)
        total, length, done = 0.0, 0, False
        while not done:
            batch = torch.as_tensor(np.asarray(obs, np.float32), device=device)[None]
            action = policy(batch)[0].float().cpu().numpy()
            obs, reward, terminated, truncated, _ = env.step(center + half * action)
            total, length, done = total + float(reward), length + 1, terminated or truncated
        returns.append(total)
        lengths.append(length)
    env.close()
    return EvalResult(returns, lengths)


def gymnasium_keywords(task: Task) -> dict[str, Any]:
    """The keywords in which `task` differs from its defaults, to pass on to Gymnasium's constructor."""
    fields = dataclasses.fields(task)
    return {f.name: getattr(task, f.name) for f in fields if getattr(task, f.name) != f.default}


def random_policy(action_size: int, seed: int, device: torch.device) -> Policy:
    """Uniform actions in [-1, 1]."""
    generator = torch.Generator(device).manual_seed(seed)

    def act(obs: Tensor) -> Tensor:
        return torch.rand(len(obs), action_size, generator=generator, device=device) * 2 - 1

    return act


def load_run_policy(run_dir: Path, which: str, device: torch.device) -> tuple[Policy, Config, VectorEnv]:
    """The deterministic policy of a run's checkpoint, the run's configuration and one native world of its task.

    Raises:
        RunError: the run or the checkpoint cannot be used (CheckpointError for the latter).
    """
    config = load_config(run_dir)
    state = checkpoint.load(run_dir, which, "learner", {"env": config.env, "algo": config.algo})
    env = VectorEnv(config.task, 1, backend="native", device=device)
    learner = make_learner(config, env.obs_size, env.action_size, device)
    learner.load_state_dict(state)
    return learner.act_deterministic, config, env


def evaluate_run(
    run_dir: Path,
    *,
    episodes: int = 10,
    backend: str = "gymnasium",
    seed: int = 0,
    which: str = "latest",
    device: str = "cpu",
) -> EvalResult:
    """Score a run's checkpoint by its deterministic policy.

    Args:
        backend: "gymnasium", or "native" or "jax" for `episodes` worlds side by side.
        which: "latest" or "step_<n>".

    Raises:
        RunError: the run or the checkpoint cannot be used.
    """
    where = torch.device(device)
    policy, config, _ = load_run_policy(run_dir, which, where)
    if backend != "gymnasium":
        env = VectorEnv(config.task, episodes, backend=backend, device=where, seed=seed)
        return evaluate_backend(policy, env)
    if config.task.gymnasium_id is None:
        raise RunError(f"--backend gymnasium: {config.env} is not a Gymnasium environment, allowed: native, jax")
    return evaluate_gymnasium(policy, config.task, episodes, seed, where)
