"""Whether tasks would run on torch, on a GPU, within a graph; told without one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from mjxrl.cli.parity import main
from mjxrl.envs import FETCH, SUITE, task_class
from mjxrl.envs.hopper import Hopper
from mjxrl.errors import TaskError
from mjxrl.worlds import on_torch


@pytest.mark.parametrize("env_id", [*SUITE, *(env_id for env_id in FETCH if "Dense" not in env_id)])
def test_every_task_runs_on_torch(env_id: str) -> None:
    if env_id in FETCH:
        pytest.importorskip("gymnasium_robotics", reason="gymnasium-robotics is missing: pip install 'mjxrl[robotics]'")
    on_torch.check(task_class(env_id)())


@dataclass(frozen=True)
class Reads(Hopper):
    def terminated(self, xp, view):
        return xp.zeros(len(view.qpos), bool) if float(view.qpos[0, 2]) > 0 else xp.ones(len(view.qpos), bool)


@dataclass(frozen=True)
class Mixes(Hopper):
    def reward(self, xp, before, after, action):
        return {"r": after.qpos[:, 0] * torch.ones(len(after.qpos))}


@dataclass(frozen=True)
class Elsewhere(Hopper):
    def outcome(self, xp, view):
        return {"success": torch.ones(len(view.qpos))}


@dataclass(frozen=True)
class OfNumpy(Hopper):
    def observation(self, xp, view):
        return np.concatenate([view.qpos, view.qvel], axis=1)


@dataclass(frozen=True)
class Double(Hopper):
    def next_carry(self, xp, before, after, action):
        return {"x": after.qpos.to(torch.float64)}


@dataclass(frozen=True)
class Indexes(Hopper):
    def outcome(self, xp, view):
        return {"success": view.qpos[:, np.array([0, 2])].sum(axis=1)}


@dataclass(frozen=True)
class Lacking(Hopper):
    def controls(self, xp, view, action):
        return xp.gradient(action)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (Reads, r"Reads.terminated cannot run on torch: .*item\(\) cannot be called on meta tensors"),
        (Mixes, r"Mixes.reward cannot run on torch: .*cpu"),
        (Elsewhere, r"Elsewhere.outcome returns float32 on cpu, wanted what xp makes"),
        (OfNumpy, r"OfNumpy.observation cannot run on torch: "),
        (Double, r"Double.next_carry returns float64 on meta"),
        (Indexes, r"Indexes.outcome cannot run on torch: RuntimeError: an array .* put it through xp.asarray"),
        (Lacking, r"Lacking.controls cannot run on torch: AttributeError: xp.gradient is not among the names"),
    ],
)
def test_one_that_reads_the_device_or_mixes_in_the_hosts_memory_is_named(wrong: type[Hopper], said: str) -> None:
    with pytest.raises(TaskError, match=f"^{said}"):
        on_torch.check(wrong())


def test_parity_says_so_of_a_users_task(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["mjxrl-parity", "--env", "tests.worlds.test_on_torch:Reads"])
    with pytest.raises(SystemExit):  # native is what it would be compared with
        main()
    assert "Reads: not for warp: Reads.terminated cannot run on torch" in capsys.readouterr().out
