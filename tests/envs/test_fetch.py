"""The Fetch tasks against gymnasium-robotics, to the last bit, and what they ask of the rest."""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from mjxrl.adapters import robotics
from mjxrl.envs import FETCH, task_class
from mjxrl.envs.fetch import Fetch
from mjxrl.envs.task import Reset
from mjxrl.errors import UnavailableError
from mjxrl.physics import make_physics
from mjxrl.worlds.program import vector_set_state
from mjxrl.worlds.vector_env import VectorEnv

pytest.importorskip("gymnasium_robotics", reason="gymnasium-robotics is missing: pip install 'mjxrl[robotics]'")
WORLDS, CPU = 4, torch.device("cpu")
SPARSE = [env_id for env_id in FETCH if "Dense" not in env_id]


def fetch(env_id: str) -> Fetch:
    task = task_class(env_id)()
    assert isinstance(task, Fetch)
    return task


def theirs(env_id: str) -> gymnasium.Env[Any, Any]:
    robotics.register()
    return gymnasium.make(env_id)


@pytest.mark.parametrize("env_id", FETCH)
def test_equals_gymnasium_robotics_bit_for_bit(env_id: str) -> None:
    """State, observation, goals, reward and success over a whole episode, from its own resets, actions in float64."""
    task, envs = fetch(env_id), [theirs(env_id) for _ in range(WORLDS)]
    ours = VectorEnv(task, WORLDS, backend="native", device=CPU)
    ours.reset()
    first = [env.reset(seed=i)[0] for i, env in enumerate(envs)]
    raw: list[Any] = [env.unwrapped for env in envs]
    qpos, qvel, goal = (np.array(x) for x in zip(*((e.data.qpos, e.data.qvel, e.goal) for e in raw), strict=True))
    state = ours.state
    ours._runner.state, obs = vector_set_state(
        task, ours._physics, state.physics, state.random, Reset(qpos, qvel, {"goal": goal})
    )
    np.testing.assert_array_equal(obs, [task.from_gymnasium(each) for each in first])
    rng = np.random.default_rng(0)
    for step in range(1, 51):
        action = rng.uniform(-1, 1, (WORLDS, 4))
        result, before = ours.step(torch.tensor(action)), ours.state.view
        for i, env in enumerate(envs):
            seen, reward, terminated, truncated, info = env.step(action[i])
            final = torch.tensor(task.from_gymnasium(seen), dtype=torch.float32)
            assert torch.equal(result.final_obs[i], final)
            assert result.reward[i] == np.float32(reward)
            assert (result.terminated[i], result.truncated[i]) == (terminated, truncated) == (False, step == 50)
            assert result.outcome["success"][i] == info["is_success"]
            if step < 50:  # then a new episode has begun here
                np.testing.assert_array_equal(task.observation(np, before)[i], task.from_gymnasium(seen))
                np.testing.assert_array_equal(before.qpos[i], raw[i].data.qpos)
                np.testing.assert_array_equal(before.qvel[i], raw[i].data.qvel)


@pytest.mark.parametrize("env_id", SPARSE)
def test_first_states_have_their_distribution(env_id: str) -> None:
    """Kolmogorov-Smirnov on each number of the goal and of the object's place, and on the object's distance."""
    task, env = fetch(env_id), theirs(env_id)
    drawn = VectorEnv(task, 2000, backend="native", device=CPU, seed=1).reset().numpy()
    seen = np.array([task.from_gymnasium(env.reset(seed=i)[0]) for i in range(500)], np.float32)
    columns = [*range(task.goals.desired.start, task.goals.desired.stop), *([3, 4] if task.has_object else [])]  # type: ignore[union-attr]
    samples = [(drawn[:, c], seen[:, c]) for c in columns]
    if task.has_object:
        center = task._start.gripper[:2]
        samples.append(tuple(np.linalg.norm(x[:, 3:5] - center, axis=1) for x in (drawn, seen)))  # type: ignore[arg-type]
        assert (np.linalg.norm(drawn[:, 3:5] - center, axis=1) >= 0.1 - 1e-4).all()
    for one, other in samples:
        if np.ptp(other) > 1e-3:
            found: Any = ks_2samp(one, other)
            assert found.pvalue > 1e-3
        else:
            assert abs(one.mean() - other.mean()) < 1e-3


def test_jax_is_refused_with_the_reason() -> None:
    with pytest.raises(
        UnavailableError, match=r"^--backend jax: allowed: native, warp for FetchPush: MJX lacks .* welds"
    ):
        make_physics(fetch("FetchPush-v4"), 1, "jax")


@pytest.mark.parametrize("env_id", ["FetchReach-v4", "FetchReachDense-v4"])
def test_the_goals_reward_is_the_same_on_torch(env_id: str) -> None:
    task, generator = fetch(env_id), torch.Generator().manual_seed(0)
    achieved, desired = 0.1 * torch.rand(2, 5, 7, 3, generator=generator, dtype=torch.float64)
    ours = task.goal_reward(torch, achieved, desired)
    np.testing.assert_allclose(ours, task.goal_reward(np, achieved.numpy(), desired.numpy()), rtol=1e-12)


def test_worlds_go_on_exactly_from_what_was_saved() -> None:
    """The mocap body's place is part of it."""
    task, generator = fetch("FetchPickAndPlace-v4"), torch.Generator().manual_seed(0)
    worlds, other = (VectorEnv(task, 3, backend="native", device=CPU, seed=seed) for seed in (0, 1))
    worlds.reset()
    for _ in range(48):
        worlds.step(torch.rand(3, 4, generator=generator) * 2 - 1)
    other.load_state_dict(worlds.state_dict())
    for _ in range(6):
        action = torch.rand(3, 4, generator=generator) * 2 - 1
        assert torch.equal(worlds.step(action).obs, other.step(action).obs)


def test_gymnasium_robotics_needs_the_integers() -> None:
    """When this fails, the package compares rightly by itself: take `robotics._WithIntegers` away."""
    utils: Any = importlib.import_module("gymnasium_robotics.utils.mujoco_utils")
    robotics.register()
    mended, utils.mujoco = utils.mujoco, importlib.import_module("mujoco")
    try:
        with pytest.raises(AssertionError):
            gymnasium.make("FetchReach-v4")
    finally:
        utils.mujoco = mended
