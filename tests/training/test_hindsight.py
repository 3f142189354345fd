"""Hindsight in a run: by default where rewards are sparse, refused where there are no goals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from mjxrl.config import Config, ReplayConfig
from mjxrl.config.presets import default_config, merged
from mjxrl.envs import task_class
from mjxrl.errors import RunError
from mjxrl.training.session import Session
from mjxrl.worlds.vector_env import VectorEnv


def config_of(env: str, her_goals: int | None = None) -> Config:
    config = default_config(env, "td3", num_envs=2, preset="laptop")
    return dataclasses.replace(config, task=task_class(env)(), replay=ReplayConfig(capacity=400, her_goals=her_goals))


def worlds_of(config: Config) -> VectorEnv:
    return VectorEnv(config.task, 2, backend="native", device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("env", "given", "share"),
    [
        ("FetchReach-v4", None, 0.8),
        ("FetchReachDense-v4", None, 0),
        ("FetchReachDense-v4", 1, 0.5),
        ("FetchReach-v4", 0, 0),
        ("HalfCheetah-v5", None, 0),
    ],
)
def test_on_by_default_where_a_task_rewards_nothing_but_its_goal(env: str, given: int | None, share: float) -> None:
    assert config_of(env, given).relabelled == share


def test_refused_without_goals(tmp_path: Path) -> None:
    config = config_of("HalfCheetah-v5", 4)
    with pytest.raises(RunError, match=r"^--replay.her-goals 4: allowed: 0 for HalfCheetah-v5, which has no goals$"):
        Session(worlds_of(config), config, tmp_path)


def test_a_runs_batches_hold_goals_that_were_reached(tmp_path: Path) -> None:
    """The learner's numbers of the replay say so; without hindsight hardly any goal is near."""
    reached = {}
    for her_goals in (0, 4):
        config = config_of("FetchReach-v4", her_goals)
        config = merged(config, {"learner": {"compile": False, "batch_size": 64}})
        session = Session(worlds_of(config), config, tmp_path)
        obs = session.start()
        for _ in range(60):
            action = torch.rand(2, 4, generator=session.generator) * 2 - 1
            session.replay.append(action, session.worlds.step(action))
        reached[her_goals] = session.learner.update(session.replay, 1, session.generator)["goal_reached"].item()
        assert obs.shape == (2, 13)
    assert reached[0] < 0.2 < reached[4]
