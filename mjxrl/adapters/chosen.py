"""What `--env` named, as worlds: a task of ours or of the user's own, or an environment that Gymnasium steps."""

from __future__ import annotations

import numpy as np
import torch

from mjxrl.config import PhysicsConfig
from mjxrl.envs.gymnasium_env import GymnasiumEnv
from mjxrl.envs.task import Task
from mjxrl.physics import control_range
from mjxrl.worlds.shapes import observation_size
from mjxrl.worlds.vector_env import VectorEnv
from mjxrl.worlds.worlds import Worlds


def sizes(task: Task | GymnasiumEnv) -> tuple[int, np.ndarray, np.ndarray]:
    """Length O of an observation, and the lowest and highest control, (A,) each.

    Raises:
        TaskError: the task, or its observations and actions, cannot be used.
    """
    if not isinstance(task, GymnasiumEnv):
        return observation_size(task), *control_range(task)
    from mjxrl.adapters import gymnasium

    return gymnasium.sizes(task.gymnasium_id)


def worlds_of(
    task: Task | GymnasiumEnv,
    num_envs: int,
    *,
    backend: str,
    device: torch.device,
    seed: int = 0,
    stagger: bool = False,
    physics: PhysicsConfig | None = None,
) -> Worlds:
    """Worlds of a task, with the arguments of `VectorEnv`, or environments of Gymnasium's, which has no use for most.

    Raises:
        TaskError: as `sizes`.
        ValueError: the task cannot be simulated on this backend.
    """
    if not isinstance(task, GymnasiumEnv):
        return VectorEnv(task, num_envs, backend=backend, device=device, seed=seed, stagger=stagger, physics=physics)
    from mjxrl.adapters import gymnasium

    return gymnasium.make(task.gymnasium_id, num_envs, vector=task.vector, device=device, seed=seed, stagger=stagger)
