"""Worlds that are watched: what a film needs of each step is kept while an evaluation plays in them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from mjxrl.envs.task import Target
from mjxrl.worlds.pictures import Drawable, Pose
from mjxrl.worlds.worlds import StepResult, Worlds


class Shot(NamedTuple):
    """One step in one world: where it was taken from, and what it brought."""

    arrays: dict[str, np.ndarray]
    """The world's pose by MjData's names: qpos (nq,) and the like."""
    target: Target | None
    """Its position (3,) and distance, a number."""
    step: int
    """Of the episode, counted from 1."""
    total: float
    """Undiscounted return up to and with this step."""


class Tape(Worlds):
    """Worlds which pass everything on to others and keep the first episode in each of the first `keep` of those.

    The state that an episode ends in is not kept: the world has begun another episode by then.

    Attributes:
        task: of the worlds.
        episodes: a shot of each step, by world.
    """

    def __init__(self, worlds: Worlds, keep: int | None = None) -> None:
        """Watch `worlds`; without `keep`, all of them.

        Raises:
            TypeError: they cannot be drawn.
        """
        if not isinstance(worlds, Drawable):
            raise TypeError(f"{type(worlds).__name__} gives no `pose` that a film could show")
        self.task, self._worlds, self._keep = worlds.task, worlds, worlds.num_envs if keep is None else keep
        self.num_envs, self.obs_size, self.action_size = worlds.num_envs, worlds.obs_size, worlds.action_size
        self.device, self.max_episode_steps = worlds.device, worlds.max_episode_steps
        self.episodes: list[list[Shot]] = []

    def reset(self, seed: int | None = None) -> Tensor:
        """Begin anew, with nothing kept."""
        self.episodes = [[] for _ in range(self._keep)]
        self._over = [False] * self._keep
        return self._worlds.reset(seed)

    def dispatch(self, action: Tensor) -> None:
        self._pose: Pose = self._worlds.pose()
        self._worlds.dispatch(action)

    def collect(self) -> StepResult:
        return self._noted(self._worlds.collect())

    def step(self, action: Tensor) -> StepResult:
        self._pose = self._worlds.pose()
        return self._noted(self._worlds.step(action))

    def close(self) -> None:
        self._worlds.close()

    def _noted(self, result: StepResult) -> StepResult:
        arrays, target = self._pose
        ended = result.done[: self._keep].tolist()
        for world, reward in enumerate(result.reward[: self._keep].tolist()):
            if self._over[world]:
                continue
            shots = self.episodes[world]
            total = (shots[-1].total if shots else 0.0) + reward
            here = {name: array[world] for name, array in arrays.items()}
            aim = target and target._replace(position=target.position[world], distance=target.distance[world])
            shots.append(Shot(here, aim, len(shots) + 1, total))
            self._over[world] = ended[world]
        return result
