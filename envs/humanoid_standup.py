"""HumanoidStandup-v5: a humanoid lying on the ground gets up (gymnasium/envs/mujoco/humanoidstandup_v5.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .humanoid import HumanoidObservation
from .task import Array, Namespace, Reset, View


@dataclass(frozen=True)
class HumanoidStandup(HumanoidObservation):
    """Keywords and defaults are those of Gymnasium's HumanoidStandupEnv."""

    gymnasium_id: ClassVar = "HumanoidStandup-v5"
    max_contacts: ClassVar = 16  # from its own resets C saw 11 at most, of 109 (frictionless) and 29

    xml_file: str = "humanoidstandup.xml"
    frame_skip: int = 5
    uph_cost_weight: float = 1.0  # without effect, as in Gymnasium
    ctrl_cost_weight: float = 0.1
    impact_cost_weight: float = 0.5e-6
    impact_cost_range: tuple[float, float] = (-float("inf"), 10.0)
    reset_noise_scale: float = 1e-2

    def reward(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        height = after.qpos[:, 2]
        impact_cost = self.impact_cost_weight * xp.square(after.cfrc_ext).sum(axis=(1, 2))
        return {
            "reward_linup": height / self.model.opt.timestep,  # of one substep, not of `dt`
            "reward_quadctrl": -self.ctrl_cost_weight * xp.square(action).sum(axis=1),
            "reward_impact": -xp.clip(impact_cost, *self.impact_cost_range),
            "reward_survive": xp.ones_like(height),  # in Gymnasium's reward, but without a name there
        }

    def reset(self, xp: Namespace, noise: Mapping[str, Array]) -> Reset:
        scale = self.reset_noise_scale
        return Reset(xp.asarray(self.init_qpos) + scale * noise["qpos"], scale * noise["qvel"])
