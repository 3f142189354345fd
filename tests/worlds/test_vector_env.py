"""Stepping many worlds: time limit, same-step autoreset, true final observations, fresh resets, quarantine."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import mjxrl
from mjxrl.envs import task_class
from mjxrl.envs.half_cheetah import HalfCheetah
from mjxrl.envs.task import Distribution, Reset, Task
from mjxrl.physics.native import NativePhysics
from mjxrl.physics.numpy_arrays import NumpyArrays
from mjxrl.physics.torch_arrays import TorchArrays
from mjxrl.worlds.vector_env import VectorEnv

CPU = torch.device("cpu")


def actions(env: VectorEnv, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(env.num_envs, env.action_size, generator=generator) * 2 - 1


def test_time_limit_truncates_and_restarts_within_the_step() -> None:
    env = VectorEnv(HalfCheetah(), 4, backend="native", device=CPU)
    env.reset()
    for step in range(1, 1000):
        result = env.step(actions(env, step))
        assert not result.truncated.any() and not result.terminated.any()
    before = env.state.physics.rows.copy()
    result = env.step(actions(env, 1000))
    assert result.truncated.all() and not result.terminated.any()
    # the true last observation belongs to the state that the last action leads to, not to the next episode's
    twin = VectorEnv(HalfCheetah(), 4, backend="native", device=CPU)
    twin.reset()
    twin.state.physics.rows[:] = before
    true_last = twin.step(actions(env, 1000))
    assert torch.equal(result.final_obs, true_last.obs)
    assert (result.obs - result.final_obs).abs().amax(1).min() > 0.1
    assert result.obs[:, :8].abs().max() < 0.2  # a reset pose: uniform within 0.1
    assert not env.step(actions(env)).truncated.any()


def test_termination_is_not_truncation(ant_native: VectorEnv) -> None:
    env = ant_native
    qpos = torch.as_tensor(env.task.init_qpos).repeat(env.num_envs, 1)
    qpos[0, 2] = 5.0  # above Ant's healthy range
    env.set_state(qpos, torch.zeros(env.num_envs, env.task.model.nv))
    result = env.step(torch.zeros(env.num_envs, env.action_size))
    assert result.terminated.tolist() == [True] + [False] * (env.num_envs - 1)
    assert not result.truncated.any()
    assert result.final_obs[0, 0] > 4.5 and result.obs[0, 0] < 1.0
    assert torch.equal(result.final_obs[1:], result.obs[1:])


@pytest.mark.parametrize("backend", ["native", "jax", "warp"])
def test_resets_are_fresh_draws(backend: str, request: pytest.FixtureRequest) -> None:
    env = request.getfixturevalue(f"cheetah_{backend}")
    seen = [env.reset(), env.reset(), env.reset(seed=1), env.reset(seed=2)]
    rows = torch.cat(seen)
    assert len(torch.unique(rows, dim=0)) == len(rows)
    again = env.reset(seed=1)
    assert torch.equal(again, seen[2])


def test_episodes_of_one_world_start_differently() -> None:
    env = VectorEnv(Short(), 3, backend="native", device=CPU)
    starts = [env.reset()]
    for _ in range(3 * Short.max_episode_steps):
        result = env.step(actions(env))
        if result.truncated.any():
            starts.append(result.obs)
    rows = torch.cat(starts)
    assert len(starts) == 4 and len(torch.unique(rows, dim=0)) == len(rows)


@pytest.mark.parametrize("env_id", ["Humanoid-v5", "Pusher-v5", "FetchPush-v4"])
def test_worlds_that_restart_alone_are_as_if_all_were_computed(env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def rollout() -> list[Any]:
        env = VectorEnv(task_class(env_id)(max_episode_steps=30), 24, backend="native", device=CPU, stagger=True)
        env.reset()
        broken = torch.where(torch.arange(24) % 3 == 0, torch.nan, 1.0)[:, None]
        steps = [env.step(actions(env, i) * (broken if i == 3 else 1)) for i in range(14)]
        ended = torch.tensor([int(step.done.sum()) for step in steps])
        assert (ended == 0).any() and ((ended > 0) & (ended < 24)).sum() > 2
        return [*steps, env.state_dict()]

    seen = rollout()
    set_where = NativePhysics.set_where

    def of_all(self: NativePhysics, state: Any, mask: np.ndarray, first: Reset) -> Any:
        qpos, qvel, carry, *mocap = first
        pos, quat = (None if place is None else place[mask] for place in mocap)
        return set_where(self, state, mask, Reset(qpos[mask], qvel[mask], carry, pos, quat))

    monkeypatch.setattr(NativePhysics, "set_where", of_all)
    monkeypatch.setattr(NumpyArrays, "picked", lambda self, mask, array: array)
    monkeypatch.setattr(NumpyArrays, "put", TorchArrays.put)
    monkeypatch.setattr(NumpyArrays, "seldom", TorchArrays.seldom)
    torch.testing.assert_close(seen, rollout(), rtol=0, atol=0)


def test_only_worlds_whose_episode_ended_are_reset_and_observed_anew() -> None:
    worlds: dict[str, list[int]] = {"reset": [], "observation": []}

    class Counted(Short):
        def reset(self, xp, noise):
            worlds["reset"].append(len(noise["qpos"]))
            return super().reset(xp, noise)

        def observation(self, xp, view):
            worlds["observation"].append(len(view.qpos))
            return super().observation(xp, view)

    env = VectorEnv(Counted(), 8, backend="native", device=CPU)
    env.reset()
    for counts in worlds.values():
        counts.clear()
    env.step(actions(env) * torch.tensor([1, torch.nan, 1, 1, 1, torch.nan, 1, 1])[:, None])
    assert worlds == {"reset": [2], "observation": [8, 2]}


@dataclass(frozen=True)
class Short(HalfCheetah):
    max_episode_steps: int = 5


@pytest.mark.parametrize("backend", ["native", "jax"])
def test_of_staggered_worlds_as_many_are_truncated_at_each_step(backend: str) -> None:
    env = VectorEnv(Rolling(), 64, backend=backend, device=CPU, stagger=True)
    env.reset()
    ends = torch.stack([env.step(actions(env, i)).truncated for i in range(2 * Rolling.max_episode_steps)])
    assert ends.sum(1).tolist() == [64 // Rolling.max_episode_steps] * len(ends)
    gaps = [torch.diff(world.nonzero()[:, 0]) for world in ends.T]
    assert torch.cat(gaps).unique().tolist() == [Rolling.max_episode_steps]  # only the first episode is shorter


@dataclass(frozen=True)
class Rolling(Task):
    """A cart that nothing happens to, with a carry; cheap to compile."""

    max_episode_steps: int = 16
    fields: ClassVar = ("qpos", "qvel")
    xml_file: str = "inverted_pendulum.xml"
    frame_skip: int = 1

    def reward(self, xp, before, after, action):
        return {"goal": after.carry["goal"][:, 0], "steps": before.carry["steps"][:, 0]}

    def reset_noise(self) -> dict[str, tuple[Distribution, int]]:
        return {"qpos": ("uniform", 2), "goal": ("normal", 1)}

    def reset(self, xp, noise):
        zero = xp.zeros_like(noise["qpos"])
        return Reset(zero, zero, {"goal": noise["goal"], "steps": xp.zeros_like(noise["goal"])})

    def next_carry(self, xp, before, after, action):
        return {**before.carry, "steps": before.carry["steps"] + 1}

    def observation(self, xp, view):
        return view.qpos  # the state itself, so that an aliased buffer would show


@pytest.mark.parametrize("backend", ["native", "jax"])
def test_carry_follows_the_world_and_restarts_with_it(backend: str) -> None:
    env = VectorEnv(Rolling(), 8, backend=backend, device=CPU)
    env.reset()
    goals, steps = [], []
    for _ in range(2 * Rolling.max_episode_steps):
        result = env.step(torch.zeros(8, 1))
        goals.append(result.reward_terms["goal"].clone())
        steps.append(result.reward_terms["steps"].clone())
    assert torch.stack(steps)[:, 0].tolist() == [*range(16), *range(16)]
    goal = torch.stack(goals)
    assert (goal[:16] == goal[0]).all() and (goal[16:] == goal[16]).all()
    assert len(torch.cat([goal[0], goal[16]]).unique()) == 16


@pytest.mark.parametrize("backend", ["native", "jax", "warp"])
def test_a_diverged_world_is_reset_and_its_numbers_are_zero(backend: str, request: pytest.FixtureRequest) -> None:
    env = request.getfixturevalue(f"cheetah_{backend}")
    env.reset(seed=0)
    physics = env.state.physics
    if backend != "jax":
        physics.integration["qvel"][2, 3] = float("nan")
    else:
        data = physics.data.replace(qvel=physics.data.qvel.at[2, 3].set(float("nan")))
        env._runner.state = env.state._replace(physics=physics._replace(data=data))
    result = env.step(torch.zeros(env.num_envs, env.action_size))
    assert (~result.valid).nonzero().flatten().tolist() == [2]
    assert result.terminated[2] and not result.truncated[2]
    assert result.reward[2] == 0 and (result.final_obs[2] == 0).all()
    assert all(term.isfinite().all() for term in result.reward_terms.values())
    assert result.obs.isfinite().all() and 0 < result.obs[2].abs().max() < 1
    assert env.step(torch.zeros(env.num_envs, env.action_size)).valid.all()


def test_set_state_zeroes_time_warm_start_and_elapsed(ant_native: VectorEnv) -> None:
    env = ant_native
    env.reset(seed=3)
    qpos, qvel = env.state.view.qpos.copy(), env.state.view.qvel.copy()
    env.set_state(qpos, qvel)
    action = actions(env)
    fresh = env.step(action).obs.clone()
    for i in range(20):
        env.step(actions(env, i))
    env.set_state(qpos, qvel)
    assert env.state.elapsed.max() == 0
    assert torch.equal(env.step(action).obs, fresh)
    with pytest.raises(ValueError, match=r"qpos has shape \(1, 15\), expected \(8, 15\)"):
        env.set_state(qpos[:1], qvel)


def test_reward_is_the_sum_of_its_terms(ant_native: VectorEnv) -> None:
    ant_native.reset()
    result = ant_native.step(actions(ant_native))
    assert set(result.reward_terms) == {"reward_forward", "reward_ctrl", "reward_contact", "reward_survive"}
    torch.testing.assert_close(result.reward, sum(result.reward_terms.values()))
    assert result.reward.dtype == result.obs.dtype == torch.float32


def test_same_seed_same_worlds_at_any_thread_count() -> None:
    from mjxrl.config import PhysicsConfig

    def rollout(threads: int) -> np.ndarray:
        config = PhysicsConfig(threads=threads)
        env = VectorEnv(HalfCheetah(), 8, backend="native", device=CPU, seed=5, physics=config)
        env.reset()
        return torch.stack([env.step(actions(env, i)).obs for i in range(20)]).numpy()

    assert np.array_equal(rollout(1), rollout(2))


def test_native_imports_no_jax() -> None:
    code = (
        "import sys, torch, mjxrl; env = mjxrl.make_vec('Ant-v5', 2, backend='native'); env.reset();"
        "env.step(torch.zeros(2, 8)); assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_make_vec_takes_gymnasiums_keywords_and_names_what_it_does_not_know() -> None:
    env = mjxrl.make_vec("Ant-v5", 2, backend="native", include_cfrc_ext_in_observation=False)
    assert env.reset().shape == (2, 27)
    with pytest.raises(TypeError, match="gravity"):
        mjxrl.make_vec("Ant-v5", 2, backend="native", gravity=0)
    with pytest.raises(ValueError, match="did you mean Ant-v5"):
        mjxrl.make_vec("ant-v5", 2, backend="native")


def test_numpy_actions_are_as_good_as_tensors(cheetah_native: VectorEnv, cheetah_jax: VectorEnv) -> None:
    for env in (cheetah_native, cheetah_jax):
        action, results = actions(env), []
        for given in (action, action.numpy(), action.double().numpy()):
            env.reset(seed=4)
            results.append(env.step(given).obs.clone())
        assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])
        with pytest.raises(ValueError, match=rf"action has shape \(1, 6\), expected \({env.num_envs}, 6\)"):
            env.step(action[:1])


@pytest.mark.parametrize("backend", ["native", "jax"])
def test_a_step_before_the_first_reset_is_refused(backend: str) -> None:
    env = VectorEnv(HalfCheetah(), 2, backend=backend, device=CPU)
    for step in (env.step, env.dispatch):
        with pytest.raises(RuntimeError, match="reset the worlds"):
            step(torch.zeros(2, 6))


def test_make_vec_takes_a_class() -> None:
    env = mjxrl.make_vec(Short, 2, backend="native", ctrl_cost_weight=0.5)
    assert (type(env.task), env.max_episode_steps, env.task.changed_keywords) == (Short, 5, {"ctrl_cost_weight": 0.5})


@pytest.mark.parametrize("env", ["cheetah_native", "cheetah_jax", "cheetah_warp"])
def test_a_pose_is_where_the_worlds_are_and_stays_as_it_was(env: str, request: pytest.FixtureRequest) -> None:
    worlds: VectorEnv = request.getfixturevalue(env)
    worlds.reset()
    worlds.step(actions(worlds))
    before, qpos = worlds.pose(), np.array(worlds.state.view.qpos)
    worlds.step(actions(worlds))
    assert np.array_equal(before.arrays["qpos"], qpos) and before.target is None
    assert np.array_equal(worlds.pose().arrays["qpos"], worlds.state.view.qpos)
    assert not np.array_equal(worlds.pose().arrays["qpos"], qpos)
    worlds.dispatch(actions(worlds))
    with pytest.raises(RuntimeError, match="collect it first"):
        worlds.pose()
    worlds.collect()
