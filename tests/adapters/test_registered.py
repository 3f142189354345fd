"""Our worlds through Gymnasium's registry, in both autoreset modes, and under each of Gymnasium's vector wrappers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import gymnasium.wrappers.vector
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import TransformAction, TransformObservation, TransformReward

import mjxrl  # registers
from mjxrl.envs import TASKS

LIMIT, WORLDS = 7, 4


def make(env_id: str = "Ant-v5", num_envs: int = WORLDS, **keywords: Any) -> Any:
    return gymnasium.make_vec(f"mjxrl/{env_id}", num_envs=num_envs, backend="native", **keywords)


class Steps(NamedTuple):
    """What T steps of N worlds returned: `obs` (T + 1, N, …) from the reset on, the others (T, N)."""

    obs: Any
    reward: Any
    terminated: Any
    truncated: Any
    infos: list[Any]

    @property
    def done(self) -> Any:
        return self.terminated | self.truncated


def steps_of(envs: Any, actions: list[Any]) -> Steps:
    obs, _ = envs.reset(seed=1)
    rows = [envs.step(action) for action in actions]
    all_obs, reward, terminated, truncated, infos = map(list, zip(*rows, strict=True))
    return Steps(np.stack([obs, *all_obs]), np.stack(reward), np.stack(terminated), np.stack(truncated), infos)


def some_actions(steps: int, size: int = 1, worlds: int = WORLDS) -> list[np.ndarray]:
    return list(np.random.default_rng(0).uniform(-1, 1, (steps, worlds, size)).astype(np.float32))


def test_every_task_is_registered() -> None:
    assert {f"mjxrl/{env_id}" for env_id in TASKS} <= set(gymnasium.registry)


@pytest.mark.parametrize("env_id", ["Ant-v5", "Humanoid-v5", "Pendulum-v1"])
def test_spaces_are_gymnasiums(env_id: str) -> None:
    ours, theirs = make(env_id), gymnasium.make(env_id)
    assert ours.single_action_space == theirs.action_space
    assert ours.single_observation_space.shape == theirs.observation_space.shape
    assert ours.action_space.shape == (4, *(theirs.action_space.shape or ())) and ours.num_envs == 4
    assert ours.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


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


def test_arrays_are_copies() -> None:
    """Some wrappers write into what they get, and nobody may write into what is jax's."""
    envs: Any = gymnasium.make_vec("mjxrl/Pendulum-v1", num_envs=2, backend="jax", device="cpu", numpy=True)
    envs.reset()
    obs, *_ = envs.step(np.zeros((2, 1), np.float32))
    assert obs.ctypes.data != envs._worlds._runner._held.obs.unsafe_buffer_pointer()


@pytest.mark.parametrize("limit", [1, LIMIT])
def test_the_next_step_only_begins_an_episode(limit: int) -> None:
    """Every seventh step ends one; the eighth takes no action, and the ninth goes on exactly from what it returned."""
    actions = some_actions(3 * (limit + 1))
    envs = make("Pendulum-v1", numpy=True, autoreset_mode=AutoresetMode.NEXT_STEP, max_episode_steps=limit)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    steps = steps_of(envs, actions)
    assert not steps.terminated.any() and all("final_obs" not in info for info in steps.infos)
    assert (steps.truncated == (np.arange(len(actions)) % (limit + 1) == limit - 1)[:, None]).all()
    twin = mjxrl.make_vec("Pendulum-v1", WORLDS, backend="native")
    for step, action in enumerate(actions):
        if step % (limit + 1) == limit:
            assert (steps.reward[step] == 0).all() and (steps.infos[step]["reward_angle"] == 0).all()
            assert np.abs(steps.obs[step + 1] - steps.obs[step]).max(1).min() > 0.05  # another draw
            continue
        cos, sin, speed = torch.from_numpy(steps.obs[step]).T
        twin.set_state(torch.atan2(sin, cos)[:, None], speed[:, None])
        result = twin.step(torch.from_numpy(action) / 2)
        np.testing.assert_allclose(steps.obs[step + 1], result.final_obs, atol=1e-5)
        np.testing.assert_allclose(steps.reward[step], result.reward, atol=1e-5)


def test_the_next_step_where_only_some_worlds_end() -> None:
    """Hopper falls at another step in each world: one that goes on is none the wiser."""
    actions = some_actions(60, size=3)
    keywords = {"env_id": "Hopper-v5", "numpy": True}
    steps = steps_of(make(**keywords, autoreset_mode="NextStep"), actions)
    same = steps_of(make(**keywords), actions)
    assert steps.terminated.sum() > 0 and len(np.unique(steps.done.argmax(0))) > 1
    for world in range(WORLDS):
        first = steps.done[:, world].argmax()
        for name in ("reward", "terminated"):
            assert (getattr(steps, name)[: first + 1, world] == getattr(same, name)[: first + 1, world]).all()
        assert (steps.obs[: first + 1, world] == same.obs[: first + 1, world]).all()
        assert (steps.obs[first + 1, world] == same.infos[first]["final_obs"][world]).all()
        assert steps.reward[first + 1, world] == 0 and not steps.done[first + 1, world]
        assert np.abs(steps.obs[first + 2, world, 1:]).max() < 0.1  # upright again, but for a reset's noise


def test_other_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="autoreset_mode is DISABLED: allowed: SAME_STEP, NEXT_STEP"):
        make("Pendulum-v1", autoreset_mode=AutoresetMode.DISABLED)


def normalised(steps: Steps) -> np.ndarray:
    """By mean and deviation of all observations so far, as NormalizeObservation has it after a long time."""
    rows = [steps.obs[: t + 1].reshape(-1, steps.obs.shape[-1]) for t in range(len(steps.obs))]
    return np.stack(
        [(obs - row.mean(0)) / np.sqrt(row.var(0) + 1e-8) for obs, row in zip(steps.obs, rows, strict=True)]
    )


def returns_so_far(steps: Steps, mode: AutoresetMode) -> list[tuple[float, int]]:
    """(return, length) of every episode that ended, in the order of RecordEpisodeStatistics."""
    found, total, length, waiting = [], np.zeros(WORLDS), np.zeros(WORLDS, int), np.zeros(WORLDS, bool)
    for reward, done in zip(steps.reward, steps.done, strict=True):
        total, length = np.where(waiting, 0, total + reward), np.where(waiting, 0, length + 1)
        found += [(total[i], length[i]) for i in np.flatnonzero(done)]
        if mode is AutoresetMode.SAME_STEP:
            total, length = np.where(done, 0, total), np.where(done, 0, length)
        waiting = done if mode is AutoresetMode.NEXT_STEP else waiting
    return found


def as_is(steps: Steps) -> Any:
    return steps.obs


WIDE = Box(-np.inf, np.inf, (3,), np.float32)
OBSERVATIONS: dict[str, tuple[dict[str, Any], Callable[[Steps], Any]]] = {
    "TransformObservation": ({"func": lambda obs: 2 * obs}, lambda steps: 2 * steps.obs),
    "VectorizeTransformObservation": (
        {"wrapper": TransformObservation, "func": lambda obs: 2 * obs, "observation_space": WIDE},
        lambda steps: 2 * steps.obs,
    ),
    "FlattenObservation": ({}, as_is),
    "ReshapeObservation": ({"shape": (3, 1)}, lambda steps: steps.obs[..., None]),
    "DtypeObservation": ({"dtype": np.float64}, as_is),
    "NormalizeObservation": ({}, normalised),
}
ACTIONS: dict[str, tuple[dict[str, Any], Callable[[np.ndarray], np.ndarray]]] = {
    "TransformAction": ({"func": lambda action: action / 2}, lambda action: action / 2),
    "VectorizeTransformAction": (
        {"wrapper": TransformAction, "func": lambda a: a / 2, "action_space": Box(-4, 4, (1,))},
        lambda action: action / 2,
    ),
    "ClipAction": ({}, lambda action: action.clip(-2, 2)),
    "RescaleAction": ({"min_action": -1.0, "max_action": 1.0}, lambda action: 2 * action),
}
REWARDS: dict[str, dict[str, Any]] = {
    "TransformReward": {"func": lambda reward: 2 * reward},
    "VectorizeTransformReward": {"wrapper": TransformReward, "func": lambda reward: 2 * reward},
    "ClipReward": {"min_reward": -1, "max_reward": 0},
}
ELSEWHERE = {"DictInfoToList", "RecordEpisodeStatistics", "NormalizeReward"}
# they want images, frames, a Dict, bounded observations, or to make tensors, which our worlds give by themselves
NOT_FOR_THEM = {
    *("GrayscaleObservation", "ResizeObservation", "RecordVideo", "HumanRendering", "FilterObservation"),
    *("RescaleObservation", "ArrayConversion", "NumpyToTorch", "JaxToNumpy", "JaxToTorch"),
}


def wrapped(name: str, keywords: dict[str, Any], mode: AutoresetMode) -> tuple[Any, Steps, list[np.ndarray]]:
    """The wrapped worlds, and the steps of bare ones."""
    settings = {"numpy": True, "autoreset_mode": mode, "max_episode_steps": LIMIT}
    actions = some_actions(20)
    wrapper = getattr(gymnasium.wrappers.vector, name)
    return (
        wrapper(make("Pendulum-v1", **settings), **keywords),
        steps_of(make("Pendulum-v1", **settings), actions),
        actions,
    )


def test_each_of_gymnasiums_vector_wrappers_is_tried() -> None:
    tried = {*OBSERVATIONS, *ACTIONS, *REWARDS, *ELSEWHERE}
    assert tried | NOT_FOR_THEM == set(gymnasium.wrappers.vector.__all__) and not tried & NOT_FOR_THEM


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_wrappers_of_observations(name: str) -> None:
    keywords, expected = OBSERVATIONS[name]
    envs, bare, actions = wrapped(name, keywords, AutoresetMode.NEXT_STEP)
    tolerance = 0.02 if name == "NormalizeObservation" else 0  # it starts from a made-up count of 1e-4
    np.testing.assert_allclose(steps_of(envs, actions).obs, expected(bare), atol=tolerance, rtol=tolerance)
    assert bare.done.any()


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
@pytest.mark.parametrize("name", ACTIONS)
def test_wrappers_of_actions(name: str, mode: AutoresetMode) -> None:
    keywords, applied = ACTIONS[name]
    envs, _, actions = wrapped(name, keywords, mode)
    bare = make("Pendulum-v1", numpy=True, autoreset_mode=mode, max_episode_steps=LIMIT)
    expected = steps_of(bare, [applied(3 * action) if name == "ClipAction" else applied(action) for action in actions])
    found = steps_of(envs, [3 * action for action in actions] if name == "ClipAction" else actions)
    np.testing.assert_allclose(found.obs, expected.obs, atol=1e-5)
    assert found.done.any()


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
@pytest.mark.parametrize("name", REWARDS)
def test_wrappers_of_rewards(name: str, mode: AutoresetMode) -> None:
    envs, bare, actions = wrapped(name, REWARDS[name], mode)
    expected = bare.reward.clip(-1, 0) if name == "ClipReward" else 2 * bare.reward
    np.testing.assert_allclose(steps_of(envs, actions).reward, expected)


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_the_other_wrappers(mode: AutoresetMode) -> None:
    envs, bare, actions = wrapped("RecordEpisodeStatistics", {}, mode)
    steps_of(envs, actions)
    found = list(zip(envs.return_queue, envs.length_queue, strict=True))
    np.testing.assert_allclose(found, returns_so_far(bare, mode), rtol=1e-6)
    assert len(found) == 8 and envs.episode_count == 8

    envs, bare, actions = wrapped("NormalizeReward", {}, mode)
    assert np.isfinite(steps_of(envs, actions).reward).all()
    assert envs.return_rms.count == pytest.approx(WORLDS * (20 - 2 * (mode is AutoresetMode.NEXT_STEP)), abs=0.01)

    envs, bare, actions = wrapped("DictInfoToList", {}, mode)
    infos = steps_of(envs, actions).infos
    assert [info[2]["reward_ctrl"] for info in infos] == [info["reward_ctrl"][2] for info in bare.infos]


def test_tensors_pass_through_wrappers_of_rewards() -> None:
    doubled = gymnasium.wrappers.vector.TransformReward(make("Reacher-v5"), lambda r: 2 * r)
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
