"""Walker2d-v5: a planar two-legged robot walks along x (gymnasium/envs/mujoco/walker2d_v5.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .task import Array, Namespace, Reset, Task, View


@dataclass(frozen=True)
class Walker2d(Task):
    """Keywords and defaults are those of Gymnasium's Walker2dEnv."""

    gymnasium_id: ClassVar = "Walker2d-v5"

    xml_file: str = "walker2d_v5.xml"
    frame_skip: int = 4
    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 1e-3
    healthy_reward: float = 1.0
    terminate_when_unhealthy: bool = True
    healthy_z_range: tuple[float, float] = (0.8, 2.0)
    healthy_angle_range: tuple[float, float] = (-1.0, 1.0)
    reset_noise_scale: float = 5e-3
    exclude_current_positions_from_observation: bool = True

    def observation(self, xp: Namespace, view: View) -> Array:
        first = 1 if self.exclude_current_positions_from_observation else 0
        return xp.concatenate([view.qpos[:, first:], xp.clip(view.qvel, -10, 10)], axis=1)

    def reward(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        x_velocity = (after.qpos[:, 0] - before.qpos[:, 0]) / self.dt
        return {
            "reward_forward": self.forward_reward_weight * x_velocity,
            "reward_ctrl": -self.ctrl_cost_weight * xp.square(action).sum(axis=1),
            "reward_survive": self.healthy_reward * self._healthy(after),
        }

    def terminated(self, xp: Namespace, view: View) -> Array:
        return ~self._healthy(view) & self.terminate_when_unhealthy

    def reset(self, xp: Namespace, noise: Mapping[str, Array]) -> Reset:
        scale = self.reset_noise_scale
        return Reset(xp.asarray(self.init_qpos) + scale * noise["qpos"], scale * noise["qvel"])

    def _healthy(self, view: View) -> Array:
        (min_z, max_z), (min_angle, max_angle) = self.healthy_z_range, self.healthy_angle_range
        z, angle = view.qpos[:, 1], view.qpos[:, 2]
        return (min_z < z) & (z < max_z) & (min_angle < angle) & (angle < max_angle)
