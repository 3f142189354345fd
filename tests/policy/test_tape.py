"""What a tape keeps is what was played, every step of the first episodes, and nothing is played otherwise for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mjxrl.envs import task_class
from mjxrl.policy.evaluation import evaluate_backend, random_policy
from mjxrl.policy.tape import Tape
from mjxrl.worlds.vector_env import VectorEnv
from tests.helpers.small_runs import Brief

CPU = torch.device("cpu")


def worlds(env_id: str, number: int, **keywords: Any) -> VectorEnv:
    return VectorEnv(task_class(env_id)(**keywords), number, backend="native", device=CPU, seed=3)


@pytest.mark.parametrize("env_id", ["Ant-v5", "Pendulum-v1"])
def test_a_watched_evaluation_is_the_same_one(env_id: str) -> None:
    def played(env):
        return evaluate_backend(random_policy(env.action_size, 0, CPU), env)

    plain, tape = played(worlds(env_id, 5, max_episode_steps=60)), Tape(worlds(env_id, 5, max_episode_steps=60))
    assert played(tape) == plain
    assert [len(shots) for shots in tape.episodes] == plain.lengths  # random Ants fall, and go on with another episode
    assert [shots[-1].total for shots in tape.episodes] == pytest.approx(plain.returns)
    assert all([shot.step for shot in shots] == list(range(1, len(shots) + 1)) for shots in tape.episodes)


def test_each_step_is_shown_where_it_was_taken_from() -> None:
    env = VectorEnv(Brief(), 3, backend="native", device=CPU)
    tape = Tape(env, keep=2)
    tape.reset(seed=1)
    angles, total = [], torch.zeros(3, dtype=torch.float64)
    for _ in range(25):  # longer than an episode
        angles.append(env.state.view.qpos.copy())
        tape.dispatch(torch.ones(3, 6))
        reward = tape.collect().reward
        total += reward if len(angles) <= 20 else 0
    assert [len(shots) for shots in tape.episodes] == [20, 20]
    for world, shots in enumerate(tape.episodes):
        assert shots[-1].total == pytest.approx(total[world].item(), rel=1e-5)
        for shot, angle in zip(shots, angles, strict=False):
            assert np.array_equal(shot.arrays["qpos"], angle[world])
    tape.reset()
    assert tape.episodes == [[], []]


def test_a_tasks_target_is_kept() -> None:
    pytest.importorskip("gymnasium_robotics", reason="the Fetch tasks are missing: pip install 'mjxrl[robotics]'")
    tape = Tape(worlds("FetchReachDense-v4", 2))
    obs = tape.reset()
    first = tape.step(torch.ones(2, 4))
    tape.step(torch.ones(2, 4))
    for world, (earlier, later) in enumerate(tape.episodes):
        assert earlier.target is not None and later.target is not None and later.target.within == 0.05
        assert later.target.distance == pytest.approx(-first.reward[world].item(), rel=1e-5)
        assert earlier.target.position == pytest.approx(obs[world, 10:13].numpy(), abs=1e-6)


def test_worlds_without_a_pose_are_refused() -> None:
    class Blind:
        num_envs = 1

    with pytest.raises(TypeError, match="Blind gives no `pose`"):
        Tape(Blind())  # type: ignore[arg-type]
