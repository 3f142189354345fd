"""Reacher-v5: the tip of a planar two-link arm reaches a target (gymnasium/envs/mujoco/reacher_v5.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from .task import Array, Distribution, Namespace, Reset, Task, View


@dataclass(frozen=True)
class Reacher(Task):
    """Keywords and defaults are those of Gymnasium's ReacherEnv."""

    fields: ClassVar = ("qpos", "qvel", "xpos")
    gymnasium_id: ClassVar = "Reacher-v5"

    xml_file: str = "reacher.xml"
    frame_skip: int = 2
    reward_dist_weight: float = 1.0
    reward_control_weight: float = 1.0
    _: KW_ONLY
    max_episode_steps: int = 50

    def observation(self, xp: Namespace, view: View) -> Array:
        angles = view.qpos[:, :2]
        to_tip = self._from_target_to_tip(view)[:, :2]
        return xp.concatenate([xp.cos(angles), xp.sin(angles), view.qpos[:, 2:], view.qvel[:, :2], to_tip], axis=1)

    def reward(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        distance = xp.linalg.norm(self._from_target_to_tip(after), axis=1)
        return {
            "reward_dist": -self.reward_dist_weight * distance,
            "reward_ctrl": -self.reward_control_weight * xp.square(action).sum(axis=1),
        }

    def reset_noise(self) -> dict[str, tuple[Distribution, int]]:
        return {**super().reset_noise(), "target": ("uniform", 2)}

    def reset(self, xp: Namespace, noise: Mapping[str, Array]) -> Reset:
        arm = xp.asarray(self.init_qpos[:-2]) + 0.1 * noise["qpos"][:, :-2]
        # uniform on the disc, which Gymnasium draws by rejection: the area within a radius grows with its square
        radius, angle = 0.2 * xp.sqrt((noise["target"][:, 0] + 1) / 2), xp.pi * noise["target"][:, 1]
        target = xp.stack([radius * xp.cos(angle), radius * xp.sin(angle)], axis=1)
        arm_velocity = 0.005 * noise["qvel"][:, :-2]
        return Reset(
            xp.concatenate([arm, target], axis=1),
            xp.concatenate([arm_velocity, xp.zeros_like(target)], axis=1),
        )

    def _from_target_to_tip(self, view: View) -> Array:
        """Vector `(N, 3)`."""
        return view.xpos[:, self.model.body("fingertip").id] - view.xpos[:, self.model.body("target").id]
