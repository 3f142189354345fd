"""Ant-v5: a four-legged robot runs along x (gymnasium/envs/mujoco/ant_v5.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from .task import Array, Distribution, Namespace, Reset, Task, View


@dataclass(frozen=True)
class Ant(Task):
    """Keywords and defaults are those of Gymnasium's AntEnv."""

    fields: ClassVar = ("qpos", "qvel", "xpos", "cfrc_ext")
    gymnasium_id: ClassVar = "Ant-v5"
    max_contacts: ClassVar = 8  # C saw 6 at most, thrown down at any angle, of 25 that could be

    xml_file: str = "ant.xml"
    frame_skip: int = 5
    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 0.5
    contact_cost_weight: float = 5e-4
    healthy_reward: float = 1.0
    main_body: int | str = 1
    terminate_when_unhealthy: bool = True
    healthy_z_range: tuple[float, float] = (0.2, 1.0)
    contact_force_range: tuple[float, float] = (-1.0, 1.0)
    reset_noise_scale: float = 0.1
    exclude_current_positions_from_observation: bool = True
    include_cfrc_ext_in_observation: bool = True

    def observation(self, xp: Namespace, view: View) -> Array:
        first = 2 if self.exclude_current_positions_from_observation else 0
        parts = [view.qpos[:, first:], view.qvel]
        if self.include_cfrc_ext_in_observation:
            parts.append(self._contact_forces(xp, view)[:, 1:].reshape(len(view.qpos), -1))
        return xp.concatenate(parts, axis=1)

    def reward(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        x_velocity = (after.xpos[:, self._body, 0] - before.xpos[:, self._body, 0]) / self.dt
        contact_forces = self._contact_forces(xp, after)
        return {
            "reward_forward": self.forward_reward_weight * x_velocity,
            "reward_ctrl": -self.ctrl_cost_weight * xp.square(action).sum(axis=1),
            "reward_contact": -self.contact_cost_weight * xp.square(contact_forces).sum(axis=(1, 2)),
            "reward_survive": self.healthy_reward * self._healthy(xp, after),
        }

    def terminated(self, xp: Namespace, view: View) -> Array:
        return ~self._healthy(xp, view) & self.terminate_when_unhealthy

    def reset_noise(self) -> dict[str, tuple[Distribution, int]]:
        return {"qpos": ("uniform", self.model.nq), "qvel": ("normal", self.model.nv)}

    def reset(self, xp: Namespace, noise: Mapping[str, Array]) -> Reset:
        scale = self.reset_noise_scale
        return Reset(xp.asarray(self.init_qpos) + scale * noise["qpos"], scale * noise["qvel"])

    def _healthy(self, xp: Namespace, view: View) -> Array:
        low, high = self.healthy_z_range
        z = view.qpos[:, 2]
        finite = xp.isfinite(view.qpos).all(axis=1) & xp.isfinite(view.qvel).all(axis=1)
        return finite & (low <= z) & (z <= high)

    def _contact_forces(self, xp: Namespace, view: View) -> Array:
        return xp.clip(view.cfrc_ext, *self.contact_force_range)

    @cached_property
    def _body(self) -> int:
        return self.model.body(self.main_body).id
