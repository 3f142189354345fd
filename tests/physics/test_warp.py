"""MuJoCo Warp under torch: parity, room for contacts, resets of some worlds, what is known and refused beforehand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mjxrl.checks.parity import Report
from mjxrl.config import PhysicsConfig
from mjxrl.envs import SUITE, task_class
from mjxrl.envs.half_cheetah import HalfCheetah
from mjxrl.envs.task import Controls, Reset
from mjxrl.errors import UnavailableError
from mjxrl.machine import devices, versions
from mjxrl.physics import make_physics
from mjxrl.worlds.vector_env import VectorEnv
from tests.conftest import need_warp

FAST = ("HalfCheetah-v5", "Pendulum-v1")
EACH_TASK = [e if e in FAST else pytest.param(e, marks=pytest.mark.slow) for e in SUITE]


@pytest.fixture(autouse=True)
def _warp() -> None:
    need_warp()


@pytest.mark.parametrize("env_id", EACH_TASK)
def test_parity(env_id: str, reports: Callable[[str, str], list[Report]]) -> None:
    for report in reports(env_id, "warp"):
        assert not report.problems, (report.kind, report.problems)
        median = {name: np.median(error) for name, error in report.errors.items()}
        assert median["qpos"] < 5e-7 and median["qvel"] < 3e-5 and median["reward"] < 3e-6, (report.kind, median)


def cheetahs(count: int, **options: Any) -> Any:
    return make_physics(HalfCheetah(), count, "warp", PhysicsConfig(**options))


def placed(env: VectorEnv, lower: float) -> tuple[torch.Tensor, torch.Tensor]:
    """All worlds at rest, this far below where they start."""
    qpos = torch.tensor(env.task.init_qpos, dtype=torch.float32).repeat(env.num_envs, 1)
    qpos[:, 1] -= lower
    return qpos, torch.zeros(env.num_envs, env.task.model.nv)


def test_contacts_without_room_are_counted(cheetah_warp: VectorEnv) -> None:
    env = cheetah_warp
    env.set_state(*placed(env, 0.1))  # both feet in the ground
    before = env.overflows()
    env.step(torch.zeros(env.num_envs, env.action_size))
    assert env.overflows() == before  # room enough
    physics = cheetahs(env.num_envs, max_contacts=1)
    state, _ = physics.init(0)
    state = physics.set_where(state, torch.ones(env.num_envs, dtype=torch.bool), Reset(*placed(env, 0.7)))  # in it
    still = Controls(torch.zeros(env.num_envs, 6))
    for steps in (1, 2):
        state = physics.step(state, still)
        assert physics.overflows(state).tolist() == [steps] * env.num_envs
    lifted = Reset(*placed(env, -5.0))
    state = physics.step(physics.set_where(state, torch.ones(env.num_envs, dtype=torch.bool), lifted), still)
    assert physics.overflows(state).tolist() == [2] * env.num_envs  # what was noted before is cleared


def test_a_reset_leaves_the_other_worlds_alone() -> None:
    """Bit for bit, and their fields a substep behind, as a step leaves them."""
    task = type("Seen", (HalfCheetah,), {"fields": ("qpos", "qvel", "xpos", "cvel", "qfrc_actuator", "time")})()
    physics = make_physics(task, 4, "warp")
    state, _ = physics.init(0)
    action = Controls(torch.full((4, 6), 0.5))
    state = physics.step(physics.step(state, action), action)
    before = {name: x.clone() for name, x in state.tensors.items()}
    mask = torch.tensor([False, True, False, True])
    first = Reset(torch.full((4, 9), 0.25), torch.full((4, 9), 0.5))
    view = physics.view(physics.set_where(state, mask, first))
    for name, value in state.tensors.items():
        assert torch.equal(value[~mask], before[name][~mask]), name
    assert (view["qpos"][mask] == 0.25).all() and (view["qvel"][mask] == 0.5).all() and not view["time"][mask].any()
    assert not state.tensors["qacc_warmstart"][mask].any() and not view["qfrc_actuator"][mask].any()
    native = make_physics(task, 4, "native")
    there = native.set_where(native.init(0)[0], np.ones(4, bool), Reset(*(np.array(x, float) for x in first[:2])))  # type: ignore[arg-type]
    for name, value in native.view(there).items():
        np.testing.assert_allclose(view[name][mask], value[mask], atol=1e-5, err_msg=name)


def test_what_is_handed_out_keeps_its_values(cheetah_warp: VectorEnv) -> None:
    """Views are copies of arrays that the next step writes to, and so are results."""
    env = cheetah_warp
    env.reset()
    result = env.step(torch.ones(env.num_envs, env.action_size))
    kept = [result.obs, env.state.view.qpos, result.final_obs]
    values = [x.clone() for x in kept]
    env.step(torch.ones(env.num_envs, env.action_size))
    assert all(torch.equal(*pair) for pair in zip(kept, values, strict=True))


@pytest.mark.parametrize("worlds", [1, 7])
def test_bytes_are_known_beforehand(worlds: int) -> None:
    """By extrapolation from one and two worlds; here all arrays are made and summed."""
    from mjxrl.physics.warp_sizes import _solver, _sum

    physics = cheetahs(worlds)
    data = physics._make_data(worlds)
    assert physics.nbytes == _sum(physics._m) + _sum(data) + _sum(_solver._create_solver_context(physics._m, data))
    assert physics.nbytes > 4 * worlds * (9 * 9 + 14 * 10)  # the inertia matrix, cinert


def test_room_covers_the_models_rows() -> None:
    from mjxrl.physics.warp_sizes import sizes

    task = task_class("Humanoid-v5")()
    physics: Any = make_physics(task, 10, "warp")
    found = sizes(physics._m, task.model, 10, 12)
    assert found.njmax == 12 * 1 + 12 * 4 + task.model.jnt_limited.sum()
    assert found.naconmax == 10 * (36 + 36)
    everything = sizes(physics._m, task.model, 1, 1000)  # 17 frictionless pairs of capsules … as C counts them
    assert everything.naconmax > found.naconmax / 10


def test_frames_are_one_choice_per_process(cheetah_warp: VectorEnv) -> None:
    with pytest.raises(UnavailableError, match="one choice per process"):
        cheetahs(1, stock_frames=True)


def test_deterministic_is_warps_and_not_offered_on_jax() -> None:
    from mujoco_warp import DeterminismType  # type: ignore[import-not-found]

    assert cheetahs(1, deterministic=True)._m.opt.deterministic == DeterminismType.ALL
    assert cheetahs(1)._m.opt.deterministic == DeterminismType.NONE
    with pytest.raises(UnavailableError, match=r"^--physics.deterministic: allowed: on warp, and on native"):
        make_physics(HalfCheetah(), 1, "jax", PhysicsConfig(deterministic=True))


def test_a_gpu_that_warp_does_not_see_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warp.is_cuda_available", lambda: False)
    with pytest.raises(UnavailableError, match=r"^--backend warp: allowed: native .* here, because Warp "):
        make_physics(HalfCheetah(), 1, "warp", device="cuda")


def test_without_its_extra_it_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "installed", lambda *names: None)
    with pytest.raises(UnavailableError, match=r"^--backend warp: .*pip install 'mjxrl\[warp\]'$"):
        devices.resolve_backend("warp", "cpu")
    code = """
import sys
sys.modules["mujoco_warp"] = None  # as if it were not installed
from mjxrl.envs import task_class
from mjxrl.physics import make_physics
try:
    make_physics(task_class("HalfCheetah-v5")(), 1, "warp")
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1:] == [devices.WITHOUT_WARP], done.stderr
