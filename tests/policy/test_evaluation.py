"""Scores: whole episodes, the same on our native worlds and in Gymnasium, and through the command line."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import mujoco
import pytest
import torch

from mjxrl.envs import SUITE, task_class
from mjxrl.envs.hopper import Hopper
from mjxrl.envs.task import View
from mjxrl.errors import RunError
from mjxrl.policy.evaluation import (
    EvalResult,
    Policy,
    evaluate,
    evaluate_backend,
    evaluate_gymnasium,
    evaluate_run,
    random_policy,
    unlike_gymnasium,
)
from mjxrl.reporting.metrics import MetricsLogger
from mjxrl.reporting.plotting import read_metrics
from mjxrl.storage import checkpoint
from mjxrl.training.launch import make_worlds
from mjxrl.training.trainer import Trainer
from mjxrl.worlds.vector_env import VectorEnv
from tests.helpers.arms import MOTORS, Arm, arm
from tests.helpers.small_runs import small, train

CPU = torch.device("cpu")


def still(env: VectorEnv):
    return lambda obs: torch.zeros(len(obs), env.action_size)


def test_episodes_on_a_backend_are_whole() -> None:
    env = VectorEnv(task_class("HalfCheetah-v5")(), 3, backend="native", device=CPU)
    result = evaluate_backend(still(env), env)
    assert result.lengths == [1000] * 3
    ant = VectorEnv(task_class("Ant-v5")(), 8, backend="native", device=CPU)
    result = evaluate_backend(random_policy(8, 0, CPU), ant)
    assert len(set(result.lengths)) > 1 and min(result.lengths) < 1000  # random Ants fall at different times
    assert result.std_return > 0


def test_native_scores_as_gymnasium_does() -> None:
    """The same start and a policy that reads the observation: the same episode to its end, chaotic as it is."""
    task = task_class("HalfCheetah-v5")()
    mixing = torch.linspace(-1, 1, 17 * 6).reshape(17, 6)

    def policy(obs: torch.Tensor) -> torch.Tensor:
        return (obs @ mixing).sin()

    scored = evaluate_gymnasium(policy, task, 1, seed=3, device=CPU)
    reference = gymnasium.make("HalfCheetah-v5")
    reference.reset(seed=3)
    data = reference.unwrapped.data  # type: ignore[attr-defined]
    qpos, qvel = (torch.as_tensor(x)[None] for x in (data.qpos.copy(), data.qvel.copy()))
    env = VectorEnv(task, 1, backend="native", device=CPU)
    env.reset = lambda: env.set_state(qpos, qvel)  # type: ignore[method-assign]
    ours = evaluate_backend(policy, env)
    assert ours.lengths == scored.lengths == [1000]
    assert ours.mean_return == pytest.approx(scored.mean_return, abs=1e-3)


def test_statistics() -> None:
    result = EvalResult([1.0, 3.0], [10, 20])
    assert result.mean_return == 2.0 and result.std_return == 1.0


@dataclass(frozen=True)
class Brittle(Arm):
    """Every step costs 1, and the strongest torque breaks the simulation in the first."""

    model: ClassVar = arm(MOTORS.replace('"-2 0.5" gear="2"', '"-1 1" gear="1e13"'))  # type: ignore[assignment]

    def reward(self, xp: Any, before: View, after: View, action: Any) -> dict[str, Any]:
        return {"cost": -xp.ones(after.qpos.shape[0])}


def breaking(broken: int) -> Policy:
    """Breaks the first worlds, and leaves the others alone."""

    def act(obs: torch.Tensor) -> torch.Tensor:
        shoulder = (torch.arange(len(obs)) < broken).float()
        return torch.stack([shoulder, torch.zeros(len(obs))], dim=1)

    return act


def test_episodes_that_diverge_are_counted_and_are_no_score() -> None:
    env = VectorEnv(Brittle(), 4, backend="native", device=CPU)
    whole, some, none = (evaluate_backend(breaking(broken), env) for broken in (0, 3, 4))
    assert (whole.diverged, whole.mean_return) == (0, -20.0)
    assert (some.returns, some.lengths, some.diverged) == ([-20.0], [20], 3) and some.mean_return == -20.0
    assert (none.returns, none.lengths, none.diverged) == ([], [], 4) and math.isnan(none.mean_return)
    assert json.loads(json.dumps(none.as_json()))["mean_return"] is None and none.as_json()["diverged"] == 4
    assert whole.in_words().strip() == "-20.0 ± 0.0" and some.in_words().strip() == "-20.0 ± 0.0, 3 more diverged"


def test_who_breaks_the_simulation_is_never_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if no other has been seen, and for the episodes that come to an end."""
    config = small("td3", task=Brittle(), eval={"every": 80, "episodes": 4}, total_steps=320, log={"every": 10_000})
    trainer = Trainer(*make_worlds(config, config.machine()), config, tmp_path)
    monkeypatch.setattr(Trainer, "policy", property(lambda self: breaking({80: 3, 240: 0}.get(self.session.steps, 4))))
    with MetricsLogger(tmp_path, total_steps=320) as logger:
        trainer.run(logger)
    rows = [row for row in read_metrics(tmp_path) if "eval/diverged" in row]
    assert [(row["eval/diverged"], row.get("eval/return")) for row in rows] == [
        (3, -20.0), (4, None), (0, -20.0), (4, None)
    ]  # fmt: skip
    assert trainer.session.best == (0.0, -20.0) and checkpoint.read(tmp_path, "best", {})[0]["step"] == 240


def test_gymnasium_tells_nobody_that_mujoco_reset_the_world_and_it_counts_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = task_class("HalfCheetah-v5")()
    env = gymnasium.make("HalfCheetah-v5", max_episode_steps=5)
    step, episodes = env.unwrapped.step, iter([1e12, 1e7, 0.0])  # a velocity that C resets, one that it does not, none

    def broken(action: Any) -> Any:
        data = env.unwrapped.data  # type: ignore[attr-defined]
        if data.time == 0:
            data.qvel[3] += next(episodes)
        return step(action)

    monkeypatch.setattr(env.unwrapped, "step", broken)
    monkeypatch.setattr("mjxrl.policy.evaluation._in_gymnasium", lambda _: env)
    result = evaluate_gymnasium(lambda obs: torch.zeros(len(obs), 6), task, 3, 0, CPU)
    assert result.diverged == 2 and result.lengths == [5]


def zeros(obs: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(obs), 3)


def test_keywords_that_differ_reach_gymnasium() -> None:
    task = Hopper(healthy_reward=50.0, terminate_when_unhealthy=False, max_episode_steps=7)
    result = evaluate(zeros, task, "gymnasium", episodes=2, seed=0, device=CPU)
    assert result.lengths == [7, 7] and result.where == "gymnasium"
    # a hopper stands for seven steps
    assert result.mean_return == pytest.approx(7 * 50, rel=0.01)
    native = evaluate(zeros, task, "native", episodes=3, seed=0, device=CPU)
    assert native.lengths == [7] * 3 and native.where == "native"


class MyHopper(Hopper):
    """No episode can return more than 1."""

    max_episode_steps = 100

    def reward(self, xp, before, after, action):
        return {"alive": 0.01 * xp.ones(after.qpos.shape[0])}


class Goal(Hopper):
    gymnasium_id = "Hopper-v5"
    goal: float = 1.0


class Observes(Hopper):
    gymnasium_id = "Hopper-v5"

    def observation(self, xp, view):
        return xp.concatenate([view.qpos, view.qvel], axis=1)


class Heavy(Hopper):
    gymnasium_id = "Hopper-v5"

    @cached_property
    def model(self) -> mujoco.MjModel:
        model = mujoco.MjModel.from_xml_path(str(self.xml_path))
        model.body_mass[1] *= 1.1
        return model


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (MyHopper, "MyHopper is not a Gymnasium environment"),
        (Goal, "Hopper-v5 cannot be made with Goal's keywords: .*goal"),
        (Observes, r"an observation of Hopper-v5 has shape \(11,\), of Observes \(12,\)"),
        (Heavy, "Hopper-v5 has another model than Heavy"),
    ],
)
def test_what_gymnasium_would_score_must_be_the_task(kind: type[Hopper], problem: str) -> None:
    said = unlike_gymnasium(kind())
    assert said is not None and re.match(problem, said)
    with pytest.raises(ValueError, match=problem):
        evaluate(zeros, kind(), "gymnasium", episodes=1, seed=0, device=CPU)


@pytest.mark.parametrize("env_id", SUITE)
def test_our_tasks_are_gymnasiums(env_id: str) -> None:
    assert unlike_gymnasium(task_class(env_id)(max_episode_steps=3)) is None


def test_a_run_on_a_task_of_ones_own_is_scored_on_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {"env": f"{__name__}:MyHopper", "task": MyHopper(), "eval": {"every": 0, "final_episodes": 3}}
    run = train(small("td3", run_dir=tmp_path / "run", total_steps=80, **changes))
    assert "mean return in native over 3 episodes, trained policy:" in capsys.readouterr().out
    final = json.loads((run / "final.json").read_text())
    for who in ("trained", "random"):
        assert final[who]["where"] == "native" and len(final[who]["returns"]) == 3
        assert max(final[who]["returns"]) <= 1.001
    result = evaluate_run(run, episodes=2)
    assert result.where == "native" and max(result.returns) <= 1.001
    with pytest.raises(RunError, match="--backend gymnasium: MyHopper is not a Gymnasium environment"):
        evaluate_run(run, backend="gymnasium")


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the installed command, started from an empty folder."""
    folder = tmp_path_factory.mktemp("start")
    done = command(
        "train", folder, "--env", "HalfCheetah-v5", "--algo", "td3", "--num-envs", "4", "--total-steps", "80"
    )
    assert done.returncode == 0, done.stderr
    assert "mean return in Gymnasium over 10 episodes, trained policy:" in done.stdout
    assert "random policy" in done.stdout and "tensorboard" in done.stdout
    assert [p.name for p in folder.iterdir()] == ["runs"]
    (run,) = (folder / "runs").iterdir()
    assert run.name.startswith("HalfCheetah-v5-td3-")
    return run


def command(name: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).parents[2] / "scripts" / f"{name}.py"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX")}
    return subprocess.run(
        [sys.executable, str(script), *words], cwd=folder, capture_output=True, text=True, timeout=300, env=environment
    )


def test_evaluate_reads_a_run(finished_run: Path, tmp_path: Path) -> None:
    done = command("evaluate", tmp_path, str(finished_run), "--episodes", "2", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["backend"] == "gymnasium"
    assert report["lengths"] == [1000, 1000] and len(report["returns"]) == 2
    assert report["mean_return"] == pytest.approx(sum(report["returns"]) / 2)
    assert report["std_return"] >= 0
    assert not list(tmp_path.iterdir())


def test_a_run_that_cannot_be_evaluated_is_refused_in_one_line(finished_run: Path, tmp_path: Path) -> None:
    missing = command("evaluate", tmp_path, str(finished_run), "--checkpoint", "step_7")
    nowhere = command("evaluate", tmp_path, "nowhere")
    for done in (missing, nowhere):
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr
    other = command("train", tmp_path, "--env", "Ant-v5", "--algo", "td3", "--init-from", str(finished_run))
    assert other.returncode == 2 and "Ant-v5" in other.stderr and len(other.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
