"""Swimmer-v5: a planar chain of three links swims along x (gymnasium/envs/mujoco/swimmer_v5.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .task import Array, Namespace, Reset, Task, View


@dataclass(frozen=True)
class Swimmer(Task):
    """Keywords and defaults are those of Gymnasium's SwimmerEnv."""

    gymnasium_id: ClassVar = "Swimmer-v5"

    xml_file: str = "swimmer.xml"
    frame_skip: int = 4
    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 1e-4
    reset_noise_scale: float = 0.1
    exclude_current_positions_from_observation: bool = True

    def observation(self, xp: Namespace, view: View) -> Array:
        first = 2 if self.exclude_current_positions_from_observation else 0
        return xp.concatenate([view.qpos[:, first:], view.qvel], axis=1)

    def reward(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        x_velocity = (after.qpos[:, 0] - before.qpos[:, 0]) / self.dt
        return {
            "reward_forward": self.forward_reward_weight * x_velocity,
            "reward_ctrl": -self.ctrl_cost_weight * xp.square(action).sum(axis=1),
        }

    def reset(self, xp: Namespace, noise: Mapping[str, Array]) -> Reset:
        scale = self.reset_noise_scale
        return Reset(xp.asarray(self.init_qpos) + scale * noise["qpos"], scale * noise["qvel"])
