"""MJX-JAX against Gymnasium, one environment step from the same state under the same controls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np
import pytest
import torch

from mjxrl.checks.parity import Report, compare
from mjxrl.config import PhysicsConfig
from mjxrl.envs import SUITE, task_class
from mjxrl.envs.half_cheetah import HalfCheetah
from mjxrl.envs.hopper import Hopper
from mjxrl.envs.task import Task
from mjxrl.physics import gpu_solver
from mjxrl.physics.mjx import MjxPhysics
from mjxrl.physics.native import NativePhysics
from mjxrl.physics.solver import with_solver
from mjxrl.worlds.vector_env import VectorEnv

FAST = ("HalfCheetah-v5", "Ant-v5", "Humanoid-v5")  # the others compile for minutes
EACH_TASK = [env if env in FAST else pytest.param(env, marks=pytest.mark.slow) for env in SUITE]


@pytest.mark.parametrize("env_id", EACH_TASK)
def test_parity(env_id: str, reports: Callable[[str, str], list[Report]]) -> None:
    found = reports(env_id, "jax")
    assert {r.kind for r in found} >= ({"contact", "reset"} if env_id in FAST else {"reset"})
    check(found)


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", *(pytest.param(env, marks=pytest.mark.slow) for env in FAST[1:])])
def test_parity_as_traced_for_a_gpu(env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_solver, "wanted", lambda: True)
    check(compare(task_class(env_id)(), "jax", states=16))


def check(found: list[Report]) -> None:
    for report in found:
        assert not report.problems, (report.kind, report.problems)
        median = {name: np.median(error) for name, error in report.errors.items()}
        # what was measured times about ten (docs/parity.md); the tolerances above are looser
        assert median["qpos"] < 5e-6 and median["qvel"] < 2e-4 and median["reward"] < 2e-5, (report.kind, median)


def test_first_observation_shows_the_quaternion_as_drawn(reports: Callable[[str, str], list[Report]]) -> None:
    reset = next(r for r in reports("Ant-v5", "jax") if r.kind == "reset")
    assert reset.errors["first_obs"].max() == 0  # Ant's is off by 1e-2 if normalised


def test_same_seed_same_worlds(cheetah_jax: VectorEnv) -> None:
    def rollout() -> torch.Tensor:
        cheetah_jax.reset(seed=7)
        zeros = torch.zeros(cheetah_jax.num_envs, cheetah_jax.action_size)
        return torch.stack([cheetah_jax.step(zeros + i / 5).obs.clone() for i in range(5)])

    assert torch.equal(rollout(), rollout())


def test_diverged_worlds_are_known_by_their_state_not_by_what_the_observation_shows() -> None:
    physics = MjxPhysics(HalfCheetah(), 4)
    state, _ = physics.init(0)
    qpos = state.data.qpos.at[1, 0].set(float("nan"))  # x, which the observation leaves out
    qvel = state.data.qvel.at[2, 3].set(1e11)  # finite, and beyond what C accepts
    state = state._replace(data=state.data.replace(qpos=qpos, qvel=qvel))
    assert physics.diverged(state).tolist() == [False, True, True, False]


def test_accuracies_and_what_overrides_them() -> None:
    model = Hopper().model
    integrators = mujoco.mjtIntegrator

    def chosen(**options: object) -> tuple[int, int, int]:
        opt = with_solver(model, PhysicsConfig(**options)).opt  # type: ignore[arg-type]
        return opt.integrator, opt.iterations, opt.ls_iterations

    assert chosen() == (integrators.mjINT_RK4, 8, 8)
    assert chosen(accuracy="fast") == (integrators.mjINT_EULER, 4, 4)
    assert chosen(accuracy="fast", iterations=6) == (integrators.mjINT_EULER, 6, 4)
    assert model.opt.integrator == integrators.mjINT_RK4 and model.opt.iterations == 100  # the task's stays as it was


def test_native_refuses_fast() -> None:
    with pytest.raises(ValueError, match=r"^--physics.accuracy fast: allowed: exact on native"):
        VectorEnv(Hopper(), 1, backend="native", device=torch.device("cpu"), physics=PhysicsConfig(accuracy="fast"))


def test_an_actuator_without_a_range_is_refused_by_name() -> None:
    xml = """<mujoco><worldbody><body><joint name="hinge"/><geom size=".1"/></body></worldbody>
             <actuator><motor name="elbow" joint="hinge"/></actuator></mujoco>"""

    @dataclass(frozen=True)
    class Unlimited(Task):
        model = mujoco.MjModel.from_xml_string(xml)  # type: ignore[assignment]

    with pytest.raises(ValueError, match="'elbow'"):
        NativePhysics(Unlimited(), 1)
