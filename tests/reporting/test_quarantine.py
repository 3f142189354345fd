"""NaN in a world's state, observation, reward or action: training goes on, without that world, with finite numbers."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from mjxrl.cli import train as command
from mjxrl.envs import task_class
from mjxrl.envs.half_cheetah import HalfCheetah
from mjxrl.envs.pendulum import Pendulum
from mjxrl.envs.task import Array, Namespace, Task, View
from mjxrl.errors import DivergedError
from mjxrl.reporting.metrics import MetricsLogger
from mjxrl.reporting.quarantine import FILE, KEPT, Quarantine
from mjxrl.storage import checkpoint
from mjxrl.training.launch import make_worlds
from mjxrl.training.launch import train as launch
from mjxrl.training.stopping import Stop
from mjxrl.training.trainer import Trainer
from mjxrl.worlds.faults import faults
from mjxrl.worlds.vector_env import VectorEnv
from mjxrl.worlds.worlds import StepResult
from tests.helpers.histories import saved
from tests.helpers.small_runs import rows_of, small

CPU = torch.device("cpu")
BAD_OBS, BAD_REWARD = 0.25, 0.375  # first action of a world that is to give NaN; exact in binary
INJECTED = {200: (1, 5), 320: (1,), 328: (1, 2, 3)}  # transitions before the step -> worlds


def spoilt(xp: Namespace, ctrl: Array, trigger: float, values: Array) -> Array:
    """NaN in the rows whose control is the trigger (or twice it, where the control range is twice as wide)."""
    hit = (ctrl[:, :1] == trigger) | (ctrl[:, :1] == 2 * trigger)
    return xp.where(hit if values.ndim == 2 else hit[:, 0], xp.nan, values)


class _Spoilt:
    """A task that can be told to fail, by its action."""

    gymnasium_id: ClassVar = None
    max_episode_steps: int = 20

    def next_carry(self, xp: Namespace, before: View, after: View, ctrl: Array) -> dict[str, Array]:
        return {"ctrl": ctrl}

    def observation(self, xp: Namespace, view: View) -> Array:
        return spoilt(xp, view.carry["ctrl"], BAD_OBS, super().observation(xp, view))  # type: ignore[misc]

    def reward(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        terms = super().reward(xp, before, after, action)  # type: ignore[misc]
        return {name: spoilt(xp, action, BAD_REWARD, term) for name, term in terms.items()}

    def reset(self, xp: Namespace, noise: Mapping[str, Array]) -> Any:
        first = super().reset(xp, noise)  # type: ignore[misc]
        return first._replace(carry={"ctrl": xp.zeros((first.qpos.shape[0], self.model.nu))})  # type: ignore[attr-defined]


@dataclass(frozen=True)
class SpoiltCheetah(_Spoilt, HalfCheetah):  # pyright: ignore[reportIncompatibleMethodOverride]
    """In MuJoCo."""


@dataclass(frozen=True)
class SpoiltPendulum(_Spoilt, Pendulum):  # pyright: ignore[reportIncompatibleMethodOverride]
    """With its own dynamics, which compile in no time on jax."""


def trainer_of(algo: str, backend: str, path: Path, **changes: Any) -> Trainer:
    task: Task = SpoiltCheetah() if backend == "native" else SpoiltPendulum()
    learner = {"normalize_obs": True, "n_step": 3}
    config = small(algo, backend=backend, task=task, learner=learner, **changes)
    return Trainer(*make_worlds(config, config.machine()), config, path)


def result_of(valid: list[bool]) -> StepResult:
    no = torch.zeros(len(valid), dtype=torch.bool)
    nothing = torch.zeros(len(valid), 1)
    return StepResult(nothing, nothing[:, 0], ~torch.tensor(valid), no, nothing, torch.tensor(valid))


def inject(trainer: Trainer, what: str) -> None:
    """Spoil the worlds of INJECTED: their state before a step, or the action that they are given."""
    worlds = trainer.worlds
    assert isinstance(worlds, VectorEnv)
    dispatch = worlds.dispatch

    def spoil(action: Tensor) -> None:
        hit = list(INJECTED.get(trainer.session.steps, ()))
        if what == "state" and hit:
            state = worlds._runner.save()
            for name, array in state.items():
                if name.endswith("qpos") or name == ".physics":
                    array[hit, -1 if "qpos" in name else 3] = np.nan
            worlds._runner.load(state)
        elif hit:
            action[hit, 0] = {"observation": BAD_OBS, "reward": BAD_REWARD, "action": math.nan}[what]
        dispatch(action)

    worlds.dispatch = spoil  # type: ignore[method-assign]


def run(trainer: Trainer) -> None:
    with MetricsLogger(trainer.path, total_steps=640) as logger:
        trainer.run(logger, Stop())


@pytest.mark.parametrize("what", ["state", "observation", "reward", "action"])
@pytest.mark.parametrize(("algo", "backend"), [("td3", "native"), ("sac", "jax")])
def test_training_goes_on_without_the_world(what: str, algo: str, backend: str, tmp_path: Path) -> None:
    trainer = trainer_of(algo, backend, tmp_path)
    inject(trainer, what)
    run(trainer)
    rows, session = rows_of(tmp_path), trainer.session
    assert {int(row["step"]): float(row["train/diverged"]) for row in rows if float(row["train/diverged"])} == {
        240: 2, 400: 4
    }  # fmt: skip
    assert trainer.session.steps == 640 and trainer.session.updates > 0
    tensors = {**session.learner.state_dict(), **session.state_dict(), **saved(session.replay)}
    assert [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()] == [
        "quarantine.action"
    ] * (what == "action")
    assert all(math.isfinite(float(cell)) for row in rows for cell in row.values() if cell)
    # 80 steps of 8 worlds and their first frames, less the 6 that diverged
    assert session.learner.state_dict()["norm.count"] == 640 + 8 - 6
    cases = safetensors.torch.load_file(tmp_path / FILE)
    assert cases["world"].tolist() == [1, 5, 1, 1, 2, 3] and cases["step"].tolist() == [200] * 2 + [320] + [328] * 3
    assert cases["obs"].isfinite().all() and cases["obs"].abs().sum() > 0
    assert bool(cases["action"].isnan().any()) == (what == "action")


def test_raise_ends_the_run_at_the_next_log_line_with_everything_saved(tmp_path: Path) -> None:
    trainer = trainer_of("td3", "native", tmp_path, on_nan="raise")
    inject(trainer, "reward")
    with pytest.raises(DivergedError, match=r"--on-nan raise: 2 of 80 .*: in 2 reward term 'reward_ctrl' was NaN"):
        run(trainer)
    assert trainer.session.steps == 240 and "replay" in checkpoint.read(tmp_path, "step_240", {}).files
    assert len(safetensors.torch.load_file(tmp_path / FILE)["world"]) == 2


@dataclass(frozen=True)
class Uncountable(Pendulum):
    """A reward term that is NaN in every step."""

    max_episode_steps: int = 20

    def reward(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        return {"alive": xp.ones(after.qpos.shape[0]), "upright": after.qpos[:, 0] * xp.nan}


@dataclass(frozen=True)
class Blind(Pendulum):
    """One observation that is infinite where the pendulum is far on the left, at the start of an episode too."""

    max_episode_steps: int = 20

    def observation(self, xp: Namespace, view: View) -> Array:
        left = xp.where(xp.sin(view.qpos) < -0.95, xp.inf, 0.0)
        return xp.concatenate([view.qpos, view.qvel, left], axis=1)


def test_a_reward_that_never_is_a_number_ends_the_run_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = f"--env {__name__}:Uncountable --algo td3 --backend native --device cpu --num-envs 8 --total-steps 640"
    words += f" --log.every 80 --learner.warmup-steps 64 --learner.batch-size 32 --run-dir {tmp_path / 'run'}"
    monkeypatch.setattr(sys, "argv", ["mjxrl-train", *words.split()])
    assert command.main() == 1
    said = capsys.readouterr()
    why = "80 of 80 transitions are unusable: in 80 reward term 'upright' was NaN or beyond 1e+10"
    assert f"most transitions are of no use: {why}" in said.err and len(said.err.splitlines()) == 1
    assert why in said.out and "broke down" not in said.out
    assert checkpoint.steps_saved(tmp_path / "run") == [80]


def test_an_observation_is_named_and_less_than_half_of_the_transitions_end_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(
        "sac", env=f"{__name__}:Blind", task=Blind(), total_steps=160, run_dir=tmp_path / "run", eval={"every": 0}
    )
    assert launch(config) == 0
    said = capsys.readouterr().out
    assert re.search(r"(\d+) of 80 transitions are unusable: in \1 observation 2 was NaN or beyond 1e\+10 \(", said)
    assert said.count("unusable") == 1


@pytest.mark.parametrize("backend", ["native", "jax"])
def test_each_fault_has_its_number(backend: str) -> None:
    env = VectorEnv(SpoiltPendulum(), 5, backend=backend, device=CPU)
    env.reset()
    state = env._runner.save()
    for name, array in state.items():
        if name.endswith("qpos"):
            array[4] = np.nan
    env._runner.load(state)
    result = env.step(torch.tensor([0.0, BAD_OBS, BAD_REWARD, math.nan, 0.0])[:, None])
    assert result.fault is not None
    names = [faults(result.reward_terms, env.obs_size)[int(i)] for i in result.fault]
    assert names[:2] == ["nothing", "observation 0 was NaN or beyond 1e+10"]
    assert names[2].startswith("reward term ") and names[3:] == ["the action was NaN", "the simulation broke down"]
    assert result.valid.tolist() == [name == "nothing" for name in names]


@dataclass(frozen=True)
class Dazed(Pendulum):
    """Its first observation is no number, in each episode."""

    max_episode_steps: int = 3

    def observation(self, xp: Namespace, view: View) -> Array:
        fresh = xp.where(view.carry["age"] == 0, xp.nan, 0.0)
        return xp.concatenate([view.qpos, view.qvel, fresh[:, None]], axis=1)

    def reset(self, xp: Namespace, noise: Mapping[str, Array]) -> Any:
        return super().reset(xp, noise)._replace(carry={"age": xp.zeros(noise["qpos"].shape[0])})

    def next_carry(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        return {"age": before.carry["age"] + 1}


def test_a_first_observation_that_is_no_number_is_named_and_reaches_nobody() -> None:
    env = VectorEnv(Dazed(), 2, backend="native", device=CPU)
    assert env.reset().isfinite().all()
    results = [env.step(torch.zeros(2, 1)) for _ in range(3)]
    assert [result.valid.tolist() for result in results] == [[True] * 2] * 2 + [[False] * 2]
    assert all(result.obs.isfinite().all() and result.final_obs.isfinite().all() for result in results)
    fault = results[-1].fault
    assert fault is not None and results[-1].terminated.all()
    assert faults(results[-1].reward_terms, 3)[int(fault[0])].startswith("observation 2 ")


def test_nothing_is_said_where_nothing_happens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(small("td3", run_dir=tmp_path / "run", total_steps=160, on_nan="raise")) == 0
    assert not (tmp_path / "run" / FILE).exists() and "diverged" not in capsys.readouterr().out


def test_only_the_first_cases_are_kept_and_no_shape_depends_on_them(tmp_path: Path) -> None:
    said: list[str] = []
    quarantine = Quarantine(tmp_path, 6, 2, 1, CPU, raising=False)
    for step in range(10):
        obs = torch.full((6, 2), float(step))
        quarantine.watch(obs, obs[:, :1], result_of([True, False, True, step != 3, False, True]), step)
    assert not quarantine.ends_run({"eval/return": 1.0}, said.append) and not (tmp_path / FILE).exists()
    for _ in range(2):
        assert not quarantine.ends_run({"train/diverged": 21.0}, said.append)
    quarantine.check()
    assert len(said) == 1 and said[0].startswith("21 of 60 transitions are unusable: in 21 the simulation broke down")
    cases = safetensors.torch.load_file(tmp_path / FILE)
    expected = [(step, world) for step in range(10) for world in ((1, 3, 4) if step == 3 else (1, 4))][:KEPT]
    assert list(zip(cases["step"].tolist(), cases["world"].tolist(), strict=True)) == expected
    assert cases["obs"][:, 0].tolist() == [step for step, _ in expected]


def test_a_resumed_run_keeps_the_first_cases(tmp_path: Path) -> None:
    first, second = (Quarantine(tmp_path, 6, 2, 1, CPU, raising=False) for _ in range(2))
    result = result_of([True, False, True, True, True, True])
    first.watch(torch.full((6, 2), 1.0), torch.ones(6, 1), result, 1)
    second.load_state_dict(first.state_dict())
    second.watch(torch.full((6, 2), 2.0), torch.ones(6, 1), result, 2)
    said: list[str] = []
    second.ends_run({"train/diverged": 1.0}, said.append)
    assert said[0].startswith("2 of 12 transitions")
    assert safetensors.torch.load_file(tmp_path / FILE)["step"].tolist() == [1, 2]


def test_most_is_of_the_transitions_since_the_last_line(tmp_path: Path) -> None:
    quarantine, nothing = Quarantine(tmp_path, 2, 1, 1, CPU, raising=False), torch.zeros(2, 1)
    ends = []
    for valid in ([True, True], [True, True], [False, True], [False, False]):
        quarantine.watch(nothing, nothing, result_of(valid), 0)
        ends.append(quarantine.ends_run({"train/diverged": 0.0}, lambda text: None))
    assert ends == [False, False, False, True]
    with pytest.raises(DivergedError, match="2 of 2 transitions are unusable"):
        quarantine.check()


def test_an_action_that_is_not_finite_counts_even_where_the_simulator_takes_it_for_zero() -> None:
    """InvertedPendulum's reward does not read the action, and MuJoCo replaces bad controls by zeros."""
    env = VectorEnv(task_class("InvertedPendulum-v5")(), 4, backend="native", device=CPU)
    env.reset()
    result = env.step(torch.tensor([0.0, math.nan, math.inf, 1.0])[:, None])
    assert result.valid.tolist() == [True, False, False, True]
    assert result.terminated.tolist() == [False, True, True, False] and result.obs.isfinite().all()
