"""Our worlds in Stable-Baselines3's hands: its own checks, and every number the worlds'."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is missing: pip install stable-baselines3")

from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

import mjxrl
from mjxrl.envs.task import Task
from mjxrl.worlds.vector_env import VectorEnv
from tests.helpers.small_runs import Brief

TASK, N = "tests.helpers.small_runs:Brief", 3  # HalfCheetah that is truncated after 20 steps


def make(task: str | type[Task] = TASK, num_envs: int = N, **keywords: Any) -> Any:
    return mjxrl.sb3.make_vec_env(task, num_envs, backend="native", device="cpu", **keywords)


class OfOne(gymnasium.Env):
    """A `VecEnv` of one world as the plain environment that Stable-Baselines3's checker looks at."""

    def __init__(self, task: str) -> None:
        self.worlds = make(task, 1)
        self.observation_space, self.action_space = self.worlds.observation_space, self.worlds.action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        if seed is not None:
            self.worlds.seed(seed)
        return np.asarray(self.worlds.reset())[0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        obs, rewards, dones, [info] = self.worlds.step(action[None])
        obs, truncated = info.get("terminal_observation", np.asarray(obs)[0]), info["TimeLimit.truncated"]
        return obs, float(rewards[0]), bool(dones[0] and not truncated), truncated, info


@pytest.mark.parametrize("task", [TASK, "Ant-v5", "Pendulum-v1"])
@pytest.mark.filterwarnings("error::UserWarning")
def test_its_checker_has_nothing_to_say(task: str) -> None:
    check_env(OfOne(task), skip_render_check=True)


def test_every_number_is_the_worlds() -> None:
    """Played beside worlds of the same seed, over time limits and falls."""
    theirs, ours = (make("Ant-v5", 8, seed=5, max_episode_steps=30) for _ in range(2))
    worlds: VectorEnv = ours.unwrapped.worlds
    assert np.array_equal(theirs.reset(), worlds.reset())
    generator, returns, lengths, ends = np.random.default_rng(0), np.zeros(8), np.zeros(8, int), set()
    for _ in range(70):
        action = generator.uniform(-1, 1, (8, 8)).astype(np.float32)
        obs, rewards, dones, infos = theirs.step(action)
        expected = worlds.step(torch.as_tensor(action))
        assert np.array_equal(obs, expected.obs) and np.array_equal(rewards, expected.reward)
        assert np.array_equal(dones, expected.done) and obs.dtype == rewards.dtype == np.float32
        returns, lengths = returns + rewards, lengths + 1
        for i, info in enumerate(infos):
            ended = bool(expected.done[i])
            assert info["TimeLimit.truncated"] == bool(expected.truncated[i])
            assert ("terminal_observation" in info) == ("episode" in info) == ended
            if ended:
                assert np.array_equal(info["terminal_observation"], expected.final_obs[i]) and not info["diverged"]
                assert info["episode"]["r"] == pytest.approx(returns[i], rel=1e-4)
                assert info["episode"]["l"] == lengths[i]
                ends.add(info["TimeLimit.truncated"])
                returns[i] = lengths[i] = 0
    assert ends == {True, False}  # some were truncated, some fell


class Ends(Brief):
    """Reaches a terminal state as the time is up."""

    max_episode_steps: int = 1

    def terminated(self, xp, view):
        return xp.ones(view.qpos.shape[0], bool)


def test_nothing_is_left_to_bootstrap_from_where_an_episode_ends_in_both_ways() -> None:
    worlds = make(Ends)
    worlds.reset()
    _, _, dones, infos = worlds.step(np.zeros((N, 6), np.float32))
    assert dones.all() and not any(info["TimeLimit.truncated"] for info in infos)


def test_a_seed_starts_over_once() -> None:
    worlds = make()
    worlds.seed(3)
    first, second = worlds.reset(), worlds.reset()
    worlds.seed(3)
    assert np.array_equal(worlds.reset(), first) and not np.array_equal(first, second)


def test_a_success_is_told_as_it_expects() -> None:
    pytest.importorskip("gymnasium_robotics", reason="the Fetch tasks are missing: pip install 'mjxrl[robotics]'")
    worlds = make("FetchReach-v4", 2, max_episode_steps=3)
    worlds.reset()
    told = [worlds.step(np.zeros((2, 4), np.float32))[3] for _ in range(3)]
    assert all("is_success" not in info for infos in told[:2] for info in infos)
    assert all(info["is_success"] is False for info in told[2])


def test_a_world_that_broke_down_says_so() -> None:
    worlds = make()
    worlds.reset()
    actions = np.zeros((N, 6), np.float32)
    actions[1] = np.nan
    _, rewards, dones, infos = worlds.step(actions)
    assert dones.tolist() == [False, True, False] and rewards[1] == 0
    assert infos[1]["diverged"] and not infos[1]["TimeLimit.truncated"]


def test_its_ppo_learns_and_scores_there() -> None:
    torch.set_num_threads(1)
    worlds = VecNormalize(make("Pendulum-v1", 4, max_episode_steps=16))
    model = PPO("MlpPolicy", worlds, n_steps=16, batch_size=32, n_epochs=1, device="cpu", seed=0)
    before = [parameter.clone() for parameter in model.policy.parameters()]
    model.learn(128)
    assert len(model.ep_info_buffer) == 8 and all(info["l"] == 16 for info in model.ep_info_buffer)  # type: ignore[arg-type, union-attr]
    assert any((a != b).any() for a, b in zip(before, model.policy.parameters(), strict=True))
    returns, lengths = evaluate_policy(model, worlds, n_eval_episodes=4, return_episode_rewards=True)
    assert lengths == [16] * 4 and all(score < 0 for score in returns)  # type: ignore[union-attr]


def test_what_worlds_share_is_not_one_worlds_to_change() -> None:
    worlds = make()
    assert worlds.get_attr("max_episode_steps", [0, 2]) == [20, 20] and not worlds.has_attr("spec")
    for change in (lambda: worlds.set_attr("gravity", 1), lambda: worlds.env_method("kick")):
        with pytest.raises(AttributeError, match="worlds step as one"):
            change()
