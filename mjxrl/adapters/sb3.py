"""Our worlds for Stable-Baselines3: `mjxrl.sb3.make_vec_env("Ant-v5", 64)` gives its PPO what it trains on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from mjxrl.envs.task import Task
from mjxrl.worlds.vector_env import make_vec
from mjxrl.worlds.worlds import Worlds


def make_vec_env(env_id: str | type[Task], num_envs: int = 64, **keywords: Any) -> VecMonitor:
    """Worlds as `mjxrl.make_vec` makes them, of which Stable-Baselines3 sees the returns and lengths of episodes.

    Actions are in [-1, 1], as policies are best at, and not in control units.

    Args:
        keywords: as `make_vec` takes them: backend, device, seed, physics, and the task's own.

    Raises what `make_vec` raises.
    """
    return VecMonitor(WorldsVecEnv(make_vec(env_id, num_envs, **keywords)))


class WorldsVecEnv(VecEnv):
    """Any worlds as a `VecEnv`: NumPy arrays in and out, and an info for each world.

    Where an episode ends, `terminal_observation` (O,) is the true last one, `TimeLimit.truncated` says that the episode
    was cut short, so that one may bootstrap from there, `diverged` that the simulation broke down and its numbers are
    zeros, and `is_success` is there for tasks that have a success.
    """

    def __init__(self, worlds: Worlds) -> None:
        self.worlds = worlds
        observations = Box(-np.inf, np.inf, (worlds.obs_size,), np.float32)
        super().__init__(worlds.num_envs, observations, Box(-1.0, 1.0, (worlds.action_size,), np.float32))

    def reset(self) -> np.ndarray:
        """Begin new episodes; after `seed` all random numbers start over, from the first of the seeds."""
        obs = self.worlds.reset(self._seeds[0])
        self._reset_seeds()
        return obs.cpu().numpy()

    def step_async(self, actions: np.ndarray) -> None:
        self.worlds.dispatch(torch.as_tensor(actions, dtype=torch.float32, device=self.worlds.device))

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        result = self.worlds.collect()
        flags = result.done, result.truncated & ~result.terminated, result.valid
        done, cut, valid = (flag.cpu().numpy() for flag in flags)
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        final_obs, success = result.final_obs.cpu().numpy(), result.outcome.get("success")
        for i in np.flatnonzero(done):
            infos[i] |= {"terminal_observation": final_obs[i], "TimeLimit.truncated": bool(cut[i])}
            infos[i] |= {"diverged": not valid[i]}
            if success is not None:
                infos[i]["is_success"] = bool(success[i])
        return result.obs.cpu().numpy(), result.reward.cpu().numpy(), done, infos

    def close(self) -> None:
        self.worlds.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Of the worlds, which share everything."""
        value = None if attr_name == "render_mode" else getattr(self.worlds, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(f"worlds step as one: none has a {attr_name!r} to set")

    def env_method(self, method_name: str, *_: Any, indices: Any = None, **__: Any) -> list[Any]:
        raise AttributeError(f"worlds step as one: none has a method {method_name!r}")

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]
