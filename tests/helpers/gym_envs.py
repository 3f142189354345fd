"""Gymnasium environments that tests register by importing this module: `tests.helpers.gym_envs:Counting-v0`."""

from __future__ import annotations

import multiprocessing
import os
import signal
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, Space
from gymnasium.spaces import Dict as DictSpace


class Counting(gymnasium.Env):
    """Observes (episode, step, the last action's two numbers); the reward is 10 x episode + step.

    Episode e lasts 2 + e % 3 steps, and ends by termination if e is even.
    """

    observation_space = Box(-np.inf, np.inf, (4,), np.float64)
    action_space = Box(np.array([0.0, -3.0]), np.array([2.0, 5.0]), dtype=np.float64)

    def __init__(self) -> None:
        self.episode, self.steps = -1, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.episode, self.steps = self.episode + 1, 0
        return self._obs(np.zeros(2)), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action), action
        self.steps += 1
        ended = self.steps == 2 + self.episode % 3
        even = self.episode % 2 == 0
        return self._obs(action), 10.0 * self.episode + self.steps, ended and even, ended and not even, {"info": 1}

    def _obs(self, action: np.ndarray) -> np.ndarray:
        return np.array([self.episode, self.steps, *action])


class Broken(Counting):
    """In the second of Gymnasium's processes it fails in its third step, as `how` says."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.calls = how, 0

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.calls += 1
        result = super().step(action)
        if self.calls < 3 or not multiprocessing.current_process().name.endswith("-1"):
            return result
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "raises":
            raise ZeroDivisionError("a bug of the environment")
        return result[0], float("nan"), *result[2:]


class Spaces(gymnasium.Env):
    """Has the spaces that it is given, and does nothing."""

    def __init__(self, observation: Space | None = None, action: Space | None = None) -> None:
        self.observation_space = observation or Counting.observation_space
        self.action_space = action or Counting.action_space


def _register(name: str, entry_point: Any, **keywords: Any) -> None:
    if name not in gymnasium.registry:
        gymnasium.register(name, entry_point, kwargs=keywords)


_register("Counting-v0", Counting)
for _how in ("killed", "raises", "nan"):
    _register(f"Broken-{_how}-v0", Broken, how=_how)
_register("Image-v0", Spaces, observation=Box(0, 255, (8, 8, 3), np.uint8))
_register("Dictionary-v0", Spaces, observation=DictSpace({"position": Box(-1, 1, (2,))}))
_register("Discrete-v0", Spaces, action=Discrete(4))
_register("Unbounded-v0", Spaces, action=Box(-np.inf, np.inf, (2,)))
