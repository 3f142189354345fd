"""A two-link arm in a few variants: small models that compile within seconds on every backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import mujoco

from mjxrl.envs.task import Task

MOTORS = """
  <motor name="shoulder" joint="a" ctrlrange="-2 0.5" gear="2"/>
  <position name="elbow" joint="b" ctrlrange="0.2 1.4" kp="10"/>"""


def arm(actuators: str = MOTORS, *, option: str = "", joint: str = "", world: str = "", more: str = "") -> Any:
    """The arm's model with these actuators, attributes of `option` and of the upper joint, and further elements."""
    return mujoco.MjModel.from_xml_string(f"""
      <mujoco>
        <option timestep="0.01" {option}/>
        <worldbody>
          {world}
          <body name="upper" pos="0 0 1">
            <joint name="a" type="hinge" axis="0 1 0" damping="0.1" {joint}/>
            <geom name="upper" type="capsule" fromto="0 0 0 0 0 -0.5" size="0.03"/>
            <body name="lower" pos="0 0 -0.5">
              <joint name="b" type="hinge" axis="0 1 0" damping="0.1"/>
              <geom name="lower" type="capsule" fromto="0 0 0 0 0 -0.4" size="0.03"/>
              <site name="tip" pos="0 0 -0.4"/>
            </body>
          </body>
        </worldbody>
        <actuator>{actuators}</actuator>
        {more}
      </mujoco>""")


@dataclass(frozen=True)
class Arm(Task):
    """Keep the upper link upright; twenty steps an episode, which start at rest and bent."""

    max_episode_steps: int = 20
    model: ClassVar = arm()  # type: ignore[assignment]
    frame_skip: int = 2

    def reward(self, xp, before, after, action):
        return {"upright": -xp.square(after.qpos[:, 0])}
