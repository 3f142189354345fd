"""Pusher-v5: an arm with seven joints pushes a cylinder to a goal (gymnasium/envs/mujoco/pusher_v5.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from .task import Array, Distribution, Namespace, Reset, Task, View

_CANDIDATES = 32  # each is accepted with probability .62: none of them once in 3e13 resets


@dataclass(frozen=True)
class Pusher(Task):
    """Keywords and defaults are those of Gymnasium's PusherEnv."""

    fields: ClassVar = ("qpos", "qvel", "xpos")
    gymnasium_id: ClassVar = "Pusher-v5"

    xml_file: str = "pusher_v5.xml"
    frame_skip: int = 5
    reward_near_weight: float = 0.5
    reward_dist_weight: float = 1.0
    reward_control_weight: float = 0.1
    _: KW_ONLY
    max_episode_steps: int = 100

    def observation(self, xp: Namespace, view: View) -> Array:
        bodies = [self._body(view, name) for name in ("tips_arm", "object", "goal")]
        return xp.concatenate([view.qpos[:, :7], view.qvel[:, :7], *bodies], axis=1)

    def reward(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        tip, cylinder, goal = (self._body(after, name) for name in ("tips_arm", "object", "goal"))
        return {
            "reward_dist": -self.reward_dist_weight * xp.linalg.norm(cylinder - goal, axis=1),
            "reward_ctrl": -self.reward_control_weight * xp.square(action).sum(axis=1),
            "reward_near": -self.reward_near_weight * xp.linalg.norm(cylinder - tip, axis=1),
        }

    def reset_noise(self) -> dict[str, tuple[Distribution, int]]:
        return {"cylinder": ("uniform", 2 * _CANDIDATES), "qvel": ("uniform", self.model.nv)}

    def reset(self, xp: Namespace, noise: Mapping[str, Array]) -> Reset:
        worlds = len(noise["qvel"])
        arm = xp.tile(xp.asarray(self.init_qpos[:-4]), (worlds, 1))
        # the cylinder's slides are uniform on [-.3, 0) x [-.2, .2) but farther than .17 from the goal, at (0, 0)
        drawn = noise["cylinder"].reshape(worlds, _CANDIDATES, 2)
        candidates = xp.stack([0.15 * (drawn[..., 0] - 1), 0.2 * drawn[..., 1]], axis=-1)
        first_far = xp.argmax(xp.linalg.norm(candidates, axis=-1) > 0.17, axis=1)
        cylinder = xp.take_along_axis(candidates, first_far[:, None, None], axis=1)[:, 0]
        arm_velocity = 0.005 * noise["qvel"][:, :-4]
        return Reset(
            xp.concatenate([arm, cylinder, xp.zeros((worlds, 2))], axis=1),
            xp.concatenate([arm_velocity, xp.zeros((worlds, 4))], axis=1),
        )

    def _body(self, view: View, name: str) -> Array:
        """Position `(N, 3)` of a body."""
        return view.xpos[:, self.model.body(name).id]
