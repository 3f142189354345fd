"""Episodes of the deterministic policy: side by side on a backend, or one by one in Gymnasium's own environment."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import gymnasium
import numpy as np
import torch
from torch import Tensor

from mjxrl.envs.task import Task
from mjxrl.errors import RunError
from mjxrl.policy.from_run import run_policy
from mjxrl.storage.trained_task import model_hash
from mjxrl.worlds.actions import to_controls
from mjxrl.worlds.shapes import observation_size
from mjxrl.worlds.vector_env import VectorEnv
from mjxrl.worlds.worlds import Worlds

Policy = Callable[[Tensor], Tensor]  # obs (N, O) to actions (N, A) in [-1, 1]

LONGEST = 10_000  # steps after which an episode that need not end is cut short


class EvalResult(NamedTuple):
    """Undiscounted returns and lengths, in steps, of each episode, and where they were played."""

    returns: list[float]
    lengths: list[int]
    where: str = "native"

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


def evaluate(policy: Policy, task: Task, where: str, *, episodes: int, seed: int, device: torch.device) -> EvalResult:
    """Whole episodes of `task`: one by one in "gymnasium", side by side on a backend.

    Raises:
        ValueError: Gymnasium's environment is another task.
    """
    if where == "gymnasium":
        return evaluate_gymnasium(policy, task, episodes, seed, device)
    worlds = VectorEnv(task, episodes, backend=where, device=device, seed=seed)
    return evaluate_backend(policy, worlds)._replace(where=where)


@torch.no_grad()
def evaluate_gymnasium(policy: Policy, task: Task, episodes: int, seed: int, device: torch.device) -> EvalResult:
    """Episodes in Gymnasium's environment with the task's keywords; actions are scaled to its action space.

    Raises:
        ValueError: Gymnasium's environment is another task.
    """
    problem = unlike_gymnasium(task)
    if problem:
        raise ValueError(f"{problem}: evaluate it on a backend")
    env = _in_gymnasium(task)
    space = env.action_space
    assert isinstance(space, gymnasium.spaces.Box)
    returns, lengths = [], []
    for episode in range(episodes):
        obs, _ = env.reset(seed=seed + episode)
        total, length, done = 0.0, 0, False
        while not done:
            batch = torch.as_tensor(np.asarray(task.from_gymnasium(obs), np.float32), device=device)[None]
            action = policy(batch)[0].float().cpu().numpy()
            obs, reward, terminated, truncated, _ = env.step(to_controls(action, space.low, space.high))
            total, length, done = total + float(reward), length + 1, terminated or truncated
        returns.append(total)
        lengths.append(length)
    env.close()
    return EvalResult(returns, lengths, "gymnasium")


def unlike_gymnasium(task: Task) -> str | None:
    """Why a score in Gymnasium would be of another task, or None: same id, keywords, model and observation."""
    name, env_id = type(task).__name__, task.gymnasium_id
    if env_id is None:
        return f"{name} is not a Gymnasium environment"
    if task.xml_file.endswith(".mjb"):
        return f"{env_id} is made from MJCF, and what there is is a compiled model, {task.xml_file}"
    try:
        env = _in_gymnasium(task)
    except Exception as error:  # whatever its constructor makes of these keywords and this model
        return f"{env_id} cannot be made with {name}'s keywords: {error}"
    shape, size = np.shape(task.from_gymnasium(env.reset()[0])), observation_size(task)
    model = getattr(env.unwrapped, "model", task.model)  # Pendulum has none there
    env.close()
    if shape != (size,):
        return f"an observation of {env_id} has shape {shape}, of {name} ({size},)"
    return None if model_hash(model) == model_hash(task.model) else f"{env_id} has another model than {name}"


def _in_gymnasium(task: Task) -> gymnasium.Env:
    keywords = {field.name: getattr(task, field.name) for field in dataclasses.fields(task)}
    return gymnasium.make(str(task.gymnasium_id), **keywords)


def random_policy(action_size: int, seed: int, device: torch.device) -> Policy:
    """Uniform actions in [-1, 1]."""
    generator = torch.Generator(device).manual_seed(seed)

    def act(obs: Tensor) -> Tensor:
        return torch.rand(len(obs), action_size, generator=generator, device=device) * 2 - 1

    return act


def evaluate_run(
    run_dir: Path,
    *,
    episodes: int = 10,
    backend: str = "auto",
    seed: int = 0,
    which: str = "latest",
    device: str = "cpu",
    xml_file: str | None = None,
) -> EvalResult:
    """Score a run's checkpoint by its deterministic policy, on the task that it was trained on.

    Args:
        backend: "gymnasium", or "native" or "jax" for `episodes` worlds side by side; "auto": Gymnasium if its
            environment is the very task, else native.
        which: "latest" or "step_<n>".
        xml_file: another MJCF than the task was trained with.

    Raises:
        RunError: the run or the checkpoint cannot be used, or the task is not Gymnasium's and was to be played there.
    """
    policy, config = run_policy(run_dir, which, device=device, xml_file=xml_file)
    problem = unlike_gymnasium(config.task) if backend in ("auto", "gymnasium") else None
    if problem and backend == "gymnasium":
        raise RunError(f"--backend gymnasium: {problem}: allowed: native, jax")
    where = ("native" if problem else "gymnasium") if backend == "auto" else backend
    return evaluate(policy.act, config.task, where, episodes=episodes, seed=seed, device=torch.device(device))
