"""MJX-Warp: parity on three tasks, room for contacts, and programs that stay as they are after warm-up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from mjxrl.checks.parity import Report
from mjxrl.config import PhysicsConfig
from mjxrl.envs import SUITE
from mjxrl.envs.half_cheetah import HalfCheetah
from mjxrl.envs.task import Controls, Reset
from mjxrl.errors import UnavailableError
from mjxrl.machine import devices, versions
from mjxrl.physics import make_physics
from mjxrl.worlds.vector_env import VectorEnv

FAST = ("HalfCheetah-v5", "Ant-v5", "Hopper-v5")
EACH_TASK = [e if e in FAST else pytest.param(e, marks=pytest.mark.slow) for e in SUITE if e != "Pendulum-v1"]


@pytest.mark.parametrize("env_id", EACH_TASK)
def test_parity(env_id: str, reports: Callable[[str, str], list[Report]]) -> None:
    for report in reports(env_id, "warp"):
        assert not report.problems, (report.kind, report.problems)
        median = {name: np.median(error) for name, error in report.errors.items()}
        assert median["qpos"] < 5e-6 and median["qvel"] < 2e-4 and median["reward"] < 2e-5, (report.kind, median)


def test_nothing_is_compiled_or_registered_after_warm_up(cheetah_warp: VectorEnv) -> None:
    from mujoco.mjx.warp import ffi

    action = torch.zeros(cheetah_warp.num_envs, cheetah_warp.action_size)

    def size() -> tuple[int, ...]:
        programs = (cheetah_warp._reset, cheetah_warp._step)
        return len(ffi._JAX_CALLABLE_VARIADIC_TUPLE_REGISTRY), *(p._cache_size() for p in programs)  # type: ignore[attr-defined]

    cheetah_warp.reset(seed=0)
    cheetah_warp.step(action)
    warm = size()
    for i in range(3):
        cheetah_warp.step(action + i / 5)
        cheetah_warp.reset(seed=i)
    assert size() == warm and warm[1:] == (1, 1)


def test_contacts_without_room_are_counted(cheetah_warp: VectorEnv) -> None:
    env = cheetah_warp
    pressed = np.tile(env.task.init_qpos, (env.num_envs, 1))
    pressed[:, 1] -= 0.1  # both feet in the ground
    still = np.zeros((env.num_envs, env.task.model.nv))
    env.set_state(pressed, still)
    before = env.overflows()
    env.step(torch.zeros(env.num_envs, env.action_size))
    assert env.overflows() == before  # room enough
    physics = make_physics(HalfCheetah(), 2, "warp", PhysicsConfig(max_contacts=1))
    state, _ = physics.init(0)
    pressed[:, 1] -= 0.6  # on its belly, and in it
    state = physics.set_where(state, np.ones(2, bool), Reset(pressed[:2], still[:2]))
    state = physics.step(state, Controls(np.zeros((2, 6), np.float32)))
    assert physics.overflows(state).tolist() == [1, 1]


def test_frames_are_one_choice_per_process(cheetah_warp: VectorEnv) -> None:
    with pytest.raises(ValueError, match="one choice per process"):
        make_physics(HalfCheetah(), 1, "warp", PhysicsConfig(stock_frames=True))


def test_without_its_extra_it_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "installed", lambda *names: None)
    with pytest.raises(UnavailableError, match=r"^--backend warp: .*pip install 'mjxrl\[warp\]'$"):
        devices.resolve_backend("warp", "cpu")
    code = """
import sys
sys.modules["warp"] = None  # as if it were not installed
import mjxrl
from mjxrl.envs import task_class
from mjxrl.physics import make_physics
try:
    make_physics(task_class("HalfCheetah-v5")(), 1, "warp")
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1:] == [devices.WITHOUT_WARP], done.stderr


def test_a_task_with_its_own_dynamics_is_refused_by_name() -> None:
    from mjxrl.envs.pendulum import Pendulum

    with pytest.raises(ValueError, match=r"^--backend warp: allowed: jax, native for Pendulum"):
        make_physics(Pendulum(), 1, "warp")
