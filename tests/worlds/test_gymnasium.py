"""Our worlds through Gymnasium's registry and its vector wrappers."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics, RescaleAction, TransformReward

import mjxrl  # noqa: F401 (registers)
from mjxrl.envs import TASKS


def make(env_id: str = "Ant-v5", num_envs: int = 4, **keywords: Any) -> Any:
    return gymnasium.make_vec(f"mjxrl/{env_id}", num_envs=num_envs, backend="native", **keywords)


def test_every_task_is_registered() -> None:
    assert {f"mjxrl/{env_id}" for env_id in TASKS} <= set(gymnasium.registry)


@pytest.mark.parametrize("env_id", ["Ant-v5", "Humanoid-v5", "Pendulum-v1"])
def test_spaces_are_gymnasiums(env_id: str) -> None:
    ours, theirs = make(env_id), gymnasium.make(env_id)
    assert ours.single_action_space == theirs.action_space
    assert ours.single_observation_space.shape == theirs.observation_space.shape
    assert ours.action_space.shape == (4, *(theirs.action_space.shape or ())) and ours.num_envs == 4
    assert ours.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def test_the_time_limit_is_a_keyword() -> None:
    for env in (make("Pendulum-v1", max_episode_steps=3), make("Pendulum-v1")):
        env.reset(seed=0)
        ends = [bool(env.step(np.zeros((4, 1), np.float32))[3].all()) for _ in range(3)]
        assert ends == [False, False, env.spec.kwargs.get("max_episode_steps") == 3]


def test_actions_are_in_control_units() -> None:
    """Humanoid's range is 0.4: the control cost, which is Gymnasium's, tells what was applied."""
    env = make("Humanoid-v5", numpy=True)
    env.reset(seed=0)
    _, _, _, _, info = env.step(np.full((4, 17), 0.4, np.float32))
    np.testing.assert_allclose(info["reward_ctrl"], -0.1 * 17 * 0.16, rtol=1e-6)


@pytest.mark.parametrize("numpy", [False, True])
def test_final_observations_and_their_mask(numpy: bool) -> None:
    env = make("Reacher-v5", num_envs=3, numpy=numpy)
    obs, _ = env.reset(seed=1)
    assert isinstance(obs, np.ndarray if numpy else torch.Tensor)
    for step in range(1, 51):
        obs, _, terminated, truncated, info = env.step(env.action_space.sample())
        assert not terminated.any() and bool(truncated.all()) == bool(info["_final_obs"].all()) == (step == 50)
        same = (info["final_obs"] == obs).all(1)
        assert bool(same.all()) == (step < 50) and bool(same.any()) == (step < 50)
    again, _ = env.reset(seed=1)
    first, _ = make("Reacher-v5", num_envs=3, numpy=numpy).reset(seed=1)
    assert (again == first).all()


def test_vector_wrappers_run_on_it() -> None:
    """RecordEpisodeStatistics adds rewards to NumPy arrays, which Gymnasium can only do with NumPy rewards."""
    env = RecordEpisodeStatistics(
        TransformReward(RescaleAction(make("Reacher-v5", numpy=True), -1, 1), lambda r: 2 * r)
    )
    env.reset(seed=0)
    total, info = 0.0, {}
    for _ in range(50):
        _, reward, _, _, info = env.step(np.zeros((4, 2), np.float32))
        total = total + reward
    np.testing.assert_allclose(info["episode"]["r"], total, rtol=1e-5)
    assert (info["episode"]["l"] == 50).all() and env.episode_count == 4
    doubled = TransformReward(make("Reacher-v5"), lambda r: 2 * r)
    plain = make("Reacher-v5")
    for each in (doubled, plain):
        each.reset(seed=0)
    zero = torch.zeros(4, 2)
    assert torch.equal(doubled.step(zero)[1], 2 * plain.step(zero)[1])


def test_keywords_reach_the_task_and_wrong_ones_are_refused() -> None:
    env = make("Ant-v5", include_cfrc_ext_in_observation=False)
    assert env.single_observation_space.shape == (27,)
    with pytest.raises(TypeError, match="gravity"):
        make("Ant-v5", gravity=0)
    with pytest.raises(ValueError, match="options"):
        env.reset(options={"x": 1})
