"""HalfCheetah-v5: a planar two-legged robot runs along x (gymnasium/envs/mujoco/half_cheetah_v5.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .task import Array, Distribution, Namespace, Reset, Task, View


@dataclass(frozen=True)
class HalfCheetah(Task):
    """Keywords and defaults are those of Gymnasium's HalfCheetahEnv."""

    gymnasium_id: ClassVar = "HalfCheetah-v5"

    xml_file: str = "half_cheetah.xml"
    frame_skip: int = 5
    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 0.1
    reset_noise_scale: float = 0.1
    exclude_current_positions_from_observation: bool = True

    def observation(self, xp: Namespace, view: View) -> Array:
        first = 1 if self.exclude_current_positions_from_observation else 0
        return xp.concatenate([view.qpos[:, first:], view.qvel], axis=1)

    def reward(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        x_velocity = (after.qpos[:, 0] - before.qpos[:, 0]) / self.dt
        return {
            "reward_forward": self.forward_reward_weight * x_velocity,
            "reward_ctrl": -self.ctrl_cost_weight * xp.square(action).sum(axis=1),
        }

    def reset_noise(self) -> dict[str, tuple[Distribution, int]]:
        return {"qpos": ("uniform", self.model.nq), "qvel": ("normal", self.model.nv)}

    def reset(self, xp: Namespace, noise: Mapping[str, Array]) -> Reset:
        scale = self.reset_noise_scale
        return Reset(xp.asarray(self.init_qpos) + scale * noise["qpos"], scale * noise["qvel"])
