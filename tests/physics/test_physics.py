"""What every backend must do alike: fields that follow the step, mocap bodies, time, controls and their ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import mujoco
import numpy as np
import pytest
import torch

from mjxrl.envs.pendulum import Pendulum
from mjxrl.envs.task import Controls, Reset
from mjxrl.errors import TaskError, UnavailableError
from mjxrl.physics import control_range, make_physics
from mjxrl.worlds.vector_env import VectorEnv
from tests.conftest import need_warp
from tests.helpers.arms import MOTORS, Arm, arm

TWO = '<pid name="servo" joint="a" kp="20" kv="1" {}/><position name="plain" joint="b" kp="5" ctrlrange="-.5 .5"/>'


@dataclass(frozen=True)
class Goal(Arm):
    """A mocap body marks where the tip should be, anew in each episode; another one stays as the MJCF has it."""

    fields: ClassVar = ("qpos", "qvel", "time", "mocap_pos", "mocap_quat", "xpos", "xmat", "cfrc_int", "cacc")
    max_episode_steps: int = 3
    model: ClassVar = arm(
        world='<body name="goal" mocap="true" pos="1 2 3"><geom size=".02" contype="0" conaffinity="0"/></body>'
        '<body name="other" mocap="true" pos="4 5 6" quat="0 1 0 0"/>'
    )  # type: ignore[assignment]

    def observation(self, xp, view):
        goal = view.mocap_pos[:, 0]
        return xp.concatenate([view.time[:, None], goal, view.xpos[:, 1], view.mocap_quat[:, 1]], axis=1)

    def reset_noise(self):
        return {**super().reset_noise(), "goal": ("uniform", 3)}

    def reset(self, xp, noise):
        other = xp.tile(xp.asarray([[[4.0, 5.0, 6.0]]]), (len(noise["goal"]), 1, 1))
        return super().reset(xp, noise)._replace(mocap_pos=xp.concatenate([noise["goal"][:, None], other], axis=1))


@pytest.fixture(scope="module", params=["native", "jax", "warp"])
def env(request: pytest.FixtureRequest) -> VectorEnv:
    if request.param == "warp":
        need_warp()
    return VectorEnv(Goal(), 4, backend=request.param, device=torch.device("cpu"))


def test_joint_reaction_forces_are_those_of_c(env: VectorEnv) -> None:
    """Without `cfrc_ext` among the fields too."""
    bent = np.full((4, 2), (0.3, 0.4), np.float32)
    env.set_state(bent, np.zeros_like(bent))
    assert not np.asarray(env.state.view.cfrc_int).any()  # as Gymnasium shows such fields after a reset
    env.step(torch.zeros(4, 2))

    model = env.task.model
    data = mujoco.MjData(model)
    data.qpos[:], data.ctrl[:] = bent[0], model.actuator_ctrlrange.mean(axis=1)
    mujoco.mj_step(model, data, 2)
    mujoco.mj_rnePostConstraint(model, data)
    assert np.abs(data.cfrc_int[-2:]).max() == pytest.approx(31.56, abs=0.01)
    for name in ("cfrc_int", "cacc", "xmat"):  # MJX has matrices where MjData has rows of nine
        expected = getattr(data, name)[-2:]  # the arm's bodies
        np.testing.assert_allclose(env.state.view.arrays[name][1, -2:], expected, rtol=1e-4, atol=1e-3, err_msg=name)


def test_resets_place_mocap_bodies_and_time_runs_from_each(env: VectorEnv) -> None:
    still = torch.zeros(4, 2)
    first = env.reset(seed=1).clone()
    assert (first[:, 0] == 0).all() and len(first[:, 1:4].unique(dim=0)) == 4
    torch.testing.assert_close(first[:, 1:4], first[:, 4:7])  # the body is where its pose says
    assert first[:, 7:].tolist() == [[0, 1, 0, 0]] * 4  # as the MJCF has it
    env.step(still)
    saved = env.state_dict()
    second = env.step(still).obs.clone()
    torch.testing.assert_close(second[:, 0], torch.full((4,), 2 * 2 * 0.01))
    torch.testing.assert_close(second[:, 1:], first[:, 1:])  # goals stay for the episode
    third = env.step(still)
    assert third.truncated.all() and (third.obs[:, 0] == 0).all()
    assert len(torch.cat([first, third.obs])[:, 1:4].unique(dim=0)) == 8  # a fresh draw for each episode
    torch.testing.assert_close(third.obs[:, 1:4], third.obs[:, 4:7])
    third = third.obs.clone()
    env.load_state_dict(saved)
    assert torch.equal(env.step(still).obs, second) and torch.equal(env.step(still).obs, third)


def test_a_control_without_a_range_is_blamed_on_its_actuator() -> None:
    def ranges(actuators: str) -> tuple[Any, Any]:
        return control_range(type("Mine", (Arm,), {"model": arm(actuators)})())

    with pytest.raises(TaskError, match=r"actuator 'elbow' of .* has no ctrlrange: give"):
        ranges(MOTORS.replace('ctrlrange="0.2 1.4"', ""))
    with pytest.raises(TaskError, match=r"actuator 'servo' of .* has no ctrlrange for control 2 of its 2: "):
        ranges(TWO.format('ctrlrange="-1 1"'))
    low, high = ranges(TWO.format('ctrlrange="-1 1" velrange="-3 3"'))
    assert low.tolist() == [-1, -3, -0.5] and high.tolist() == [1, 3, 0.5]


def test_an_actuator_takes_its_two_controls() -> None:
    task = type("Two", (Arm,), {"model": arm(TWO.format('ctrlrange="-1 1" velrange="-3 3"'))})()
    physics = make_physics(task, 2, "native")
    state, _ = physics.init(0)
    state = physics.set_where(state, np.ones(2, bool), task.reset(np, {"qpos": np.zeros((2, 2))}))
    control = np.array([[0.5, 2.0, -0.3], [0.5, -2.0, -0.3]])
    qvel = physics.view(physics.step(state, Controls(control)))["qvel"]
    data = mujoco.MjData(task.model)
    data.ctrl[:] = control[0]
    mujoco.mj_step(task.model, data, 2)
    np.testing.assert_array_equal(qvel[0], data.qvel)
    assert qvel[0, 0] > qvel[1, 0] + 0.1  # the second control is the velocity that it aims at


@pytest.mark.parametrize(
    ("backend", "field"), [("native", "no_such"), ("native", "qpos_"), ("jax", "qfrc_damper"), ("warp", "efc_force")]
)
def test_a_field_that_is_not_there_is_refused_by_name(backend: str, field: str) -> None:
    if backend == "warp":
        need_warp()
    with pytest.raises((TaskError, UnavailableError), match=f"Reads.* reads '{field}'"):
        make_physics(type("Reads", (Arm,), {"fields": ("qpos", field)})(), 1, backend)


@pytest.mark.parametrize(
    ("backend", "task"), [("native", Arm()), ("native", Pendulum()), ("jax", Pendulum()), ("warp", Pendulum())]
)
def test_a_world_beyond_all_plausible_speed_has_diverged(backend, task):
    """Long before MuJoCo gives up, at 1e10; positions may grow so large, as those of a wheel do."""
    physics = make_physics(task, 4, backend)
    state, _ = physics.init(0)
    speed, angle = np.array([999.0, 2e6, -2e6, 999.0]), np.array([0.0, 0.0, 0.0, 2e6])
    qpos, qvel = (physics.xp.asarray(np.tile(x[:, None], (1, task.model.nv))) for x in (angle, speed))
    state = physics.set_where(state, physics.xp.ones(4, bool), Reset(qpos, qvel))
    assert np.asarray(physics.diverged(state)).tolist() == [False, True, True, False]
