"""InvertedDoublePendulum-v5: a cart balances a pole upon a pole (…/mujoco/inverted_double_pendulum_v5.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .task import Array, Distribution, Namespace, Reset, Task, View


@dataclass(frozen=True)
class InvertedDoublePendulum(Task):
    """Keywords and defaults are those of Gymnasium's InvertedDoublePendulumEnv."""

    fields: ClassVar = ("qpos", "qvel", "site_xpos", "qfrc_constraint")
    gymnasium_id: ClassVar = "InvertedDoublePendulum-v5"

    xml_file: str = "inverted_double_pendulum.xml"
    frame_skip: int = 5
    healthy_reward: float = 10.0
    reset_noise_scale: float = 0.1

    def observation(self, xp: Namespace, view: View) -> Array:
        cart, angles = view.qpos[:, :1], view.qpos[:, 1:]
        velocity, cart_force = xp.clip(view.qvel, -10, 10), xp.clip(view.qfrc_constraint[:, :1], -10, 10)
        return xp.concatenate([cart, xp.sin(angles), xp.cos(angles), velocity, cart_force], axis=1)

    def reward(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        x, height = after.site_xpos[:, 0, 0], after.site_xpos[:, 0, 2]
        lower, upper = after.qvel[:, 1], after.qvel[:, 2]
        return {
            "reward_survive": self.healthy_reward * ~self.terminated(xp, after),
            "distance_penalty": -(0.01 * x**2 + (height - 2) ** 2),
            "velocity_penalty": -(1e-3 * lower**2 + 5e-3 * upper**2),
        }

    def terminated(self, xp: Namespace, view: View) -> Array:
        return view.site_xpos[:, 0, 2] <= 1

    def reset_noise(self) -> dict[str, tuple[Distribution, int]]:
        return {"qpos": ("uniform", self.model.nq), "qvel": ("normal", self.model.nv)}

    def reset(self, xp: Namespace, noise: Mapping[str, Array]) -> Reset:
        scale = self.reset_noise_scale
        return Reset(xp.asarray(self.init_qpos) + scale * noise["qpos"], scale * noise["qvel"])
