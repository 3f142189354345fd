"""Native worlds against `gymnasium.make`, from the same states under the same controls.

Both run on MuJoCo's C code in float64, so the states agree to the last bit; a looser tolerance would hide mistakes.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

from mjxrl.envs import SUITE, task_class
from mjxrl.envs.hopper import Hopper
from mjxrl.envs.task import Task
from mjxrl.worlds.vector_env import VectorEnv
from mjxrl.worlds.worlds import StepResult

WORLDS, STEPS = 2, 200
STATE = 1e-9  # absolute, float64
ROUNDING: dict[str, Any] = {"rtol": 3e-7, "atol": 1e-9}  # float32

# for every task, other values than the defaults for all keywords that change what is returned
OTHER_KEYWORDS: dict[str, list[dict[str, Any]]] = {
    "Ant-v5": [
        {"include_cfrc_ext_in_observation": False, "main_body": "front_left_leg", "forward_reward_weight": 2.0},
        {
            "exclude_current_positions_from_observation": False,
            "terminate_when_unhealthy": False,
            "healthy_z_range": (0.4, 0.8),
            "healthy_reward": 3.0,
            "ctrl_cost_weight": 0.25,
            "contact_cost_weight": 1e-2,
            "contact_force_range": (-4.0, 0.5),
            "frame_skip": 2,
        },
    ],
    "HalfCheetah-v5": [
        {
            "exclude_current_positions_from_observation": False,
            "forward_reward_weight": 2.0,
            "ctrl_cost_weight": 0.5,
            "frame_skip": 2,
            "max_episode_steps": 60,
        }
    ],
    "Hopper-v5": [
        {
            "exclude_current_positions_from_observation": False,
            "terminate_when_unhealthy": False,
            "healthy_z_range": (0.5, 1.2),
            "healthy_angle_range": (-0.1, 0.3),
            "forward_reward_weight": 2.0,
            "ctrl_cost_weight": 0.5,
            "healthy_reward": 3.0,
            "frame_skip": 2,
        },
        {"healthy_state_range": (-1.5, 2.0), "reset_noise_scale": 0.1},
    ],
    "Humanoid-v5": [
        {"include_cinert_in_observation": False, "include_cvel_in_observation": False},
        {"include_qfrc_actuator_in_observation": False, "include_cfrc_ext_in_observation": False},
        {
            "exclude_current_positions_from_observation": False,
            "terminate_when_unhealthy": False,
            "healthy_z_range": (0.5, 1.3),
            "healthy_reward": 3.0,
            "forward_reward_weight": 2.0,
            "ctrl_cost_weight": 0.5,
            "contact_cost_weight": 1e-3,
            "contact_cost_range": (0.25, 2.0),
            "frame_skip": 2,
        },
    ],
    "HumanoidStandup-v5": [
        {"include_cinert_in_observation": False, "include_qfrc_actuator_in_observation": False},
        {"include_cvel_in_observation": False, "include_cfrc_ext_in_observation": False},
        {
            "exclude_current_positions_from_observation": False,
            "uph_cost_weight": 2.0,
            "ctrl_cost_weight": 0.5,
            "impact_cost_weight": 1e-3,
            "impact_cost_range": (0.25, 2.0),
            "frame_skip": 2,
        },
    ],
    "InvertedDoublePendulum-v5": [{"healthy_reward": 3.0, "reset_noise_scale": 0.01, "frame_skip": 2}],
    "InvertedPendulum-v5": [{"reset_noise_scale": 0.1, "frame_skip": 1}],
    "Pendulum-v1": [{"g": 3.0, "max_episode_steps": 150}],
    "Pusher-v5": [
        {"reward_near_weight": 2.0, "reward_dist_weight": 3.0, "reward_control_weight": 0.5, "frame_skip": 2}
    ],
    "Reacher-v5": [{"reward_dist_weight": 3.0, "reward_control_weight": 0.5, "frame_skip": 1}],
    "Swimmer-v5": [
        {
            "exclude_current_positions_from_observation": False,
            "forward_reward_weight": 2.0,
            "ctrl_cost_weight": 0.5,
            "frame_skip": 2,
        }
    ],
    "Walker2d-v5": [
        {
            "exclude_current_positions_from_observation": False,
            "terminate_when_unhealthy": False,
            "healthy_z_range": (0.5, 1.2),
            "healthy_angle_range": (-0.1, 0.3),
            "forward_reward_weight": 2.0,
            "ctrl_cost_weight": 0.5,
            "healthy_reward": 3.0,
            "frame_skip": 2,
        }
    ],
}
CASES = [(env_id, keywords) for env_id in SUITE for keywords in ({}, *OTHER_KEYWORDS[env_id])]


class Gym:
    """One Gymnasium environment that can be put at a state, the analytic Pendulum included."""

    def __init__(self, env_id: str, **keywords: Any) -> None:
        self.env = gymnasium.make(env_id, **keywords)
        self.raw: Any = self.env.unwrapped

    def restart_at(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Start an episode at this state as `reset` does; returns the first observation."""
        self.env.reset()
        if hasattr(self.raw, "set_state"):
            mujoco.mj_resetData(self.raw.model, self.raw.data)
            self.raw.set_state(qpos, qvel)
        else:
            self.raw.state = np.concatenate([qpos, qvel])
        return self.raw._get_obs()

    def state(self) -> tuple[np.ndarray, np.ndarray]:
        if hasattr(self.raw, "data"):
            return self.raw.data.qpos, self.raw.data.qvel
        return self.raw.state[:1], self.raw.state[1:]

    def step(self, ctrl: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(ctrl)
        return obs, float(reward), terminated, truncated, info


def control_range(env: VectorEnv) -> tuple[np.ndarray, np.ndarray]:
    low, high = env.task.model.actuator_ctrlrange.T
    return (high + low) / 2, (high - low) / 2


def case_name(value: Any) -> str:
    return value if isinstance(value, str) else "+".join(value) or "defaults"


@pytest.mark.parametrize("env_id", SUITE)
def test_every_keyword_is_varied(env_id: str) -> None:
    varied = {name for keywords in OTHER_KEYWORDS[env_id] for name in keywords}
    all_of_them = {field.name for field in dataclasses.fields(task_class(env_id))}
    # elsewhere: test_tasks.py, test_resets.py; the time limit is varied where it makes a difference in STEPS
    assert varied | {"xml_file", "reset_noise_scale", "max_episode_steps"} >= all_of_them


def assert_same_step(env: VectorEnv, result: StepResult, world: int, gym: Gym, ctrl: np.ndarray) -> bool:
    """Step `gym` and compare it with what `result` says of a world; returns whether the episode ended."""
    obs, reward, terminated, truncated, info = gym.step(ctrl)
    np.testing.assert_allclose(result.final_obs[world], obs, **ROUNDING)
    np.testing.assert_allclose(result.reward[world], reward, **ROUNDING)
    for name in info.keys() & result.reward_terms.keys():
        np.testing.assert_allclose(result.reward_terms[name][world], info[name], **ROUNDING, err_msg=name)
    assert bool(result.terminated[world]) == terminated
    assert bool(result.truncated[world]) == truncated
    assert bool(result.valid[world])
    if not (terminated or truncated):
        for ours, theirs in zip((env.state.view.qpos, env.state.view.qvel), gym.state(), strict=True):
            np.testing.assert_allclose(ours[world], theirs, rtol=0, atol=STATE)
    return terminated or truncated


@pytest.mark.parametrize(("env_id", "keywords"), CASES, ids=case_name)
def test_episodes_equal_gymnasiums(env_id: str, keywords: dict[str, Any]) -> None:
    env = VectorEnv(task_class(env_id)(**keywords), WORLDS, backend="native", device=torch.device("cpu"), seed=3)
    gyms = [Gym(env_id, **keywords) for _ in range(WORLDS)]
    assert gyms[0].env.observation_space.shape == (env.obs_size,)
    assert gyms[0].env.action_space.shape == (env.action_size,)
    center, half = control_range(env)
    generator = torch.Generator().manual_seed(7)

    obs, ended = env.reset(), [True] * WORLDS
    for _ in range(STEPS):
        for world in np.flatnonzero(ended).tolist():
            first = gyms[world].restart_at(env.state.view.qpos[world], env.state.view.qvel[world])
            np.testing.assert_allclose(obs[world], first, **ROUNDING)
        action = torch.rand(WORLDS, env.action_size, generator=generator) * 2 - 1
        result = env.step(action)
        controls = center + half * action.double().numpy()
        ended = [assert_same_step(env, result, world, gyms[world], controls[world]) for world in range(WORLDS)]
        obs = result.obs


@pytest.mark.parametrize(("env_id", "keywords"), CASES, ids=case_name)
def test_steps_from_wild_states_equal_gymnasiums(env_id: str, keywords: dict[str, Any]) -> None:
    """Poses and speeds that random actions hardly reach, so that every limit and clipping range is met."""
    worlds = 64
    env = VectorEnv(task_class(env_id)(**keywords), worlds, backend="native", device=torch.device("cpu"))
    gym = Gym(env_id, **keywords)
    center, half = control_range(env)
    random = np.random.default_rng(0)
    wildness = np.linspace(0, 1, worlds)[:, None]
    qpos = env.task.init_qpos + 1.5 * wildness * random.uniform(-1, 1, (worlds, env.task.model.nq))
    qvel = 20 * wildness * random.uniform(-1, 1, (worlds, env.task.model.nv))
    obs = env.set_state(torch.as_tensor(qpos), torch.as_tensor(qvel))
    action = torch.as_tensor(random.uniform(-1, 1, (worlds, env.action_size)))
    result = env.step(action)
    sound = np.flatnonzero(result.valid)  # at such speeds the fluid's drag makes a few of Swimmer's worlds diverge
    assert len(sound) > 0.8 * worlds
    for world in sound.tolist():
        np.testing.assert_allclose(obs[world], gym.restart_at(qpos[world], qvel[world]), **ROUNDING)
        assert_same_step(env, result, world, gym, (center + half * action.numpy())[world])


def test_hoppers_state_range_counts_from_the_angle_on() -> None:
    wide = {"healthy_z_range": (0.0, 9.0), "healthy_angle_range": (-9.0, 9.0)}
    keywords: dict[str, Any] = {"healthy_state_range": (-0.3, 0.3), **wide}
    env = VectorEnv(Hopper(**keywords), 12, backend="native", device=torch.device("cpu"))
    # one coordinate of qpos or qvel in each world, z upwards, joints away from their limits
    displaced = 0.5 * np.diag([-1, 1, *[-1] * 10])
    env.set_state(torch.as_tensor(env.task.init_qpos + displaced[:, :6]), torch.as_tensor(displaced[:, 6:]))
    result = env.step(torch.zeros(12, env.action_size))
    assert result.terminated.tolist() == [False] * 2 + [True] * 4 + [True] * 6
    gym = Gym("Hopper-v5", **keywords)
    for world in range(12):
        gym.restart_at(env.task.init_qpos + displaced[world, :6], displaced[world, 6:])
        assert_same_step(env, result, world, gym, np.zeros(env.action_size))


# what Gymnasium adds to a reward, or returns as one, without naming it
UNNAMED = {
    "HumanoidStandup-v5": {"reward_survive"},
    "Pendulum-v1": {"reward_angle", "reward_velocity", "reward_ctrl"},
}


@pytest.mark.parametrize("env_id", SUITE)
def test_reward_terms_have_gymnasiums_names(env_id: str) -> None:
    env = VectorEnv(task_class(env_id)(), 1, backend="native", device=torch.device("cpu"))
    env.reset()
    gym = Gym(env_id)
    gym.env.reset()
    result = env.step(torch.zeros(1, env.action_size))
    info = gym.step(np.zeros(env.action_size))[-1]
    named = {name for name in info if name.startswith("reward_") or name.endswith("_penalty")}
    assert result.reward_terms.keys() - named == UNNAMED.get(env_id, set())
    assert named <= result.reward_terms.keys()


@pytest.mark.parametrize("env_id", SUITE)
def test_time_limit_is_flagged_exactly_at_gymnasiums_limit(env_id: str) -> None:
    limit = gymnasium.spec(env_id).max_episode_steps
    assert limit is not None
    kind = type("Endless", (task_class(env_id),), {"terminated": Task.terminated})
    env = VectorEnv(kind(), 1, backend="native", device=torch.device("cpu"))
    env.reset()
    still = torch.zeros(1, env.action_size)
    results = [env.step(still) for _ in range(limit + 1)]
    assert [bool(result.truncated) for result in results] == [False] * (limit - 1) + [True, False]
    assert not any(result.terminated for result in results)
