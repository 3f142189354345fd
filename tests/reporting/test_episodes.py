"""Episode statistics against a plain Python count."""

from __future__ import annotations

import pytest
import torch

from mjxrl.reporting.episodes import EpisodeStats
from mjxrl.worlds.worlds import StepResult

LIMIT = 5


def step(reward: list[float], terminated: list[int], truncated: list[int], valid: list[int]) -> StepResult:
    flags = [torch.tensor(x, dtype=torch.bool) for x in (terminated, truncated, valid)]
    rewards = torch.tensor(reward, dtype=torch.float32)
    nothing = torch.zeros(len(reward), 1)
    return StepResult(nothing, rewards, flags[0], flags[1], nothing, flags[2], {"half": rewards / 2})


def test_whole_episodes_count_and_partial_or_diverged_ones_do_not() -> None:
    stats = EpisodeStats(3, LIMIT, torch.device("cpu"))
    stats.update(step([1, 1, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]))  # world 1: cut short of its full length
    stats.update(step([2, 2, 0], [1, 0, 1], [0, 0, 0], [1, 1, 0]))  # world 0 terminates, world 2 diverges
    for i in range(4):
        stats.update(step([1, 3, 1], [0, 0, 0], [0, i == 3, 0], [1, 1, 1]))  # world 1 reaches its full length
    metrics = stats.pop()
    assert metrics["train/episodes"] == 2
    assert metrics["train/return"] == pytest.approx((3 + 14) / 2)
    assert metrics["train/length"] == pytest.approx((2 + 5) / 2)
    assert metrics["train/diverged"] == 1
    assert metrics["reward/half"] == pytest.approx((3 + 4 + 4 * 5) / 2 / 17)  # per valid transition


def test_pop_starts_over_but_episodes_go_on() -> None:
    stats = EpisodeStats(1, LIMIT, torch.device("cpu"))
    stats.update(step([1.0], [0], [0], [1]))
    assert "train/return" not in stats.pop()
    stats.update(step([1.0], [1], [0], [1]))
    metrics = stats.pop()
    assert metrics["train/return"] == 2 and metrics["train/length"] == 2 and metrics["train/episodes"] == 1
    assert stats.pop()["train/episodes"] == 0


def test_what_is_told_of_an_episode_counts_at_its_end() -> None:
    stats, state = EpisodeStats(2, LIMIT, torch.device("cpu")), {}
    for near, ends in (([0.0, 1.0], [0, 0]), ([1.0, 1.0], [1, 0]), ([0.0, 0.0], [0, 1])):
        result = step([1.0, 1.0], ends, [0, 0], [1, 1])
        stats.update(result._replace(outcome={"success": torch.tensor(near)}))
        if ends == [1, 0]:  # saved and put back in between
            state = stats.state_dict()
            stats = EpisodeStats(2, LIMIT, torch.device("cpu"))
            stats.load_state_dict(state)
    metrics = stats.pop()
    assert metrics["train/episodes"] == 2 and metrics["train/success"] == 0.5
    assert "train/success" not in stats.pop()
