"""Recorded steps are the eager ones, bit for bit, through resets, restarts and what is loaded; nothing imports jax."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mjxrl.envs import task_class
from mjxrl.envs.half_cheetah import HalfCheetah
from mjxrl.envs.pendulum import Pendulum
from mjxrl.envs.task import Task
from mjxrl.worlds.vector_env import VectorEnv
from mjxrl.worlds.worlds import StepResult
from tests.conftest import need_warp
from tests.helpers.replayed import replayed_parts


class Restless(HalfCheetah):
    """HalfCheetah in short episodes, with fields that follow from its pose and a carry."""

    max_episode_steps: int = 5
    fields = ("qpos", "qvel", "xpos", "cvel", "time")  # type: ignore[assignment]

    def observation(self, xp, view):
        return xp.concatenate([super().observation(xp, view), view.xpos[:, 1], view.carry["drawn"]], axis=1)

    def reset(self, xp, noise):
        carry = {"drawn": noise["qpos"][:, :2], "constant": xp.asarray([[7.0]] * len(noise["qpos"]))}
        return super().reset(xp, noise)._replace(carry=carry)

    def next_carry(self, xp, before, after, action):
        return {"drawn": before.carry["drawn"] + after.time[:, None], "constant": before.carry["constant"]}


pytestmark = pytest.mark.filterwarnings("error:worlds step without CUDA graphs")


@pytest.fixture(autouse=True)
def _warp() -> None:
    need_warp()


def pair(task: Task, worlds: int = 8, **options: Any) -> tuple[VectorEnv, VectorEnv]:
    """The same worlds twice: stepped eagerly, and from a recording."""
    envs = [VectorEnv(task, worlds, backend="warp", device=torch.device("cpu"), **options) for _ in range(2)]
    envs[1]._runner.new_part = replayed_parts  # type: ignore[attr-defined]
    return envs[0], envs[1]


def numbers(result: StepResult) -> dict[str, torch.Tensor]:
    *plain, terms, outcome, fault = result
    return dict(zip(StepResult._fields, plain, strict=False)) | terms | outcome | {"fault": fault}  # type: ignore[dict-item]


def assert_alike(eager: VectorEnv, recorded: VectorEnv, steps: int, seed: int = 0) -> int:
    """Step both alike; returns how many episodes ended."""
    random, ended, handed = torch.Generator().manual_seed(seed), 0, []
    for step in range(steps):
        action = torch.rand(eager.num_envs, eager.action_size, generator=random) * 2 - 1
        if step % 17 == 16:
            action[0, 0] = float("nan")  # quarantined
        wanted, found = numbers(eager.step(action)), numbers(recorded.step(action))
        different = [name for name, value in wanted.items() if not torch.equal(value, found[name])]
        assert not different, (step, different)
        handed.append((wanted["obs"], found["obs"]))
        ended += int((wanted["terminated"] | wanted["truncated"]).sum())
    assert all(torch.equal(*obs) for obs in handed)  # later steps wrote over none of them
    return ended


def parts(env: VectorEnv) -> int:
    return env._runner._recorded.parts  # type: ignore[attr-defined]


def test_recorded_steps_are_the_eager_ones() -> None:
    eager, recorded = pair(Restless(), stagger=True)
    assert torch.equal(eager.reset(), recorded.reset())
    assert assert_alike(eager, recorded, 120) > 180
    assert parts(recorded) == 5  # torch, substeps, torch, kinematics, torch
    mask = torch.arange(8) % 3 == 0
    for change in (
        lambda env: env.reset(),
        lambda env: env.reset(seed=5),
        lambda env: env.restart(mask),
        lambda env: env.set_state(env.state.view.qpos + 0.1, env.state.view.qvel),
    ):
        assert torch.equal(change(eager), change(recorded))
        assert_alike(eager, recorded, 7)
    assert parts(recorded) == 5
    saved, others = recorded.state_dict(), pair(Restless())
    assert_alike(eager, recorded, 9)
    for env in (recorded, *others):
        env.load_state_dict(saved)
    assert torch.equal(others[0].restart(mask), others[1].restart(mask))
    assert_alike(*others, 9)
    others[0].load_state_dict(saved)
    assert_alike(others[0], recorded, 9)  # fresh worlds and used ones go on alike
    assert (recorded.state.view.carry["constant"] == 7).all()


def test_worlds_without_fields_that_follow_take_three_launches() -> None:
    eager, recorded = pair(Pendulum())
    assert torch.equal(eager.reset(), recorded.reset())
    assert_alike(eager, recorded, 20)
    assert parts(recorded) == 1  # no simulator at all
    eager, recorded = pair(HalfCheetah(), 4)
    assert torch.equal(eager.reset(), recorded.reset())
    assert_alike(eager, recorded, 3)
    assert parts(recorded) == 3


@pytest.mark.slow
@pytest.mark.parametrize("env_id", ["Ant-v5", "Humanoid-v5", "HalfCheetah-v5"])
def test_recorded_steps_of_many_worlds_are_the_eager_ones(env_id: str) -> None:
    eager, recorded = pair(task_class(env_id)(max_episode_steps=40), 64, stagger=True)
    assert torch.equal(eager.reset(), recorded.reset())
    assert assert_alike(eager, recorded, 120) > 150


def test_a_capture_that_fails_leaves_the_eager_step() -> None:
    eager, recorded = pair(Pendulum())

    def failing(random: torch.Generator) -> Any:
        raise RuntimeError("no room\nfor a graph")

    recorded._runner.new_part = failing  # type: ignore[attr-defined]
    assert torch.equal(eager.reset(), recorded.reset())
    with pytest.warns(UserWarning, match=r"without CUDA graphs, more slowly, as capturing failed: no room$"):
        recorded.step(torch.zeros(8, 1))
    eager.step(torch.zeros(8, 1))
    assert_alike(eager, recorded, 20)


def test_a_run_on_warp_imports_no_jax(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from tests.helpers.small_runs import small, train
train(small("sac", backend="warp", run_dir=Path(sys.argv[1]), total_steps=160, num_envs=8))
assert "mujoco_warp" in sys.modules and "jax" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=True, timeout=300)
