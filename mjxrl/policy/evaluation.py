"""Episodes of the deterministic policy: side by side on a backend, or one by one in Gymnasium's own environment."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from torch import Tensor

from mjxrl.adapters import robotics
from mjxrl.adapters.chosen import worlds_of
from mjxrl.envs import FETCH
from mjxrl.envs.gymnasium_env import GymnasiumEnv
from mjxrl.envs.task import Task
from mjxrl.errors import RunError
from mjxrl.physics import broke_down
from mjxrl.policy.from_run import run_policy
from mjxrl.storage.trained_task import model_hash
from mjxrl.worlds.actions import to_controls
from mjxrl.worlds.shapes import observation_size
from mjxrl.worlds.worlds import Worlds

Policy = Callable[[Tensor], Tensor]  # obs (N, O) to actions (N, A) in [-1, 1]

LONGEST = 10_000  # steps after which an episode that need not end is cut short


class EvalResult(NamedTuple):
    """Undiscounted returns and lengths, in steps, of the episodes that came to an end, and where they were played."""

    returns: list[float]
    lengths: list[int]
    where: str = "native"
    diverged: int = 0
    """Episodes in which the simulation or the task broke down; they are neither good nor bad, and left out."""
    outcomes: dict[str, list[float]] = {}  # noqa: RUF012 (a NamedTuple's default, never written to)
    """What the task tells of each episode's end, such as `success`; `action_change` is the mean of |a_t - a_(t-1)|."""

    @property
    def mean_return(self) -> float:
        """NaN where no episode came to an end."""
        return statistics.fmean(self.returns) if self.returns else math.nan

    @property
    def std_return(self) -> float:
        """Standard deviation over the episodes (0 for a single one, NaN for none)."""
        return statistics.pstdev(self.returns) if self.returns else math.nan

    @property
    def means(self) -> dict[str, float]:
        """Of each outcome, where an episode came to an end."""
        return {name: statistics.fmean(values) for name, values in self.outcomes.items() if values}

    @property
    def rank(self) -> tuple[float, float]:
        """What policies are compared by: the share of successes, where there is such a thing, then the mean return."""
        return self.means.get("success", 0.0), self.mean_return

    def in_words(self) -> str:
        """Mean and standard deviation, how often the goal was reached, and how many episodes are not in them."""
        means = self.means
        success = f", success {means['success']:.0%}" if "success" in means else ""
        distance = f", {100 * means['distance']:.1f} cm from it" if "distance" in means else ""
        left_out = f", {self.diverged} more diverged" if self.diverged else ""
        return f"{self.mean_return:8.1f} ± {self.std_return:.1f}{success}{distance}{left_out}"

    def as_json(self) -> dict[str, Any]:
        """Everything; numbers that there are not are None."""
        means = {"mean_return": self.mean_return, "std_return": self.std_return} if self.returns else {}
        return {"mean_return": None, "std_return": None, **means, **self.means, **self._asdict()}


@torch.no_grad()
def evaluate_backend(policy: Policy, env: Worlds) -> EvalResult:
    """One whole episode in each world of `env`, from a fresh reset."""
    obs = env.reset()
    returns = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
    lengths = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
    running = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    whole, moved, before = running.clone(), torch.zeros_like(returns), None
    outcomes: dict[str, Tensor] = {}
    for _ in range(env.max_episode_steps or LONGEST):
        action = policy(obs)
        result = env.step(action)
        returns += torch.where(running, result.reward, 0.0)
        lengths += running
        moved += torch.where(running, (action - (action if before is None else before)).norm(dim=1), 0.0)
        for name, value in result.outcome.items():
            outcomes[name] = torch.where(running, value, outcomes.get(name, value))
        whole &= result.valid | ~running
        running &= ~result.done
        obs, before = result.obs, action
        if not running.any():
            break
    outcomes["action_change"] = moved / (lengths - 1).clamp(min=1)
    ends = {name: values[whole].tolist() for name, values in outcomes.items()}
    return EvalResult(returns[whole].tolist(), lengths[whole].tolist(), diverged=int((~whole).sum()), outcomes=ends)


def evaluate(
    policy: Policy, task: Task | GymnasiumEnv, where: str, *, episodes: int, seed: int, device: torch.device
) -> EvalResult:
    """Whole episodes of `task`: one by one in "gymnasium", side by side on a backend.

    Raises:
        ValueError: Gymnasium's environment is another task.
    """
    if where == "gymnasium":
        return evaluate_gymnasium(policy, task, episodes, seed, device)
    worlds = worlds_of(task, episodes, backend=where, device=device, seed=seed)
    return evaluate_backend(policy, worlds)._replace(where=where)


@torch.no_grad()
def evaluate_gymnasium(
    policy: Policy, task: Task | GymnasiumEnv, episodes: int, seed: int, device: torch.device
) -> EvalResult:
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
    returns, lengths, diverged = [], [], 0
    outcomes: dict[str, list[float]] = {}
    for episode in range(episodes):
        obs = task.from_gymnasium(env.reset(seed=seed + episode)[0])
        total, length, moved, before, done, broken = 0.0, 0, 0.0, None, False, False
        info: dict[str, Any] = {}
        while not done and not broken:
            batch = torch.as_tensor(np.asarray(obs, np.float32), device=device)[None]
            action = policy(batch)[0].float().cpu().numpy()
            seen, reward, terminated, truncated, info = env.step(to_controls(action, space.low, space.high))
            obs = task.from_gymnasium(seen)
            moved, before = moved + float(np.linalg.norm(action - (action if before is None else before))), action
            total, length, done = total + float(reward), length + 1, terminated or truncated
            data = getattr(env.unwrapped, "data", None)  # Pendulum has none there
            broken = not (np.isfinite(obs).all() and math.isfinite(total)) or (data is not None and broke_down(data))
        diverged += broken
        if broken:
            continue
        returns.append(total)
        lengths.append(length)
        ends = {"action_change": moved / max(length - 1, 1)}
        if task.goals is not None:
            distance = float(np.linalg.norm(obs[task.goals.achieved] - obs[task.goals.desired]))
            ends = {"success": float(info["is_success"]), "distance": distance} | ends
        for name, value in ends.items():
            outcomes.setdefault(name, []).append(value)
    env.close()
    return EvalResult(returns, lengths, "gymnasium", diverged, outcomes)


def unlike_gymnasium(task: Task | GymnasiumEnv) -> str | None:
    """Why a score in Gymnasium would be of another task, or None: same id, keywords, model and observation."""
    if isinstance(task, GymnasiumEnv):
        return None
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


def _in_gymnasium(task: Task | GymnasiumEnv) -> gymnasium.Env:
    env_id = str(task.gymnasium_id)
    if env_id in FETCH:
        robotics.register()
    return gymnasium.make(env_id, **task.gymnasium_keywords)


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
    if isinstance(config.task, GymnasiumEnv) and backend not in ("auto", "gymnasium"):
        raise RunError(f"--backend {backend}: allowed: gymnasium for {config.env}")
    problem = unlike_gymnasium(config.task) if backend in ("auto", "gymnasium") else None
    if problem and backend == "gymnasium":
        raise RunError(f"--backend gymnasium: {problem}: allowed: native, jax")
    where = ("native" if problem else "gymnasium") if backend == "auto" else backend
    return evaluate(policy.act, config.task, where, episodes=episodes, seed=seed, device=torch.device(device))
