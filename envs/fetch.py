"""The Fetch arm, which reaches, pushes, slides and picks up: FetchReach-v4 and its kin, as gymnasium-robotics has them.

The arm is driven by a mocap body to which its gripper is welded: an action, (4,), moves it by at most 5 cm along each
axis, and the last number opens the gripper where it may be opened. Source: gymnasium_robotics/envs/fetch/fetch_env.py
and robot_env.py, version 1.4.2; the models are those of the installed package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import mujoco
import numpy as np

from mjxrl.errors import TaskError

from .kinematics import cross, euler, moves, norm, rows
from .task import Array, Controls, Goals, Namespace, Reset, Target, Task, View

CANDIDATES = 64  # places drawn for an object at once; in Slide 79 % lie too near the gripper, all in 2e-7 of resets
NEAREST = 0.1  # metres between gripper and object at the start
DOWNWARDS = np.array([1.0, 0.0, 1.0, 0.0])  # the gripper's orientation, a quaternion that MuJoCo normalises


class _Start(NamedTuple):
    """Where every episode begins, but for the object."""

    qpos: np.ndarray
    qvel: np.ndarray
    gripper: np.ndarray
    """(3,) metres, its site"""
    object_height: float


@dataclass(frozen=True)
class Fetch(Task):
    """What the four tasks share; rewards are -1 or 0 (sparse), or minus the distance in metres (dense)."""

    fields: ClassVar = ("qpos", "qvel", "xpos", "xquat", "site_xpos", "site_xmat", "subtree_com", "cdof")
    refused_by: ClassVar = MappingProxyType(
        {"jax": "MJX lacks margins of meshes, and the J̇v of welds, without which the arm is 0.4 mm off in a step"}
    )
    goals: ClassVar[Goals] = Goals(slice(3, 6), slice(25, 28), threshold=0.05)
    camera: ClassVar = MappingProxyType(
        {"lookat": (1.3, 0.75, 0.55), "distance": 2.0, "azimuth": 132, "elevation": -14}
    )

    has_object: ClassVar[bool] = True
    opens: ClassVar[bool] = False
    in_the_air: ClassVar[bool] = False
    slide: ClassVar[float] = 0.405
    raised: ClassVar[float] = 0.0
    object_at: ClassVar[tuple[float, float, float]] = (1.25, 0.53, 0.4)
    object_range: ClassVar[float] = 0.15
    target_range: ClassVar[float] = 0.15
    target_offset: ClassVar[float] = 0.0

    frame_skip: int = 20
    max_episode_steps: int = 50
    reward_type: Literal["sparse", "dense"] = "sparse"

    def observation(self, xp: Namespace, view: View) -> Array:
        grip, n = self._site("robot0:grip"), view.qpos.shape[0]
        velocity = self._velocity(xp, view, grip)[0]
        fingers = view.qpos[:, xp.asarray(self._finger_qpos)]
        speeds = view.qvel[:, xp.asarray(self._finger_dofs)] * self.dt
        if not self.has_object:
            parts = [view.site_xpos[:, grip], fingers, velocity, speeds]
        else:
            box = self._site("object0")
            linear, angular = self._velocity(xp, view, box)
            place = view.site_xpos[:, box]
            turned = euler(xp, view.site_xmat[:, box].reshape(n, 3, 3))
            between = place - view.site_xpos[:, grip]
            moving = [linear - velocity, angular, velocity, speeds]
            parts = [view.site_xpos[:, grip], place, between, fingers, turned, *moving]
        return xp.concatenate([*parts, view.carry["goal"]], axis=1)

    def reward(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        return {"goal": self.goal_reward(xp, self._achieved(after), after.carry["goal"])}

    def goal_reward(self, xp: Namespace, achieved: Array, desired: Array) -> Array:
        distance = norm(xp, achieved - desired)
        return -distance if self.reward_type == "dense" else xp.where(distance > self.goals.threshold, -1.0, 0.0)

    def outcome(self, xp: Namespace, view: View) -> dict[str, Array]:
        distance = norm(xp, self._achieved(view) - view.carry["goal"])
        return {"success": xp.where(distance < self.goals.threshold, 1.0, 0.0), "distance": distance}

    def target(self, xp: Namespace, view: View) -> Target:
        goal = view.carry["goal"]
        return Target(goal, norm(xp, self._achieved(view) - goal), self.goals.threshold)

    def controls(self, xp: Namespace, view: View, action: Array) -> Controls:
        action = xp.clip(action, -1.0, 1.0)
        place = view.xpos[:, self._gripper] + action[:, :3] * 0.05
        turned = view.xquat[:, self._gripper] + xp.asarray(DOWNWARDS)
        ctrl = view.qpos[:, xp.asarray(self._actuated)] + action[:, 3:]  # no column where nothing is actuated
        return Controls(ctrl, place[:, None], turned[:, None])

    def settled(self, xp: Namespace, view: View) -> Array | None:
        if self.opens:
            return None
        free = np.ones(self.model.nq)
        free[self._finger_qpos] = 0
        return view.qpos * xp.asarray(free)

    def reset_noise(self) -> dict[str, Any]:
        noise: dict[str, Any] = {"goal": ("uniform", 3), "lift": ("uniform", 2)}
        return noise | ({"object": ("uniform", 2 * CANDIDATES)} if self.has_object else {})

    def reset(self, xp: Namespace, noise: Mapping[str, Array]) -> Reset:
        start, n = self._start, noise["goal"].shape[0]
        goal = xp.asarray(start.gripper) + self.target_range * noise["goal"]
        qpos = xp.tile(xp.asarray(start.qpos), (n, 1))
        if self.has_object:
            # a draw from [0, 1) beside the goal's: half of the goals are in the air
            lift = (noise["lift"] + 1) / 2
            height = start.object_height + xp.where(lift[:, 0] < 0.5 * self.in_the_air, 0.45 * lift[:, 1], 0.0)
            goal = xp.concatenate([goal[:, :1] + self.target_offset, goal[:, 1:2], height[:, None]], axis=1)
            places = self.object_range * noise["object"].reshape(n, CANDIDATES, 2)
            first = xp.argmax(norm(xp, places) >= NEAREST, axis=1)
            place = xp.asarray(start.gripper[:2]) + places[xp.arange(n), first]
            box = int(self.model.joint("object0:joint").qposadr[0])
            qpos = xp.concatenate([qpos[:, :box], place, qpos[:, box + 2 :]], axis=1)
        return Reset(qpos, xp.tile(xp.asarray(start.qvel), (n, 1)), {"goal": goal})

    @property
    def sparse(self) -> bool:
        return self.reward_type == "sparse"

    @property
    def action_range(self) -> tuple[np.ndarray, np.ndarray]:
        return -np.ones(4), np.ones(4)

    @property
    def gymnasium_keywords(self) -> dict[str, Any]:
        # all others are fixed there: one that was changed is given too, and refused
        return {"reward_type": self.reward_type, "max_episode_steps": self.max_episode_steps, **self.changed_keywords}

    def from_gymnasium(self, obs: Any) -> np.ndarray:
        return np.concatenate([obs["observation"], obs["desired_goal"]])

    @cached_property
    def model(self) -> mujoco.MjModel:
        """The model of gymnasium-robotics, its welds without an offset (utils/mujoco_utils.py: reset_mocap_welds)."""
        model = super().model
        model.eq_data[model.eq_type == mujoco.mjtEq.mjEQ_WELD, :7] = [0, 0, 0, 0, 0, 0, 1]
        return model

    @property
    def xml_path(self) -> Path:
        path = Path(self.xml_file)
        return path if path.is_absolute() else _assets() / path

    @cached_property
    def _start(self) -> _Start:
        """The arm over the table, after ten steps of being pulled there (fetch_env.py: _env_setup)."""
        model = self.model
        data = mujoco.MjData(model)
        for name, value in (("slide0", self.slide), ("slide1", 0.48), ("slide2", 0.0)):
            data.joint(f"robot0:{name}").qpos = value
        if self.has_object:
            data.joint("object0:joint").qpos = [*self.object_at, 1, 0, 0, 0]
        mujoco.mj_forward(model, data)
        data.mocap_pos[0] = np.array([-0.498, 0.005, -0.431 + self.raised]) + data.site("robot0:grip").xpos
        data.mocap_quat[0] = DOWNWARDS
        for _ in range(10):
            mujoco.mj_step(model, data, nstep=self.frame_skip)
        height = float(data.site("object0").xpos[2]) if self.has_object else 0.0
        return _Start(data.qpos.copy(), data.qvel.copy(), data.site("robot0:grip").xpos.copy(), height)

    def _achieved(self, view: View) -> Array:
        return view.site_xpos[:, self._site("object0" if self.has_object else "robot0:grip")]

    def _site(self, name: str) -> int:
        return int(self.model.site(name).id)

    @cached_property
    def _gripper(self) -> int:
        return int(self.model.body("robot0:gripper_link").id)

    @cached_property
    def _finger_qpos(self) -> list[int]:
        return [int(self.model.joint(f"robot0:{side}_gripper_finger_joint").qposadr[0]) for side in ("r", "l")]

    @cached_property
    def _finger_dofs(self) -> list[int]:
        return [int(self.model.joint(f"robot0:{side}_gripper_finger_joint").dofadr[0]) for side in ("r", "l")]

    @cached_property
    def _actuated(self) -> np.ndarray:
        return self.model.jnt_qposadr[self.model.actuator_trnid[:, 0]]

    def _velocity(self, xp: Namespace, view: View, site: int) -> tuple[Array, Array]:
        """Linear and angular velocity of a site, (N, 3) each, in metres and radians per step (mj_jacSite)."""
        model, n = self.model, view.qpos.shape[0]
        body = int(model.site_bodyid[site])
        offset = (view.site_xpos[:, site] - view.subtree_com[:, int(model.body_rootid[body])])[:, None]
        cdof = view.cdof.reshape(n, model.nv, 6) * xp.asarray(moves(model, body))[:, None]
        turn, qvel = cdof[..., :3], view.qvel[:, :, None]
        jacobians = cdof[..., 3:] + cross(xp, turn, offset), turn
        linear, angular = ((rows(xp, jacobian) @ qvel)[..., 0] * self.dt for jacobian in jacobians)
        return linear, angular


@dataclass(frozen=True)
class FetchReach(Fetch):
    """The gripper goes to a point."""

    gymnasium_id: ClassVar = "FetchReach-v4"
    goals: ClassVar[Goals] = Goals(slice(0, 3), slice(10, 13), threshold=0.05)
    has_object: ClassVar = False
    slide: ClassVar = 0.4049
    raised: ClassVar = 0.2
    xml_file: str = "fetch/reach.xml"


@dataclass(frozen=True)
class FetchPush(Fetch):
    """The closed gripper pushes a box to a point on the table."""

    gymnasium_id: ClassVar = "FetchPush-v4"
    xml_file: str = "fetch/push.xml"


@dataclass(frozen=True)
class FetchSlide(Fetch):
    """The closed gripper hits a puck so that it slides to a point out of reach."""

    gymnasium_id: ClassVar = "FetchSlide-v4"
    slide: ClassVar = 0.05
    raised: ClassVar = -0.02
    object_at: ClassVar = (1.7, 1.1, 0.41)
    object_range: ClassVar = 0.1
    target_range: ClassVar = 0.3
    target_offset: ClassVar = 0.4
    xml_file: str = "fetch/slide.xml"


@dataclass(frozen=True)
class FetchPickAndPlace(Fetch):
    """The gripper takes a box to a point, half of the time in the air."""

    gymnasium_id: ClassVar = "FetchPickAndPlace-v4"
    opens: ClassVar = True
    in_the_air: ClassVar = True
    raised: ClassVar = 0.2
    xml_file: str = "fetch/pick_and_place.xml"


@dataclass(frozen=True)
class FetchReachDense(FetchReach):
    gymnasium_id: ClassVar = "FetchReachDense-v4"
    reward_type: Literal["sparse", "dense"] = "dense"


@dataclass(frozen=True)
class FetchPushDense(FetchPush):
    gymnasium_id: ClassVar = "FetchPushDense-v4"
    reward_type: Literal["sparse", "dense"] = "dense"


@dataclass(frozen=True)
class FetchSlideDense(FetchSlide):
    gymnasium_id: ClassVar = "FetchSlideDense-v4"
    reward_type: Literal["sparse", "dense"] = "dense"


@dataclass(frozen=True)
class FetchPickAndPlaceDense(FetchPickAndPlace):
    gymnasium_id: ClassVar = "FetchPickAndPlaceDense-v4"
    reward_type: Literal["sparse", "dense"] = "dense"


def _assets() -> Path:
    spec = find_spec("gymnasium_robotics")
    if spec is None or spec.origin is None:
        raise TaskError("the Fetch tasks need gymnasium-robotics: pip install 'mjxrl[robotics]'")
    return Path(spec.origin).parent / "envs" / "assets"
