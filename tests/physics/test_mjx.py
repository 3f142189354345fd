"""MJX against Gymnasium, one environment step from the same state under the same controls."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from mjxrl.vector_env import VectorEnv


def natural_states(reference: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """States in contact on the way of random actions in Gymnasium, exact in float32: qpos (n, nq), qvel (n, nv)."""
    rng, found, seed = np.random.default_rng(0), [], 0
    while len(found) < count:
        reference.reset(seed=seed)
        seed += 1
        for step in range(40):
            reference.step(rng.uniform(-1, 1, reference.model.nu))
            if step % 4 == 3 and reference.data.ncon > 0:
                found.append((reference.data.qpos.astype(np.float32), reference.data.qvel.astype(np.float32)))
    qpos, qvel = (np.array(x) for x in zip(*found[:count], strict=True))
    return qpos, qvel


def one_step_errors(env: VectorEnv, reference: Any, qpos: np.ndarray, qvel: np.ndarray) -> dict[str, float]:
    """Mean over the worlds of the largest absolute error of the observation's parts and of the reward."""
    n, positions = env.num_envs, env.obs_size - env.task.model.nv if env.obs_size < 30 else 13
    action = np.random.default_rng(1).uniform(-1, 1, (n, env.action_size)).astype(np.float32)
    env.set_state(torch.as_tensor(qpos), torch.as_tensor(qvel))
    result = env.step(torch.as_tensor(action))
    expected, reward = [], []
    for i in range(n):
        reference.reset()
        reference.set_state(qpos[i].astype(float), qvel[i].astype(float))
        reference.data.qacc_warmstart[:] = 0
        obs, r, terminated, _, _ = reference.step(action[i].astype(float))
        assert terminated == bool(result.terminated[i])
        expected.append(obs)
        reward.append(r)
    error = np.abs(result.final_obs.numpy() - np.array(expected))
    velocities = positions + env.task.model.nv
    return {
        "qpos": error[:, :positions].max(1).mean(),
        "qvel": error[:, positions:velocities].max(1).mean(),
        "obs": error.max(1).mean(),
        "reward": np.abs(result.reward.numpy() - np.array(reward)).mean(),
    }


def test_half_cheetah_in_contact(cheetah_jax: VectorEnv) -> None:
    reference = gymnasium.make("HalfCheetah-v5").unwrapped
    errors = one_step_errors(cheetah_jax, reference, *natural_states(reference, cheetah_jax.num_envs))
    assert errors["qpos"] < 2e-6 and errors["qvel"] < 2e-4 and errors["reward"] < 5e-6, errors


def test_ant_in_the_air(ant_jax: VectorEnv) -> None:
    reference = gymnasium.make("Ant-v5").unwrapped
    qpos, qvel = natural_states(reference, ant_jax.num_envs)
    qpos[:, 2] = 3.0
    errors = one_step_errors(ant_jax, reference, qpos, qvel)
    assert errors["qpos"] < 1e-6 and errors["obs"] < 1e-5 and errors["reward"] < 2e-6, errors


def test_first_observation_shows_the_quaternion_as_drawn(ant_jax: VectorEnv) -> None:
    obs = ant_jax.reset(seed=0)
    norms = obs[:, 1:5].norm(dim=1)
    assert (norms - 1).abs().max() > 1e-2
    assert (obs[:, 27:] == 0).all()  # contact forces


def test_same_seed_same_worlds(cheetah_jax: VectorEnv) -> None:
    def rollout() -> torch.Tensor:
        cheetah_jax.reset(seed=7)
        zeros = torch.zeros(cheetah_jax.num_envs, cheetah_jax.action_size)
        return torch.stack([cheetah_jax.step(zeros + i / 5).obs.clone() for i in range(5)])

    assert torch.equal(rollout(), rollout())


def test_an_actuator_without_a_range_is_refused_by_name() -> None:
    from dataclasses import dataclass

    import mujoco

    from mjxrl.envs.task import Task
    from mjxrl.physics.native import NativePhysics

    xml = """<mujoco><worldbody><body><joint name="hinge"/><geom size=".1"/></body></worldbody>
             <actuator><motor name="elbow" joint="hinge"/></actuator></mujoco>"""

    @dataclass(frozen=True)
    class Unlimited(Task):
        model = mujoco.MjModel.from_xml_string(xml)  # type: ignore[assignment]

    with pytest.raises(ValueError, match="'elbow'"):
        NativePhysics(Unlimited(), 1)
