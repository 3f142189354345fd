"""First states of episodes: distributed as Gymnasium's, and drawn afresh for every world and episode."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.seeding import np_random

from mjxrl.envs import SUITE, task_class
from mjxrl.envs.task import Task
from mjxrl.worlds.vector_env import VectorEnv

DRAWS, GYM_DRAWS = 20_000, 1000


# the coordinates drawn before Gymnasium's number of draws varies, because it rejects some
SAME_DRAWS = {"Reacher-v5": slice(0, 2), "Pusher-v5": slice(0, 11)}


def keywords_for(env_id: str, scale: float | None) -> dict[str, Any]:
    if scale is None:
        return {}
    if not hasattr(task_class(env_id), "reset_noise_scale"):
        pytest.skip("the noise has no keyword")
    return {"reset_noise_scale": scale}


def draw(task: Task, size: int, seed: int = 0) -> np.ndarray:
    """First states, `(size, nq + nv)`, from the generator that Gymnasium seeds."""
    random = np_random(seed)[0]
    noise = {
        name: random.uniform(-1, 1, (size, n)) if distribution == "uniform" else random.standard_normal((size, n))
        for name, (distribution, n) in task.reset_noise().items()
    }
    first = task.reset(np, noise)
    return np.concatenate([first.qpos, first.qvel], axis=1)


def draw_in_gymnasium(env_id: str, size: int, keywords: dict[str, Any]) -> np.ndarray:
    env: Any = gymnasium.make(env_id, **keywords).unwrapped
    env.reset(seed=0)
    rows = []
    for _ in range(size):
        env.reset()
        rows.append(np.concatenate([env.data.qpos, env.data.qvel]) if hasattr(env, "data") else env.state.copy())
    return np.array(rows)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Kolmogorov and Smirnov's: the largest difference between two samples' distribution functions."""
    at = np.concatenate([a, b])
    cumulated = [np.searchsorted(np.sort(x), at, side="right") / len(x) for x in (a, b)]
    return float(np.abs(cumulated[0] - cumulated[1]).max())


def with_radii(states: np.ndarray, nq: int) -> np.ndarray:
    """The states and the lengths of the last two pairs of qpos: Reacher's and Pusher's places in the plane."""
    if nq < 4:
        return states
    pairs = states[:, nq - 4 : nq].reshape(-1, 2, 2)
    return np.concatenate([states, np.linalg.norm(pairs, axis=2)], axis=1)


@pytest.mark.parametrize("env_id", SUITE)
@pytest.mark.parametrize("scale", [None, 0.4])
def test_distribution_is_gymnasiums(env_id: str, scale: float | None) -> None:
    keywords = keywords_for(env_id, scale)
    task = task_class(env_id)(**keywords)
    ours = with_radii(draw(task, DRAWS), task.model.nq)
    theirs = with_radii(draw_in_gymnasium(env_id, GYM_DRAWS, keywords), task.model.nq)
    # such a distance or a larger one has probability 2 exp(-2 · 2.7²) = 1e-6 in each of the coordinates
    threshold = 2.7 * np.sqrt(1 / DRAWS + 1 / GYM_DRAWS)
    for i in range(ours.shape[1]):
        if np.ptp(theirs[:, i]) == 0:
            np.testing.assert_array_equal(ours[:, i], theirs[0, i])
        else:
            assert distance(ours[:, i], theirs[:, i]) < threshold, f"coordinate {i}"


@pytest.mark.parametrize("env_id", SUITE)
@pytest.mark.parametrize("scale", [None, 0.4])
def test_the_same_draws_give_gymnasiums_state(env_id: str, scale: float | None) -> None:
    keywords = keywords_for(env_id, scale)
    task = task_class(env_id)(**keywords)
    env: Any = gymnasium.make(env_id, **keywords).unwrapped
    for seed in range(50):
        env.reset(seed=seed)
        theirs = np.concatenate([env.data.qpos, env.data.qvel]) if hasattr(env, "data") else env.state
        same = SAME_DRAWS.get(env_id, slice(None))
        np.testing.assert_allclose(draw(task, 1, seed)[0, same], theirs[same], rtol=0, atol=1e-12)


@pytest.mark.parametrize("env_id", SUITE)
def test_coordinates_are_drawn_independently(env_id: str) -> None:
    task = task_class(env_id)()
    states = draw(task, DRAWS)
    states = states[:, np.ptp(states, axis=0) > 0]
    correlation = np.corrcoef(states.T) - np.eye(states.shape[1])
    assert np.abs(correlation).max() < 5 / np.sqrt(DRAWS)


def test_targets_keep_to_their_regions() -> None:
    target = draw(task_class("Reacher-v5")(), DRAWS)[:, 2:4]
    assert np.linalg.norm(target, axis=1).max() < 0.2
    cylinder = draw(task_class("Pusher-v5")(), DRAWS)[:, 7:9]
    assert np.linalg.norm(cylinder, axis=1).min() > 0.17
    assert np.all((cylinder >= [-0.3, -0.2]) & (cylinder <= [0, 0.2]))


@pytest.mark.parametrize("env_id", SUITE)
def test_no_two_worlds_or_episodes_start_alike(env_id: str) -> None:
    env = VectorEnv(task_class(env_id)(), 8, backend="native", device=torch.device("cpu"))
    starts = []
    for _ in range(3):
        env.reset()
        starts.append(np.concatenate([env.state.view.qpos, env.state.view.qvel], axis=1))
    # an episode that ends by itself starts over from a fresh draw too
    env.state.elapsed[:] = env.task.max_episode_steps - 1
    assert bool((result := env.step(torch.zeros(8, env.action_size))).truncated.all() or result.terminated.any())
    starts.append(np.concatenate([env.state.view.qpos, env.state.view.qvel], axis=1))
    rows = np.concatenate(starts)
    assert len(np.unique(rows, axis=0)) == len(rows)
