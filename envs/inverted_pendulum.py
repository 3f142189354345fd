"""InvertedPendulum-v5: a cart balances a pole (gymnasium/envs/mujoco/inverted_pendulum_v5.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .task import Array, Namespace, Reset, Task, View


@dataclass(frozen=True)
class InvertedPendulum(Task):
    """Keywords and defaults are those of Gymnasium's InvertedPendulumEnv; the observation is qpos and qvel."""

    gymnasium_id: ClassVar = "InvertedPendulum-v5"

    xml_file: str = "inverted_pendulum.xml"
    frame_skip: int = 2
    reset_noise_scale: float = 0.01

    def reward(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        return {"reward_survive": 1.0 * ~self.terminated(xp, after)}

    def terminated(self, xp: Namespace, view: View) -> Array:
        finite = xp.isfinite(self.observation(xp, view)).all(axis=1)
        return ~finite | (xp.abs(view.qpos[:, 1]) > 0.2)

    def reset(self, xp: Namespace, noise: Mapping[str, Array]) -> Reset:
        scale = self.reset_noise_scale
        return Reset(xp.asarray(self.init_qpos) + scale * noise["qpos"], scale * noise["qvel"])
