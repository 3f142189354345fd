"""Humanoid-v5: a three-dimensional two-legged robot runs along x (gymnasium/envs/mujoco/humanoid_v5.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from .task import Array, Namespace, Reset, Task, View


@dataclass(frozen=True)
class HumanoidObservation(Task):
    """The observation of Humanoid and HumanoidStandup, with the keywords that choose its parts."""

    fields: ClassVar = ("qpos", "qvel", "cinert", "cvel", "qfrc_actuator", "cfrc_ext")

    exclude_current_positions_from_observation: bool = True
    include_cinert_in_observation: bool = True
    include_cvel_in_observation: bool = True
    include_qfrc_actuator_in_observation: bool = True
    include_cfrc_ext_in_observation: bool = True

    def observation(self, xp: Namespace, view: View) -> Array:
        first = 2 if self.exclude_current_positions_from_observation else 0
        worlds = len(view.qpos)
        parts = [view.qpos[:, first:], view.qvel]
        if self.include_cinert_in_observation:  # body 0 is the world
            parts.append(view.cinert[:, 1:].reshape(worlds, -1))
        if self.include_cvel_in_observation:
            parts.append(view.cvel[:, 1:].reshape(worlds, -1))
        if self.include_qfrc_actuator_in_observation:  # the first six are the free root's
            parts.append(view.qfrc_actuator[:, 6:])
        if self.include_cfrc_ext_in_observation:
            parts.append(view.cfrc_ext[:, 1:].reshape(worlds, -1))
        return xp.concatenate(parts, axis=1)


@dataclass(frozen=True)
class Humanoid(HumanoidObservation):
    """Keywords and defaults are those of Gymnasium's HumanoidEnv."""

    fields: ClassVar = (*HumanoidObservation.fields, "xipos")
    gymnasium_id: ClassVar = "Humanoid-v5"
    max_contacts: ClassVar = 12  # C saw 11 at most, fallen, of 109 (frictionless) and 29 that could be

    xml_file: str = "humanoid.xml"
    frame_skip: int = 5
    forward_reward_weight: float = 1.25
    ctrl_cost_weight: float = 0.1
    contact_cost_weight: float = 5e-7
    contact_cost_range: tuple[float, float] = (-float("inf"), 10.0)
    healthy_reward: float = 5.0
    terminate_when_unhealthy: bool = True
    healthy_z_range: tuple[float, float] = (1.0, 2.0)
    reset_noise_scale: float = 1e-2

    def reward(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        x_velocity = (self._center_x(xp, after) - self._center_x(xp, before)) / self.dt
        contact_cost = self.contact_cost_weight * xp.square(after.cfrc_ext).sum(axis=(1, 2))
        return {
            "reward_survive": self.healthy_reward * self._healthy(after),
            "reward_forward": self.forward_reward_weight * x_velocity,
            "reward_ctrl": -self.ctrl_cost_weight * xp.square(action).sum(axis=1),
            "reward_contact": -xp.clip(contact_cost, *self.contact_cost_range),
        }

    def terminated(self, xp: Namespace, view: View) -> Array:
        return ~self._healthy(view) & self.terminate_when_unhealthy

    def reset(self, xp: Namespace, noise: Mapping[str, Array]) -> Reset:
        scale = self.reset_noise_scale
        return Reset(xp.asarray(self.init_qpos) + scale * noise["qpos"], scale * noise["qvel"])

    def _healthy(self, view: View) -> Array:
        low, high = self.healthy_z_range
        return (low < view.qpos[:, 2]) & (view.qpos[:, 2] < high)

    def _center_x(self, xp: Namespace, view: View) -> Array:
        """The x coordinate of the centre of mass, `(N,)`."""
        return view.xipos[:, :, 0] @ xp.asarray(self._mass_share)

    @cached_property
    def _mass_share(self) -> np.ndarray:
        return self.model.body_mass / self.model.body_mass.sum()
