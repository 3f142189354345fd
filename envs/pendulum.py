"""Pendulum-v1: a weak motor swings a pendulum up (gymnasium/envs/classic_control/pendulum.py); its own dynamics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from types import MappingProxyType
from typing import ClassVar

import mujoco

from .task import Array, Namespace, Reset, Task, View

# Says what there is (one angle, one torque and its range, the time step) and can be drawn; never simulated
_MODEL = """
<mujoco model="pendulum">
  <option timestep="0.05"/>
  <worldbody>
    <body>
      <joint name="hinge" type="hinge" axis="0 1 0"/>
      <geom type="capsule" fromto="0 0 0 0 0 1" size="0.1" mass="1"/>
    </body>
  </worldbody>
  <actuator>
    <motor joint="hinge" ctrlrange="-2 2"/>
  </actuator>
</mujoco>
"""
_MAX_SPEED, _MAX_TORQUE = 8.0, 2.0


@dataclass(frozen=True)
class Pendulum(Task):
    """The keyword and its default are those of Gymnasium's PendulumEnv; mass and length are 1."""

    gymnasium_id: ClassVar = "Pendulum-v1"
    xml_file: ClassVar = ""  # pyright: ignore[reportIncompatibleVariableOverride] (not keywords of this task)
    camera: ClassVar = MappingProxyType({"lookat": (0, 0, 0), "distance": 3.2, "elevation": 0})  # from the front
    frame_skip: ClassVar = 1  # pyright: ignore[reportIncompatibleVariableOverride]

    g: float = 10.0
    _: KW_ONLY
    max_episode_steps: int = 200

    def observation(self, xp: Namespace, view: View) -> Array:
        return xp.concatenate([xp.cos(view.qpos), xp.sin(view.qpos), view.qvel], axis=1)

    def reward(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        """Of the state before the step; Gymnasium does not name the terms."""
        angle, velocity = before.qpos[:, 0], before.qvel[:, 0]
        torque = xp.clip(action[:, 0], -_MAX_TORQUE, _MAX_TORQUE)
        return {
            "reward_angle": -xp.square((angle + xp.pi) % (2 * xp.pi) - xp.pi),
            "reward_velocity": -0.1 * xp.square(velocity),
            "reward_ctrl": -0.001 * xp.square(torque),
        }

    def reset(self, xp: Namespace, noise: Mapping[str, Array]) -> Reset:
        return Reset(xp.pi * noise["qpos"], noise["qvel"])

    def dynamics(self, xp: Namespace, qpos: Array, qvel: Array, ctrl: Array) -> tuple[Array, Array]:
        torque = xp.clip(ctrl, -_MAX_TORQUE, _MAX_TORQUE)
        qvel = qvel + (3 * self.g / 2 * xp.sin(qpos) + 3.0 * torque) * self.dt
        qvel = xp.clip(qvel, -_MAX_SPEED, _MAX_SPEED)
        return qpos + qvel * self.dt, qvel

    @cached_property
    def model(self) -> mujoco.MjModel:
        return mujoco.MjModel.from_xml_string(_MODEL)
